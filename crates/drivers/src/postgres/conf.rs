//! Settings and rules for clients, in files outside what users edit.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use evenkeel_core::backup::guard::Level;
use evenkeel_core::driver::Error;
use evenkeel_core::goal::{Goal, Role, Upstream};
use evenkeel_kinds::postgres::replication::standby_names;

use super::layout::Layout;
use crate::Setup;
use crate::backup::command::{self, Settings};
use crate::files::{fault, write_synced};

/// Longest path of a socket (`sun_path`, with its end).
const SOCKET_MAX_BYTES: usize = 107;

/// Rules for whoever connects: Evenkeel's own roles on the socket as the operating system's user, and
/// never by address, as gateways and clients may share the host; copies of the service to replicate;
/// owners by address with their password, while clients are let in.
fn rules(goal: &Goal, gate: Gate) -> String {
    let mut text = format!("{}\n", if gate == Gate::Open { OPEN } else { SHUT });
    text.push_str(
        "local all evenkeel,evenkeel_probe peer map=evenkeel\n\
         local replication evenkeel peer map=evenkeel\n\
         local all all reject\n\
         host all evenkeel,evenkeel_probe all reject\n",
    );
    if let Role::Primary { followers, .. } = &goal.role {
        for follower in followers {
            let role = &follower.login.role;
            let _ = writeln!(text, "host replication \"{role}\" all scram-sha-256");
            let _ = writeln!(text, "host evenkeel \"{role}\" all scram-sha-256");
        }
    }
    text.push_str("host replication all all reject\n");
    text.push_str(match gate {
        Gate::Open => "host all all 0.0.0.0/0 scram-sha-256\nhost all all ::/0 scram-sha-256\n",
        Gate::Shut | Gate::Keep => "host all all all reject\n",
    });
    text
}

/// First line of the rules while clients are let in, and while they are not.
const OPEN: &str = "# Clients are let in.";
const SHUT: &str = "# Clients are not let in yet.";
/// On a standby commits wait for nobody, and on one that were promoted by hand for ever: the name is
/// no copy's. A checkpointer that has seen it knows that commits may wait.
const NOBODY: &str = "ANY 1 (\"ek_nobody\")";

/// What the disk guard has a server do, last of all settings.
const GUARD: &str = "guard.conf";

/// Whether clients are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They are.
    Open,
    /// They are not.
    Shut,
    /// As it was written last; shut if it never was.
    Keep,
}

impl Gate {
    /// What a goal's server begins with: a primary that has siblings may have lost its place, or have
    /// commits that no other has and nobody may see yet.
    pub fn at_start(goal: &Goal) -> Self {
        let primary = matches!(goal.role, Role::Primary { .. });
        if primary && goal.identity.members.len() > 1 { Self::Shut } else { Self::Open }
    }

    fn or_kept(self, path: &Path) -> Self {
        if self != Self::Keep {
            return self;
        }
        let open = fs::read_to_string(path).is_ok_and(|text| text.starts_with(OPEN));
        if open { Self::Open } else { Self::Shut }
    }
}

/// Whether clients are let in, by what is written.
pub fn is_open(layout: &Layout) -> bool {
    Gate::Keep.or_kept(&layout.conf.join("pg_hba.conf")) == Gate::Open
}

/// Writes what differs; true if anything did.
pub fn write(setup: &Setup, layout: &Layout, goal: &Goal, gate: Gate) -> Result<bool, Error> {
    let user = user_name()?;
    let gate = gate.or_kept(&layout.conf.join("pg_hba.conf"));
    let map = format!("evenkeel {user} evenkeel\nevenkeel {user} evenkeel_probe\n");
    let files = [
        (layout.conf.join("postgresql.conf"), settings(setup, layout, goal)),
        (layout.conf.join("pg_hba.conf"), rules(goal, gate)),
        (layout.conf.join("pg_ident.conf"), map),
        (layout.archive.clone(), archive(setup, goal)),
    ];
    let made = fs::create_dir_all(&layout.conf).and_then(|()| fs::create_dir_all(&layout.log));
    made.map_err(fault("cannot make", &layout.conf))?;
    check_socket(setup, goal)?;
    let mut changed = false;
    for (path, text) in files {
        if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
            continue;
        }
        write_synced(&path, text.as_bytes()).map_err(fault("cannot write", &path))?;
        changed = true;
    }
    Ok(changed)
}

/// What a server does about the room its disk has; true if that is new. A client can write in spite of
/// the last level by asking for it: what is reserved below it is for that.
pub fn guard(layout: &Layout, level: Level) -> Result<bool, Error> {
    let path = layout.conf.join(GUARD);
    // Its log goes before others' where there is no room for it.
    let told = layout.archive.with_file_name(command::LEVEL);
    let said = serde_json::to_vec(&level).expect("a level is JSON");
    // It is told again and again: a disk without room is not written to for nothing.
    if fs::read(&told).ok().as_deref() != Some(&said[..]) {
        write_synced(&told, &said).map_err(fault("cannot write", &told))?;
    }
    // Old log is removed instead of kept for reuse, and goes sooner.
    const LESS_LOG: &str = "wal_recycle = off\nmax_wal_size = 64MB\nmin_wal_size = 32MB\n";
    let (less, text) = match level {
        Level::Fine => ("", ""),
        Level::Warn => (LESS_LOG, ""),
        // Who only reads can fill a disk as well.
        Level::Throttle => {
            (LESS_LOG, "commit_delay = 100000\ncommit_siblings = 0\ntemp_file_limit = 262144\n")
        }
        Level::ReadOnly => {
            (LESS_LOG, "default_transaction_read_only = on\ntemp_file_limit = 16384\n")
        }
    };
    let text = format!("# The disk guard's.\n{less}{text}");
    if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(false);
    }
    write_synced(&path, text.as_bytes()).map_err(fault("cannot write", &path))?;
    Ok(true)
}

