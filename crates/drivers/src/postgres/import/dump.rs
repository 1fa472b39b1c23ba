//! One database of a foreign server, read by `pg_dump` and written into a fresh server by `pg_restore`.
//!
//! Invariant: what the source says is written by the owner's role and by no other: whatever a source put
//! into its names and bodies can do no more here than its owner.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evenkeel_core::driver::Error;
use evenkeel_core::goal::Goal;
use evenkeel_core::import::Stage;

use super::look::{Extension, Look, NEVER};
use super::own::Own;
use super::tale::Tale;
use super::tools::{REACH, Tools};
use super::{Fault, flat_size};
use crate::Setup;
use crate::files::{fault, remove_dir, write_synced};
use crate::postgres::layout::Layout;
use crate::postgres::prepare::{LIMITS, identifier, literal};
use crate::postgres::{conf, make};

/// Sessions at the source, and at the new server, that work at the same time.
const JOBS: &str = "2";
/// A table that somebody else has locked for so long is not waited for: the source's users come first.
const LOCK_WAIT: &str = "--lock-wait-timeout=30s";
/// How the fresh server works while it is filled: what is lost with it is made again.
const FILLING: [(&str, &str); 3] =
    [("synchronous_commit", "off"), ("max_wal_size", "2GB"), ("maintenance_work_mem", "128MB")];
/// What only a superuser makes: left out, and told.
const LEFT_OUT: [&str; 5] =
    ["EVENT TRIGGER", "FOREIGN DATA WRAPPER", "PROCEDURAL LANGUAGE", "PUBLICATION", "SUBSCRIPTION"];

/// Reads the source's database and writes it into a fresh server.
pub fn copy(
    setup: &Setup,
    layout: &Layout,
    goal: &Goal,
    tools: &Tools,
    look: &Look,
    tale: &mut Tale,
) -> Result<(), Fault> {
    let place = layout.root.join("dump");
    read(&place, tools, look, tale).map_err(Fault::Passing)?;
    tale.stage(Stage::Writing, look.found.size)?;
    remove_dir(&layout.data).map_err(fault("cannot remove", &layout.data))?;
    make::fresh(setup, layout)?;
    conf::write(setup, layout, goal, conf::Gate::Shut)?;
    let own = Own::start(setup, layout, goal, &["evenkeel", goal.owner()], &FILLING, tale)?;
    let written = write(setup, &place, goal, tools, look, &own, tale);
    match written {
        Ok(()) => own.stop()?,
        Err(error) => {
            own.end();
            return Err(error.into());
        }
    }
    Ok(remove_dir(&place).map_err(fault("cannot remove", &place))?)
}

fn read(place: &PathBuf, tools: &Tools, look: &Look, tale: &mut Tale) -> Result<(), Error> {
    tale.stage(Stage::Reading, look.found.size)?;
    remove_dir(place).map_err(fault("cannot remove", place))?;
    let mut command = tools.toward("pg_dump")?;
    command
        .args(["--format=directory", "--compress=0", "--jobs", JOBS, "--no-password", LOCK_WAIT])
        .args(["--no-owner", "--no-privileges", "--no-tablespaces", "--no-security-labels"])
        .args(["--dbname", REACH, "--file"])
        .arg(place);
    let total = look.found.size;
    tools.run(command, tale, |tale, _| tale.progress(flat_size(place), total))
}

fn write(
    setup: &Setup,
    place: &PathBuf,
    goal: &Goal,
    tools: &Tools,
    look: &Look,
    own: &Own<'_>,
    tale: &mut Tale,
) -> Result<(), Error> {
    let owner = goal.owner();
    own.with("evenkeel", "postgres", async |client| {
        let (role, text) = (identifier(owner), database(look, owner));
        client.batch_execute(&format!("CREATE ROLE {role} WITH {LIMITS}")).await?;
        client.batch_execute(&text).await
    })?;
    let mut schemas = Vec::new();
    let mut changes = Vec::new();
    for extension in &look.found.extensions {
        if NEVER.contains(&extension.name.as_str()) {
            changes.push(format!("extension {} is left out: it reaches the host", extension.name));
            continue;
        }
        extend(own, owner, extension, &mut schemas, &mut changes)?;
    }
    let mut list = tools.here("pg_restore")?;
    list.arg("--list").arg(place);
    let (kept, left) = sort(&make::said(list, None)?, &schemas);
    changes.extend(
        left.into_iter().map(|what| format!("left out, as only superusers make it: {what}")),
    );
    let list = place.with_file_name("dump.list");
    write_synced(&list, kept.as_bytes()).map_err(fault("cannot write", &list))?;
    let mut command = tools.here("pg_restore")?;
    command
        .args(["--jobs", JOBS, "--exit-on-error", "--no-owner", "--no-privileges", "--no-password"])
        .args(["--host".as_ref(), setup.socket_root.as_os_str()])
        .args(["--port", &goal.port.to_string(), "--username", owner, "--dbname", owner])
        .arg("--use-list")
        .arg(&list)
        .arg(place)
        .stdin(Stdio::null());
    let total = look.found.size;
    let size = Size::watch(own, owner);
    tools.run(command, tale, |tale, _| tale.progress(size.now(), total))?;
    drop(size);
    own.with("evenkeel", owner, async |client| client.batch_execute("ANALYZE").await)?;
    changes.push(format!(
        "everything is {owner}'s: roles, their grants and settings are not in a dump"
    ));
    tale.change(changes)
}

