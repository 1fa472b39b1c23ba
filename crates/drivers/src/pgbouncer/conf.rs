//! PgBouncer's settings and users, written whole.

use std::fs;
use std::path::Path;

use evenkeel_core::driver::Error;
use evenkeel_core::pooler::Pooler;

use crate::Setup;
use crate::files::{fault, write_synced};

/// The file of settings.
pub const SETTINGS: &str = "pgbouncer.ini";
/// The file of users.
const USERS: &str = "userlist.txt";

/// Writes both files if they are to be others; whether they were.
pub fn write(setup: &Setup, dir: &Path, wanted: &Pooler) -> Result<bool, Error> {
    let mut changed = false;
    for (name, text) in [(SETTINGS, settings(setup, dir, wanted)), (USERS, users(wanted))] {
        let path = dir.join(name);
        if fs::read(&path).is_ok_and(|held| held == text.as_bytes()) {
            continue;
        }
        write_synced(&path, text.as_bytes()).map_err(fault("cannot write", &path))?;
        changed = true;
    }
    Ok(changed)
}

/// The port in the settings that are there.
pub fn port(dir: &Path) -> Option<u16> {
    let text = fs::read_to_string(dir.join(SETTINGS)).ok()?;
    text.lines().find_map(|line| line.strip_prefix("listen_port = "))?.parse().ok()
}

fn settings(setup: &Setup, dir: &Path, wanted: &Pooler) -> String {
    let Pooler { port, endpoint_port, sessions_max, clients_max, .. } = wanted;
    let address = &setup.address;
    // What listens on every address is reached by the nearest one.
    let gateway = match address.as_str() {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        address => address,
    };
    let sockets = setup.socket_root.display();
    let users = dir.join(USERS);
    let users = users.display();
    format!(
        "; Written by Evenkeel; changes are overwritten.
[databases]
* = host={gateway} port={endpoint_port}

[pgbouncer]
listen_addr = {address}
listen_port = {port}
unix_socket_dir = {sockets}
unix_socket_mode = 0700
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {sessions_max}
max_db_connections = {sessions_max}
max_client_conn = {clients_max}
; The gateway holds a session while nobody takes writes: it is waited for, and asked again soon.
server_connect_timeout = 60
server_login_retry = 0.1
query_wait_timeout = 120
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
log_stats = 0
"
    )
}

/// What the server stores of a login is all that is needed to check it here, and to log in there with
/// what the client proves.
fn users(wanted: &Pooler) -> String {
    let line = |login: &evenkeel_core::goal::Login| {
        format!("\"{}\" \"{}\"\n", login.role.replace('"', "\"\""), login.verifier)
    };
    wanted.logins.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use evenkeel_core::goal::Login;
    use evenkeel_core::id::ServiceId;

    use super::*;

    fn wanted(port: u16) -> Pooler {
        let login =
            |role: &str| Login { role: role.into(), verifier: "SCRAM-SHA-256$4096:x".into() };
        Pooler {
            service: ServiceId(1),
            name: "pay".into(),
            kind: "postgres".into(),
            port,
            endpoint_port: 21_000,
            logins: vec![login("pay"), login("a\"b")],
            sessions_max: 5,
            clients_max: 10,
            paused: false,
        }
    }

    fn setup(address: &str) -> Setup {
        Setup {
            host: "h1".into(),
            members_dir: PathBuf::new(),
            socket_root: "/s".into(),
            pool_dir: PathBuf::new(),
            pool_target: 0,
            image: None,
            launcher: Vec::new(),
            address: address.into(),
            poolers_dir: PathBuf::new(),
            pooler_image: None,
            backrest_image: None,
        }
    }

    #[test]
    fn what_is_written_is_written_once_and_says_which_port_it_is_for() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(port(dir.path()), None);
        assert!(write(&setup("10.0.0.7"), dir.path(), &wanted(21_001)).unwrap());
        assert!(!write(&setup("10.0.0.7"), dir.path(), &wanted(21_001)).unwrap(), "it is the same");
        assert_eq!(port(dir.path()), Some(21_001));
        // A pause is no setting.
        let paused = Pooler { paused: true, ..wanted(21_001) };
        assert!(!write(&setup("10.0.0.7"), dir.path(), &paused).unwrap());
        assert!(write(&setup("10.0.0.7"), dir.path(), &wanted(21_002)).unwrap());
        let text = fs::read_to_string(dir.path().join(SETTINGS)).unwrap();
        for line in ["* = host=10.0.0.7 port=21000", "listen_port = 21002", "max_client_conn = 10"]
        {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn a_gateway_on_every_address_is_reached_by_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        for (address, near) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7")] {
            let text = settings(&setup(address), dir.path(), &wanted(1));
            assert!(text.contains(&format!("host={near} port")), "{text}");
            assert!(text.contains(&format!("listen_addr = {address}\n")), "{text}");
        }
    }

    #[test]
    fn names_cannot_end_their_quotes() {
        let text = users(&wanted(1));
        assert_eq!(text.lines().nth(1), Some("\"a\"\"b\" \"SCRAM-SHA-256$4096:x\""));
    }
}
