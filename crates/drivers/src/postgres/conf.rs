//! Settings and rules for clients, in files outside what users edit.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use evenkeel_core::driver::Error;
use evenkeel_core::goal::Goal;

use super::layout::Layout;
use crate::Setup;
use crate::files::{fault, write_synced};

/// Longest path of a socket (`sun_path`, with its end).
const SOCKET_MAX_BYTES: usize = 107;

/// Rules: Evenkeel's own roles on the socket as the operating system's user, owners by address with
/// their password, nothing else. Own roles are never let in by address: gateways and clients may
/// share the host.
const RULES: &str = "\
local all evenkeel,evenkeel_probe peer map=evenkeel
local all all reject
host all evenkeel,evenkeel_probe all reject
host all all 0.0.0.0/0 scram-sha-256
host all all ::/0 scram-sha-256
";

/// Writes what differs; true if anything did.
pub fn write(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<bool, Error> {
    let user = user_name()?;
    let map = format!("evenkeel {user} evenkeel\nevenkeel {user} evenkeel_probe\n");
    let files = [
        ("postgresql.conf", settings(goal)),
        ("pg_hba.conf", RULES.into()),
        ("pg_ident.conf", map),
    ];
    let made = fs::create_dir_all(&layout.conf).and_then(|()| fs::create_dir_all(&layout.log));
    made.map_err(fault("cannot make", &layout.conf))?;
    check_socket(setup, goal)?;
    let mut changed = false;
    for (name, text) in files {
        let path = layout.conf.join(name);
        if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
            continue;
        }
        write_synced(&path, text.as_bytes()).map_err(fault("cannot write", &path))?;
        changed = true;
    }
    Ok(changed)
}

fn settings(goal: &Goal) -> String {
    let mut text = "# Written by Evenkeel; changes made here are lost.\n".to_owned();
    for (name, value) in &goal.settings {
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    }
    text
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
fn user_name() -> Result<String, Error> {
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
