//! All of a foreign server, byte for byte: its files, and the log that they need, by `pg_basebackup`.

use std::fs;

use evenkeel_core::driver::Error;
use evenkeel_core::goal::Goal;
use evenkeel_core::import::Stage;
use evenkeel_kinds::postgres::log::{Name, SegmentSize};

use super::look::Look;
use super::own::{self, HELPER, Own};
use super::tale::Tale;
use super::tools::{REACH, Tools};
use super::{Fault, adopt};
use crate::Setup;
use crate::files::{fault, make_private, remove_file, write_synced};
use crate::postgres::layout::Layout;
use crate::postgres::restore::Control;
use crate::postgres::{conf, replication};

/// What a source's directory says to a server that starts on it, and must not say to ours.
const ORDERS: [&str; 6] = [
    "standby.signal",
    "recovery.signal",
    "recovery.conf",
    "postmaster.pid",
    "postmaster.opts",
    "tablespace_map",
];

/// Before anything else, where nobody is connected and nothing runs by itself: a role for the rest;
/// settings of the superuser, or of everybody, are the source's; nobody is subscribed to any more, as the
/// publisher would take the copy for its subscriber.
const FIRST: &str = "
CREATE ROLE ek_import LOGIN SUPERUSER;
DELETE FROM pg_catalog.pg_db_role_setting WHERE setrole = 10 OR (setdatabase = 0 AND setrole = 0) \
OR setdatabase IN (SELECT oid FROM pg_catalog.pg_database WHERE datname IN ('postgres', 'template1'));
UPDATE pg_catalog.pg_subscription SET subenabled = false;
";

/// Copies the source and makes the copy the service's own.
pub fn copy(
    setup: &Setup,
    layout: &Layout,
    goal: &Goal,
    tools: &Tools,
    look: &Look,
    tale: &mut Tale,
) -> Result<(), Fault> {
    fetch(layout, tools, look, tale).map_err(Fault::Passing)?;
    tale.stage(Stage::Adopting, 0)?;
    clean(layout)?;
    conf::write(setup, layout, goal, conf::Gate::Shut)?;
    own::single(setup, layout, goal, "template1", FIRST)?;
    // On a timeline of its own from here on: its number is the term's.
    replication::plant(&layout.data, goal.term)?;
    let signal = layout.data.join("recovery.signal");
    write_synced(&signal, b"").map_err(fault("cannot write", &signal))?;
    let own = Own::start(setup, layout, goal, &[HELPER, "evenkeel"], &[], tale)?;
    let changes = match adopt::adopt(&own, look, goal) {
        Ok(changes) => changes,
        Err(error) => {
            own.end();
            return Err(error.into());
        }
    };
    own.stop()?;
    settle_log(setup, layout, goal)?;
    Ok(tale.change(changes)?)
}

fn fetch(layout: &Layout, tools: &Tools, look: &Look, tale: &mut Tale) -> Result<(), Error> {
    tale.stage(Stage::Copying, look.found.whole)?;
    crate::files::remove_dir(&layout.data).map_err(fault("cannot remove", &layout.data))?;
    let mut command = tools.toward("pg_basebackup")?;
    command
        .args(["--wal-method=stream", "--checkpoint=fast", "--no-password", "--progress"])
        .args(["--label=evenkeel import", "-d", REACH, "-D"])
        .arg(&layout.data);
    if !look.has_slot() {
        command.arg("--no-slot");
    }
    tools.run(command, tale, |tale, line| {
        if let Some((done, total)) = line.and_then(progress) {
            tale.progress(done, total);
        }
    })
}

/// Bytes that are done, and all of them, in a line like ` 1024/23456 kB (4%), 0/1 tablespace`.
fn progress(line: &str) -> Option<(u64, u64)> {
    let (done, rest) = line.trim_start().split_once('/')?;
    let (total, rest) = rest.split_once(' ')?;
    let bytes = |text: &str| text.parse::<u64>().ok()?.checked_mul(1024);
    rest.starts_with("kB").then_some(())?;
    Some((bytes(done)?, bytes(total)?))
}

/// Takes out what would have our server do as the source's is told to.
fn clean(layout: &Layout) -> Result<(), Error> {
    let data = &layout.data;
    for name in ORDERS {
        let path = data.join(name);
        remove_file(&path).map_err(fault("cannot remove", &path))?;
    }
    let spaces = data.join("pg_tblspc");
    let mut links = fs::read_dir(&spaces).map_err(fault("cannot list", &spaces))?;
    if links.next().is_some() {
        let text = "the source has a tablespace since it was looked at; import with --method dump";
        return Err(Error::Failed(text.to_owned()));
    }
    // It is read last of all files, and would win: its commands are the source's.
    let auto = data.join("postgresql.auto.conf");
    write_synced(&auto, b"# The source's settings are not taken over.\n")
        .map_err(fault("cannot write", &auto))?;
    make_private(data).map_err(fault("cannot make", data))
}

/// What was logged before the service's own timeline is the source's: its archive is not ours.
fn settle_log(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<(), Error> {
    let size = Control::read(setup, &layout.data)?.segment_size()?;
    let wal = layout.data.join("pg_wal");
    let status = wal.join("archive_status");
    make_private(&status).map_err(fault("cannot make", &status))?;
    let entries = fs::read_dir(&wal).map_err(fault("cannot list", &wal))?;
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        if is_older(&name, size, goal.term.0) {
            let ready = status.join(format!("{name}.ready"));
            remove_file(&ready).map_err(fault("cannot remove", &ready))?;
            let done = status.join(format!("{name}.done"));
            fs::write(&done, b"").map_err(fault("cannot write", &done))?;
        }
    }
    Ok(())
}

fn is_older(name: &str, size: SegmentSize, timeline: u32) -> bool {
    let known = Name::parse(name, size).is_ok();
    let own = name.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    known && own.is_some_and(|own| own < timeline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pg_basebackup_says_of_its_progress_is_understood() {
        assert_eq!(progress("   1024/23456 kB (4%), 0/1 tablespace"), Some((1 << 20, 23456 << 10)));
        assert_eq!(
            progress("23456/23456 kB (100%), 1/1 tablespace"),
            Some((23456 << 10, 23456 << 10))
        );
        assert_eq!(progress("waiting for checkpoint"), None);
        assert_eq!(progress("pg_basebackup: error: a/b kB"), None);
    }

    #[test]
    fn only_what_was_logged_before_is_the_sources() {
        let size = SegmentSize::new(16 << 20).unwrap();
        assert!(is_older("0000000100000000000000A3", size, 256));
        assert!(!is_older("0000010000000000000000A3", size, 256));
        assert!(!is_older("archive_status", size, 256));
    }
}