/// A database that compares and orders texts as the source's does.
fn database(look: &Look, owner: &str) -> String {
    let found = &look.found;
    let mut text = format!(
        "CREATE DATABASE {0} OWNER {0} TEMPLATE template0 ENCODING {1} LC_COLLATE {2} LC_CTYPE {3}",
        identifier(owner),
        literal(&found.encoding),
        literal(&found.collate),
        literal(&found.ctype)
    );
    if found.provider.as_deref() == Some("i") {
        let locale = found.icu.as_deref().unwrap_or("und");
        text.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale)));
    }
    text
}

/// Makes an extension by Evenkeel's own role, in the schema that it has at the source.
fn extend(
    own: &Own<'_>,
    owner: &str,
    extension: &Extension,
    schemas: &mut Vec<String>,
    changes: &mut Vec<String>,
) -> Result<(), Error> {
    let Extension { name, schema, version } = extension;
    let systems = schema == "public" || schema == "pg_catalog";
    let is = own.with("evenkeel", owner, async |client| {
        if !systems {
            let text = format!(
                "CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}",
                identifier(schema),
                identifier(owner)
            );
            client.batch_execute(&text).await?;
        }
        let (what, schema) = (identifier(name), identifier(schema));
        let text = format!("CREATE EXTENSION IF NOT EXISTS {what} SCHEMA {schema} CASCADE");
        client.batch_execute(&text).await?;
        let asked = "SELECT extversion FROM pg_extension WHERE extname = $1";
        Ok(client.query_one(asked, &[name]).await?.get::<_, String>(0))
    })?;
    if !systems && !schemas.contains(schema) {
        schemas.push(schema.clone());
    }
    if is != *version {
        changes.push(format!("extension {name} is {is} here and was {version}"));
    }
    Ok(())
}

/// What is written, by the list of what was read; and what is not, by name.
fn sort(list: &str, schemas: &[String]) -> (String, Vec<String>) {
    let (mut kept, mut left) = (String::new(), Vec::new());
    for line in list.lines().filter(|line| !line.starts_with(';')) {
        // Number; two ids; then what it is.
        let what = line.splitn(4, ' ').nth(3).unwrap_or_default();
        let bare = what.strip_prefix("COMMENT - ").map_or(what, |of| of);
        let is_comment = bare.len() < what.len();
        let made = |schema: &String| {
            what.strip_prefix("SCHEMA - ")
                .is_some_and(|rest| rest.split(' ').next() == Some(schema))
        };
        let ours = bare.starts_with(if is_comment { "EXTENSION " } else { "EXTENSION - " })
            || what.starts_with("SCHEMA - public ")
            || what.starts_with("COMMENT - SCHEMA public ")
            || schemas.iter().any(made);
        if ours {
            continue;
        }
        if LEFT_OUT.iter().any(|kind| bare.starts_with(kind)) {
            if !is_comment {
                left.push(what.trim().to_owned());
            }
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    (kept, left)
}

/// How large a database is while it is filled, asked again and again.
struct Size {
    bytes: std::sync::Arc<std::sync::atomic::AtomicU64>,
    ends: std::sync::Arc<AtomicBool>,
}

impl Size {
    fn watch(own: &Own<'_>, database: &str) -> Self {
        let bytes = std::sync::Arc::default();
        let ends = std::sync::Arc::new(AtomicBool::new(false));
        let size =
            Self { bytes: std::sync::Arc::clone(&bytes), ends: std::sync::Arc::clone(&ends) };
        let (config, name) = (own.config("evenkeel", "postgres"), database.to_owned());
        crate::sql::runtime().spawn(async move {
            let Ok(client) = crate::sql::connect(config).await else { return };
            while !ends.load(Ordering::Relaxed) {
                let asked = "SELECT pg_catalog.pg_database_size($1::text::name)";
                let Ok(row) = client.query_one(asked, &[&name]).await else { return };
                let now: i64 = row.get(0);
                bytes.store(u64::try_from(now).unwrap_or(0), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        size
    }

    fn now(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Size {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_already_and_what_only_superusers_make_is_not_written() {
        let list = ";\n; Archive created at 2026\n\
            7; 2615 16500 SCHEMA - tools app\n\
            8; 2615 16501 SCHEMA - tools2 app\n\
            2; 3079 16390 EXTENSION - pgcrypto \n\
            9; 0 0 COMMENT - EXTENSION pgcrypto \n\
            5; 2615 2200 SCHEMA - public pg_database_owner\n\
            6; 0 0 COMMENT - SCHEMA public pg_database_owner\n\
            4; 3466 16600 EVENT TRIGGER - guard postgres\n\
            3; 0 0 COMMENT - EVENT TRIGGER guard postgres\n\
            20; 1259 16700 TABLE public EXTENSION app\n\
            21; 0 0 COMMENT public TABLE EXTENSION app\n";
        let (kept, left) = sort(list, &["tools".to_owned()]);
        let kept: Vec<&str> = kept.lines().filter_map(|line| line.split(';').next()).collect();
        assert_eq!(kept, ["8", "20", "21"]);
        assert_eq!(left, ["EVENT TRIGGER - guard postgres"]);
    }
}