/// What the server's commands for its log go by. They read it for each file: nothing is to be reloaded.
fn archive(setup: &Setup, goal: &Goal) -> String {
    let settings = Settings::of(setup, goal.archive.as_deref(), goal.term);
    serde_json::to_string(&settings).expect("settings are JSON")
}

/// A command of the server's own, in the words of its shell.
pub fn command(launcher: &[String], name: &str, settings: &Path, places: [&str; 2]) -> String {
    let settings = settings.display().to_string();
    let words = launcher.iter().map(String::as_str).chain([name, &settings]);
    // A percent sign would be one of the server's own.
    let quoted = words.map(|word| format!("'{}'", word.replace('\'', "'\\''").replace('%', "%%")));
    let [first, second] = places;
    format!("{} \"{first}\" \"{second}\"", quoted.collect::<Vec<_>>().join(" "))
}

fn settings(setup: &Setup, layout: &Layout, goal: &Goal) -> String {
    let mut text = "# Written by Evenkeel; changes made here are lost.\n".to_owned();
    let mut part = part(goal);
    let push = command(&setup.launcher, command::PUSH, &layout.archive, ["%p", "%f"]);
    part.push(("archive_command", push));
    let part = part.iter().map(|(name, value)| (*name, value));
    for (name, value) in goal.settings.iter().map(|(n, v)| (n.as_str(), v)).chain(part) {
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    }
    let _ = writeln!(text, "include_if_exists '{GUARD}'");
    text
}

/// The settings of a member's part in replication.
fn part(goal: &Goal) -> Vec<(&'static str, String)> {
    let settings = |names: &str, upstream: String, slot: &str| {
        vec![
            ("synchronous_standby_names", names.to_owned()),
            ("primary_conninfo", upstream),
            ("primary_slot_name", slot.to_owned()),
        ]
    };
    match &goal.role {
        Role::Primary { set, .. } if goal.has_siblings() => {
            settings(&standby_names(set), String::new(), "")
        }
        Role::Primary { .. } => Vec::new(),
        Role::Standby { upstream } => settings(NOBODY, conninfo(upstream), &upstream.role),
        Role::Recruit => settings(NOBODY, String::new(), ""),
    }
}

/// How a standby reaches its upstream. What does not answer is noticed in seconds.
fn conninfo(upstream: &Upstream) -> String {
    let Upstream { address, port, role, password, .. } = upstream;
    let password = &password.0;
    format!(
        "host={address} port={port} user={role} password={password} application_name={role} \
         dbname=evenkeel connect_timeout=2 tcp_user_timeout=5000 keepalives_idle=5 \
         keepalives_interval=1 keepalives_count=3"
    )
}

/// What must hold whatever any file says: given on the command line, which goes before all files.
pub fn pinned(setup: &Setup, layout: &Layout, goal: &Goal) -> Vec<String> {
    let conf = |name: &str| layout.conf.join(name).display().to_string();
    let pairs = [
        ("config_file", conf("postgresql.conf")),
        ("hba_file", conf("pg_hba.conf")),
        ("ident_file", conf("pg_ident.conf")),
        ("listen_addresses", goal.address.clone()),
        ("port", goal.port.to_string()),
        ("unix_socket_directories", setup.socket_root.display().to_string()),
        ("unix_socket_permissions", "0700".to_owned()),
        ("restart_after_crash", "off".to_owned()),
        ("fsync", "on".to_owned()),
        ("full_page_writes", "on".to_owned()),
    ];
    pairs
        .into_iter()
        .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")])
        .collect()
}

fn check_socket(setup: &Setup, goal: &Goal) -> Result<(), Error> {
    let root = &setup.socket_root;
    let length = socket(root, goal.port).as_os_str().len();
    if length > SOCKET_MAX_BYTES {
        let text = format!(
            "the socket's path in {} would have {length} bytes, more than {SOCKET_MAX_BYTES}; \
             choose a shorter directory for sockets",
            root.display()
        );
        return Err(Error::Failed(text));
    }
    fs::create_dir_all(root).map_err(fault("cannot make", root))
}

/// Where a server's socket is.
pub fn socket(root: &Path, port: u16) -> std::path::PathBuf {
    root.join(format!(".s.PGSQL.{port}"))
}

/// The name of the user this process runs as: servers know their peers by it.
pub fn user_name() -> Result<String, Error> {
    let uid = rustix::process::getuid().as_raw();
    if uid == 0 {
        let text = "PostgreSQL does not run as root; start Evenkeel as another user";
        return Err(Error::Failed(text.to_owned()));
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.ok_or_else(|| {
        Error::Failed(format!("user {uid} has no name in /etc/passwd; run as a named user"))
    })
}
