//! New directories from backups and archived log.
//!
//! The story: a backup's data is unpacked and checked against its manifest; a server that nobody but we
//! can reach replays the log to its target and takes writes on a timeline of its own; what belongs to the
//! service it came from and not to the new one is taken out; the server is stopped cleanly. What is left
//! is a directory like any other, and nothing else needs to know where it came from.
//!
//! Invariants: a lineage that is restored from is never written to; a target that the log does not reach
//! is an error, never an earlier end taken for it; the whole backup was authenticated before any of it is
//! believed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel_core::backup::job::Proof;
use evenkeel_core::backup::lineage::{Seed, Target};
use evenkeel_core::driver::{Error, Process};
use evenkeel_core::goal::{Goal, Role, StopMode};
use evenkeel_core::id::Term;
use evenkeel_core::moment::Moment;
use evenkeel_core::promise::Position;
use evenkeel_kinds::postgres::log::SegmentSize;
use tokio_postgres::{Client, Config};

use super::backup::{engine, told};
use super::layout::Layout;
use super::prepare::identifier;
use super::{conf, guard, image, make, replication, server};
use crate::Setup;
use crate::backup::command::{self, Settings, now};
use crate::backup::engine::Engine;
use crate::backup::lineage::{Lineage, Manifest};
use crate::files::{fault, make_private, remove_dir, remove_file, write_synced};
use crate::sql::{connect, in_words, runtime};

/// Between questions to a server that replays.
const STEP: Duration = Duration::from_millis(50);
/// What is asked of a server that nobody else uses is answered within this.
const PATIENCE: Duration = Duration::from_secs(120);
/// A look at every table and index of a large database takes a while.
const CHECK_MAX: Duration = Duration::from_secs(3600);
/// Words of a server that met the end of its log before its target.
const UNREACHED: &str = "recovery ended before configured recovery target was reached";
/// Most of a log that is read for the reason of an end.
const WORDS_MAX: u64 = 64 << 10;
/// What must be at least as large as where the log was written.
pub const SHARED: [(&str, &str); 5] = [
    ("max_connections", "max_connections setting"),
    ("max_worker_processes", "max_worker_processes setting"),
    ("max_wal_senders", "max_wal_senders setting"),
    ("max_prepared_transactions", "max_prepared_xacts setting"),
    ("max_locks_per_transaction", "max_locks_per_xact setting"),
];

/// What a data directory's control file says.
pub struct Control {
    /// What identifies the data through all its copies.
    pub system: String,
    said: String,
}

impl Control {
    /// Reads it; the server may run.
    pub fn read(setup: &Setup, data: &Path) -> Result<Self, Error> {
        let image = image(setup)?;
        let mut command = Command::new(image.program("pg_controldata")?);
        command.arg("-D").arg(data).env_clear().envs(make::environment(image));
        let said = make::said(command, None)?;
        let mut control = Self { system: String::new(), said };
        control.system = control.value("Database system identifier")?.to_owned();
        Ok(control)
    }

    pub fn value(&self, name: &str) -> Result<&str, Error> {
        let of =
            |line: &'_ str| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::len);
        let found = self
            .said
            .lines()
            .find_map(|line| of(line).map(|rest| line[line.len() - rest..].trim()));
        found.ok_or_else(|| Error::Failed(format!("the control file does not say {name:?}")))
    }

    /// Bytes of a segment of its log.
    pub fn segment_size(&self) -> Result<SegmentSize, Error> {
        let bytes = self.value("Bytes per WAL segment")?.parse().ok().and_then(SegmentSize::new);
        bytes.ok_or_else(|| Error::Failed("the control file has no size of segments".to_owned()))
    }
}

/// Where a server is restored, and what it is reached by.
struct Place<'a> {
    setup: &'a Setup,
    layout: &'a Layout,
    /// Of its socket.
    sockets: PathBuf,
}

/// What a restore came to.
struct Restored {
    manifest: Manifest,
    /// Where its data is from.
    repository: String,
    canary: Option<Moment>,
    end: Position,
}

