//! The server that an import is finished by: nobody but we can reach it, and nothing of the source's runs
//! in it by itself.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel_core::driver::Error;
use evenkeel_core::goal::{Goal, StopMode};
use tokio_postgres::{Client, Config};

use super::tale::Tale;
use crate::Setup;
use crate::files::{fault, make_private, write_synced};
use crate::postgres::layout::Layout;
use crate::postgres::restore::{Control, SHARED};
use crate::postgres::{conf, image, make, restore, server};
use crate::sql::{connect, in_words, runtime};

/// Between questions to a server that starts.
const STEP: Duration = Duration::from_millis(50);
/// A server without much to replay is there within this.
const START_MAX: Duration = Duration::from_secs(1800);
/// The first release in which triggers on events can be turned off, and some run at a login.
const EVENT_TRIGGERS: u32 = 17;
/// The role that takes over; it goes at the end.
pub const HELPER: &str = "ek_import";

/// A private server.
pub struct Own<'a> {
    setup: &'a Setup,
    layout: &'a Layout,
    goal: &'a Goal,
    process: Child,
}

/// What every private server begins with, in single-user mode too.
fn quiet(
    control: &Control,
    major: u32,
    goal: &Goal,
) -> Result<BTreeMap<&'static str, String>, Error> {
    let off = [
        ("archive_mode", "off"),
        ("archive_command", ""),
        ("restore_command", "/bin/false"),
        ("primary_conninfo", ""),
        ("synchronous_standby_names", ""),
        ("shared_preload_libraries", ""),
        ("session_preload_libraries", ""),
        ("local_preload_libraries", ""),
        ("max_logical_replication_workers", "0"),
        ("listen_addresses", ""),
    ];
    let mut with: BTreeMap<_, _> = off.map(|(name, value)| (name, value.to_owned())).into();
    if major >= EVENT_TRIGGERS {
        with.insert("event_triggers", "off".to_owned());
    }
    for (name, called) in SHARED {
        let there: u64 = control.value(called)?.parse().unwrap_or(0);
        let wanted = goal.settings.get(name).and_then(|value| value.parse().ok()).unwrap_or(0);
        with.insert(name, there.max(wanted).to_string());
    }
    Ok(with)
}