/// Fills a directory that is being made.
pub fn whole(setup: &Setup, layout: &Layout, goal: &Goal, seed: &Seed) -> Result<(), Error> {
    let place = Place { setup, layout, sockets: setup.socket_root.clone() };
    let restored = place.restore(goal, seed, |client| adopt(client, seed, goal))?;
    // Whoever looks at the directory sees where it is from.
    let about = serde_json::json!({
        "lineage": seed.archive.lineage, "backup": restored.manifest.backup.id,
        "target": seed.target.to_string(), "at": now(),
    });
    let path = layout.root.join("restored.json");
    write_synced(&path, about.to_string().as_bytes()).map_err(fault("cannot write", &path))
}

/// What belongs to the service that this came from goes; the owner's role and database get the new name.
fn adopt(client: &Client, seed: &Seed, goal: &Goal) -> Result<(), Error> {
    let (old, new) = (&seed.owner, goal.owner());
    let work = async {
        client.batch_execute("UPDATE evenkeel.term SET term = 0 WHERE id = 1").await?;
        let copies = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname ~ '^ek_m[0-9]'";
        for row in client.query(copies, &[]).await? {
            let role = identifier(row.get(0));
            client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await?;
        }
        if old == new {
            return Ok(());
        }
        let (old, new) = (identifier(old), identifier(new));
        client.batch_execute(&format!("ALTER DATABASE {old} RENAME TO {new}")).await?;
        client.batch_execute(&format!("ALTER ROLE {old} RENAME TO {new}")).await
    };
    let limited = runtime().block_on(async { tokio::time::timeout(PATIENCE, work).await });
    let limit_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    limited
        .map_err(|_| Error::Deadline {
            what: "taking over what was restored".to_owned(),
            limit_ms,
        })?
        .map_err(|error| Error::Failed(in_words(&error)))
}

/// Restores into a scratch directory, looks at everything, drops it.
pub fn prove_to(
    setup: &Setup,
    layout: &Layout,
    goal: &Goal,
    seed: &Seed,
    end: Option<Position>,
) -> Result<Proof, Error> {
    let scratch = Layout::at(layout.proof.clone(), goal);
    server::kill(&scratch.data)?;
    remove_dir(&scratch.root).map_err(fault("cannot remove", &scratch.root))?;
    for made in [&scratch.root, &scratch.conf, &scratch.log] {
        make_private(made).map_err(fault("cannot make", made))?;
    }
    // Its name has few bytes: a socket's path has at most 107.
    let sockets = setup.socket_root.join(format!("p{}", goal.member.0));
    let place = Place { setup, layout: &scratch, sockets: sockets.clone() };
    let engine = engine(setup, &scratch.root, Some(&seed.archive))?;
    let newest = engine.newest_timeline(0).map_err(told)?;
    // Alone, and on a timeline that nobody else is on.
    let mut goal = goal.clone();
    (goal.term, goal.role, goal.seed) = (Term(newest + 1), Role::alone(), None);
    std::sync::Arc::make_mut(&mut goal.identity).members.clear();
    let goal = &goal;
    let (begun, clock) = (now(), Instant::now());
    let mut took = Duration::ZERO;
    let (mut relations, mut wrong) = (0, Vec::new());
    let restored = place.restore(goal, seed, |_| {
        took = clock.elapsed();
        (relations, wrong) = place.check(goal)?;
        Ok(())
    });
    if let Ok(Restored { manifest, repository, .. }) = &restored {
        let copies = engine.verify(manifest, Some(repository)).into_iter();
        // Of a copy that cannot be read now nobody knows: it was there when it was stored.
        wrong.extend(copies.filter(|error| !error.may_pass()).map(|error| error.to_string()));
    }
    let cleared = remove_dir(&scratch.root).and_then(|()| remove_dir(&sockets));
    let restored = restored?;
    cleared.map_err(fault("cannot remove", &scratch.root))?;
    let restore_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let Restored { manifest, canary, end: reached, .. } = restored;
    if let Some(end) = end.filter(|end| reached < *end) {
        wrong.push(format!("its log ends at {reached}, and its server's at {end}"));
    }
    Ok(Proof { backup: manifest.backup.id, begun, restore_ms, canary, relations, wrong })
}

/// The newest backup from which a target can be reached.
fn choose(lineage: &Lineage, seed: &Seed) -> Result<Manifest, Error> {
    if let Some(id) = seed.backup {
        return lineage.manifest(id).map_err(told);
    }
    let all = lineage.backups().map_err(told)?;
    let before = |manifest: &&Manifest| match &seed.target {
        Target::Latest => true,
        Target::Moment(moment) => manifest.backup.ended <= *moment,
        Target::Position(position) => manifest.backup.to <= *position,
        // Nobody knows where it is: the whole log is gone through for it.
        Target::Point(_) => all.first() == Some(manifest),
    };
    let first = all.first().map(|manifest| manifest.backup.ended);
    let found = all.iter().filter(before).max_by_key(|m| (m.backup.to, m.backup.id));
    if let Some(found) = found {
        return Ok(found.clone());
    }
    // Who cannot be asked may have one.
    lineage.answers().map_err(told)?;
    Err(Error::Failed(match first {
        None => format!("lineage {} has no backup", seed.archive.lineage),
        Some(first) => format!("{} is before its first backup of {first}", seed.target),
    }))
}

impl Place<'_> {
    fn restore(
        &self,
        goal: &Goal,
        seed: &Seed,
        then: impl FnOnce(&Client) -> Result<(), Error>,
    ) -> Result<Restored, Error> {
        let engine = engine(self.setup, &self.layout.root, Some(&seed.archive))?;
        let manifest = choose(engine.lineage(), seed)?;
        guard::leaves_room(&self.layout.root, manifest.backup.bytes)?;
        let repository = self.fill(&*engine, &manifest)?;
        self.is_of(&manifest)?;
        let settings = self.layout.root.join("seed.json");
        let text = Settings::of(self.setup, Some(&seed.archive), Term(0));
        let text = serde_json::to_vec(&text).expect("settings are JSON");
        write_synced(&settings, &text).map_err(fault("cannot write", &settings))?;
        let newest = engine.newest_timeline(manifest.backup.timeline).map_err(told)?;
        if newest >= goal.term.0 {
            let text = format!("its log is on timeline {newest}, and its term is {}", goal.term.0);
            return Err(Error::Failed(text));
        }
        let client = self.replay(goal, seed, newest, &settings)?;
        let end = self.branched(goal.term)?;
        let canary = self.ask(async {
            let text = "SELECT (extract(epoch FROM at) * 1000000)::bigint FROM evenkeel.heartbeat";
            let row = client.query_opt(text, &[]).await?;
            Ok(row.map(|row| Moment(row.get(0))))
        })?;
        let done = then(&client);
        drop(client);
        server::stop(&self.layout.data, StopMode::Fast)?;
        done?;
        // Its log begins here; what it was replayed from is another lineage's.
        remove_file(&settings).map_err(fault("cannot remove", &settings))?;
        let tools = command::tools_of(&settings);
        remove_dir(&tools).map_err(fault("cannot remove", &tools))?;
        Ok(Restored { manifest, repository, canary, end })
    }

    /// Where the log that was replayed ended: a new timeline says where it left the one before.
    fn branched(&self, term: Term) -> Result<Position, Error> {
        let path = self.layout.data.join("pg_wal").join(format!("{:08X}.history", term.0));
        let text = fs::read_to_string(&path).map_err(fault("cannot read", &path))?;
        let last = text.lines().rfind(|line| !line.trim().is_empty());
        let end = last.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        end.ok_or_else(|| Error::Failed(format!("{} is no history", path.display())))
    }

    /// Brings the data in; the repository that it is from.
    fn fill(&self, engine: &dyn Engine, manifest: &Manifest) -> Result<String, Error> {
        let data = &self.layout.data;
        make_private(data).map_err(fault("cannot make", data))?;
        let repository = engine.restore(manifest, data)?;
        for signal in ["standby.signal", "postmaster.pid"] {
            let path = data.join(signal);
            remove_file(&path).map_err(fault("cannot remove", &path))?;
        }
        let wal = data.join("pg_wal/archive_status");
        make_private(&wal).map_err(fault("cannot make", &wal))?;
        let file = fs::File::open(data).map_err(fault("cannot open", data))?;
        rustix::fs::syncfs(&file).map_err(|error| fault("cannot sync", data)(error.into()))?;
        Ok(repository)
    }

    /// The data must be what the manifest says that it is.
    fn is_of(&self, manifest: &Manifest) -> Result<(), Error> {
        let control = Control::read(self.setup, &self.layout.data)?;
        let marker = fs::read(&self.layout.marker).unwrap_or_default();
        let marker: Option<super::layout::Marker> = serde_json::from_slice(&marker).ok();
        let service = marker.as_ref().map(|marker| marker.service);
        if control.system != manifest.system || service != Some(manifest.service) {
            return Err(Error::Failed(format!(
                "backup {} is not what its manifest says: system {} of {service:?}, not {} of {}",
                manifest.backup.id, control.system, manifest.system, manifest.service
            )));
        }
        Ok(())
    }

    /// Replays to the target and takes writes.
    fn replay(
        &self,
        goal: &Goal,
        seed: &Seed,
        newest: u32,
        settings: &Path,
    ) -> Result<Client, Error> {
        conf::write(self.setup, self.layout, goal, conf::Gate::Shut)?;
        make_private(&self.sockets).map_err(fault("cannot make", &self.sockets))?;
        let signal = self.layout.data.join("recovery.signal");
        write_synced(&signal, b"").map_err(fault("cannot write", &signal))?;
        let target = target(&seed.target);
        match self.promoted(goal, newest, settings, target.as_ref()) {
            // Whoever asked was told that the log goes further than this moment: nothing committed
            // between the end of what there is and then.
            Err(Error::Failed(words))
                if words.contains(UNREACHED)
                    && seed.covered
                    && matches!(seed.target, Target::Moment(_)) =>
            {
                self.promoted(goal, newest, settings, None)
            }
            other => other,
        }
    }

    fn promoted(
        &self,
        goal: &Goal,
        newest: u32,
        settings: &Path,
        target: Option<&(&str, String)>,
    ) -> Result<Client, Error> {
        replication::plant(&self.layout.data, goal.term)?;
        let log = self.layout.log.join("restore.log");
        let logged = fs::metadata(&log).map_or(0, |found| found.len());
        let mut child = self.spawn(goal, newest, settings, target, &log)?;
        let mut config = Config::new();
        config.host_path(&self.sockets).port(goal.port).user("evenkeel").dbname("evenkeel");
        loop {
            let ended = child.try_wait().map_err(|error| Error::Failed(error.to_string()))?;
            if ended.is_some() {
                return Err(make::in_words("restoring", &last_words(&log, logged)));
            }
            let asked = runtime().block_on(async {
                let client = connect(config.clone()).await?;
                let row = client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await?;
                Ok::<_, tokio_postgres::Error>((client, row.get::<_, bool>(0)))
            });
            if let Ok((client, false)) = asked {
                return Ok(client);
            }
            if let Err(full) = guard::leaves_room(&self.layout.root, 0) {
                server::kill(&self.layout.data)?;
                child.wait().map_err(|error| Error::Failed(error.to_string()))?;
                return Err(full);
            }
            std::thread::sleep(STEP);
        }
    }

    fn spawn(
        &self,
        goal: &Goal,
        newest: u32,
        settings: &Path,
        target: Option<&(&str, String)>,
        log: &Path,
    ) -> Result<Child, Error> {
        let image = image(self.setup)?;
        let control = Control::read(self.setup, &self.layout.data)?;
        let fetch = conf::command(&self.setup.launcher, command::FETCH, settings, ["%f", "%p"]);
        let mut with = BTreeMap::from([
            ("listen_addresses", String::new()),
            ("unix_socket_directories", self.sockets.display().to_string()),
            ("archive_mode", "off".to_owned()),
            ("restore_command", fetch),
            ("recovery_target_timeline", newest.to_string()),
            ("recovery_target_action", "promote".to_owned()),
            ("primary_conninfo", String::new()),
            ("synchronous_standby_names", String::new()),
            ("hot_standby", "on".to_owned()),
        ]);
        if let Some((name, value)) = target {
            with.insert(name, value.clone());
            // A position is where records end; the one that begins there is past it.
            let inclusive = if *name == "recovery_target_lsn" { "off" } else { "on" };
            with.insert("recovery_target_inclusive", inclusive.to_owned());
        }
        for (name, called) in SHARED {
            let there: u64 = control.value(called)?.parse().unwrap_or(0);
            let wanted = goal.settings.get(name).and_then(|value| value.parse().ok()).unwrap_or(0);
            with.insert(name, there.max(wanted).to_string());
        }
        let open = fs::OpenOptions::new().create(true).append(true).open(log);
        let out = open.and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = out.map_err(fault("cannot open", log))?;
        let mut command = Command::new(image.program("postgres")?);
        command.arg("-D").arg(&self.layout.data).args(conf::pinned(self.setup, self.layout, goal));
        for (name, value) in with {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
            .current_dir(&self.layout.data)
            .env_clear()
            .envs(make::environment(image))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        command.spawn().map_err(|error| Error::Failed(format!("postgres: {error}")))
    }

    fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let limited = runtime().block_on(async { tokio::time::timeout(PATIENCE, question).await });
        let limit_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
        limited
            .map_err(|_| Error::Deadline { what: "asking what was restored".to_owned(), limit_ms })?
            .map_err(|error| Error::Failed(in_words(&error)))
    }

    /// Every table and index against each other, and every page against its checksum as it is read.
    fn check(&self, goal: &Goal) -> Result<(u64, Vec<String>), Error> {
        let image = image(self.setup)?;
        let mut command = Command::new(image.program("pg_amcheck")?);
        command
            .args(["--all", "--install-missing", "--heapallindexed", "--parent-check", "--verbose"])
            .args(["--username=evenkeel", "--no-password", "--maintenance-db=postgres"])
            .arg(format!("--host={}", self.sockets.display()))
            .arg(format!("--port={}", goal.port))
            .env_clear()
            .envs(make::environment(image));
        let (ok, words) = make::heard(command, CHECK_MAX)?;
        let checked = words.lines().filter(|line| line.contains(": checking ")).count();
        let relations = u64::try_from(checked).unwrap_or(u64::MAX);
        let noise = ["checking ", "in database ", "including database", "NOTICE"];
        let telling = words.lines().filter(|line| !noise.iter().any(|sign| line.contains(sign)));
        let wrong: Vec<String> = match ok {
            true => Vec::new(),
            false => telling.take(5).map(str::to_owned).collect(),
        };
        if !ok && wrong.is_empty() {
            return Err(Error::Failed("pg_amcheck failed and does not say why".to_owned()));
        }
        Ok((relations, wrong))
    }
}