/// Runs statements in single-user mode, after whatever is to be replayed.
pub fn single(
    setup: &Setup,
    layout: &Layout,
    goal: &Goal,
    database: &str,
    text: &str,
) -> Result<(), Error> {
    let image = image(setup)?;
    let control = Control::read(setup, &layout.data)?;
    let mut command = Command::new(image.program("postgres")?);
    command.args(["--single", "-j", "-O", "-D"]).arg(&layout.data);
    command.args(conf::pinned(setup, layout, goal));
    for (name, value) in quiet(&control, image.major()?, goal)? {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command
        .args(["-c", "log_checkpoints=off", "-c", "exit_on_error=true", database])
        .current_dir(&layout.data)
        .env_clear()
        .envs(make::environment(image));
    make::run(command, Some(&text.replace(";\n", ";\n\n")))
}

impl<'a> Own<'a> {
    /// Starts it and waits until it takes writes; these roles are let in as ourselves.
    pub fn start(
        setup: &'a Setup,
        layout: &'a Layout,
        goal: &'a Goal,
        roles: &[&str],
        more: &[(&'static str, &str)],
        tale: &Tale,
    ) -> Result<Self, Error> {
        rules(layout, roles)?;
        let (image, control) = (image(setup)?, Control::read(setup, &layout.data)?);
        let mut with = quiet(&control, image.major()?, goal)?;
        let own = |name: &str| layout.conf.join(name).display().to_string();
        with.insert("hba_file", own(RULES));
        with.insert("ident_file", own(MAP));
        with.insert("recovery_target_timeline", "current".to_owned());
        with.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        make_private(&setup.socket_root).map_err(fault("cannot make", &setup.socket_root))?;
        let log = layout.log.join("import.log");
        let logged = fs::metadata(&log).map_or(0, |found| found.len());
        let open = fs::OpenOptions::new().create(true).append(true).open(&log);
        let out = open.and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = out.map_err(fault("cannot open", &log))?;
        let mut command = Command::new(image.program("postgres")?);
        command.arg("-D").arg(&layout.data).args(conf::pinned(setup, layout, goal));
        for (name, value) in with {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
            .current_dir(&layout.data)
            .env_clear()
            .envs(make::environment(image))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        let process = command.spawn();
        let process = process.map_err(|error| Error::Failed(format!("postgres: {error}")))?;
        let mut own = Self { setup, layout, goal, process };
        let words = || make::in_words("postgres", &restore::last_words(&log, logged));
        own.wait(roles.first().copied().unwrap_or(HELPER), tale, words)?;
        Ok(own)
    }

    fn wait(&mut self, role: &str, tale: &Tale, words: impl Fn() -> Error) -> Result<(), Error> {
        let end = Instant::now() + START_MAX;
        loop {
            let ended =
                self.process.try_wait().map_err(|error| Error::Failed(error.to_string()))?;
            if ended.is_some() {
                return Err(words());
            }
            let config = self.config(role, "template1");
            let asked = runtime().block_on(async {
                let client = connect(config).await?;
                let row = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await?;
                Ok::<bool, tokio_postgres::Error>(row.get(0))
            });
            if matches!(asked, Ok(false)) {
                return Ok(());
            }
            if tale.is_interrupted() || Instant::now() > end {
                server::kill(&self.layout.data)?;
                let _ = self.process.wait();
                let why = asked.err().map_or_else(String::new, |error| in_words(&error));
                return Err(Error::Failed(format!("the copied server does not start: {why}")));
            }
            std::thread::sleep(STEP);
        }
    }

    /// How it is reached.
    pub fn config(&self, role: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.setup.socket_root).port(self.goal.port).user(role).dbname(database);
        config
    }

    /// Does something with a connection to it; what is asked here may take as long as its data is large.
    pub fn with<T>(
        &self,
        role: &str,
        database: &str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let config = self.config(role, database);
        let done = runtime().block_on(async {
            let client = connect(config).await?;
            client.batch_execute(PLAIN).await?;
            work(&client).await
        });
        done.map_err(|error| Error::Failed(format!("in database {database}: {}", in_words(&error))))
    }

    /// Stops it cleanly.
    pub fn stop(mut self) -> Result<(), Error> {
        server::stop(&self.layout.data, StopMode::Fast)?;
        let _ = self.process.wait();
        for name in [RULES, MAP] {
            let path = self.layout.conf.join(name);
            crate::files::remove_file(&path).map_err(fault("cannot remove", &path))?;
        }
        Ok(())
    }

    /// Ends it; what it holds is thrown away.
    pub fn end(mut self) {
        // What is left is killed with the directory that is thrown away.
        let _ = server::kill(&self.layout.data);
        let _ = self.process.wait();
    }
}

/// What a database's own settings would have a session be is not ours.
const PLAIN: &str = "SET search_path = pg_catalog; SET statement_timeout = 0; SET lock_timeout = 0; \
    SET default_transaction_read_only = off";

const RULES: &str = "import_hba.conf";
const MAP: &str = "import_ident.conf";

fn rules(layout: &Layout, roles: &[&str]) -> Result<(), Error> {
    let user = conf::user_name()?;
    let quoted = |role: &&str| format!("\"{role}\"");
    let names: Vec<String> = roles.iter().map(quoted).collect();
    let rules = format!("local all {} peer map=import\nlocal all all reject\n", names.join(","));
    let map: String = names.iter().map(|role| format!("import {user} {role}\n")).collect();
    for (name, text) in [(RULES, rules), (MAP, map)] {
        let path = layout.conf.join(name);
        write_synced(&path, text.as_bytes()).map_err(fault("cannot write", &path))?;
    }
    Ok(())
}