/// A target as the server's setting.
fn target(target: &Target) -> Option<(&'static str, String)> {
    Some(match target {
        Target::Latest => return None,
        // The abbreviation of a zone is not known yet when a server reads this.
        Target::Moment(moment) => ("recovery_target_time", moment.to_string().replace('Z', "+00")),
        Target::Position(position) => ("recovery_target_lsn", position.to_string()),
        Target::Point(name) => ("recovery_target_name", name.clone()),
    })
}

/// What a server that ended said last, but for its answers to our own questions; what stood in the way of
/// its log goes first.
pub fn last_words(log: &Path, from: u64) -> String {
    let mut words = Vec::new();
    if let Ok(mut file) = fs::File::open(log) {
        let length = file.metadata().map_or(0, |found| found.len());
        let at = from.max(length.saturating_sub(WORDS_MAX));
        let _ = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_to_end(&mut words));
    }
    let words = String::from_utf8_lossy(&words);
    let told = |line: &&str| line.starts_with("archive: ");
    let archive = words.lines().rfind(told).map(|line| format!("could not {line}"));
    let noise = ["system is starting up", "system is shutting down", "not yet accepting"];
    let own =
        words.lines().filter(|line| !told(line) && !noise.iter().any(|sign| line.contains(sign)));
    archive.iter().map(String::as_str).chain(own).collect::<Vec<_>>().join("\n")
}

/// Whether a scratch server of an earlier try runs, which nobody needs any more.
pub fn clear(layout: &Layout) -> Result<(), Error> {
    if server::find(&layout.proof.join("data")) != Process::None {
        server::kill(&layout.proof.join("data"))?;
    }
    Ok(())
}
