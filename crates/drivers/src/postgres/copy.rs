//! Copies of a server's data: taken whole, or rewound to where a former primary's log parted.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use evenkeel_core::driver::Error;
use evenkeel_core::goal::{Goal, Role, Upstream};
use evenkeel_core::promise::Position;
use evenkeel_kinds::postgres::log::{Name, SegmentSize};

use super::layout::Layout;

use super::{image, make, server};
use crate::Setup;
use crate::files::{fault, write_synced};
use crate::sql::{connect, in_words, runtime};

/// The upstream says within this which timeline it is on.
const PATIENCE: Duration = Duration::from_secs(5);

/// Copies the upstream's data into a directory that is being made.
pub fn whole(setup: &Setup, layout: &Layout, upstream: &Upstream) -> Result<(), Error> {
    let image = image(setup)?;
    let mut command = Command::new(image.program("pg_basebackup")?);
    command
        .args(["--wal-method=stream", "--checkpoint=fast", "--no-password", "-d"])
        .arg(reach(upstream))
        .arg("-D")
        .arg(&layout.data)
        .env_clear()
        .envs(make::environment(image))
        .env("PGPASSWORD", &upstream.password.0);
    make::run(command, None)?;
    stand_by(&layout.data)
}

/// How programs reach an upstream; the password is not among their arguments, which others can read.
fn reach(upstream: &Upstream) -> String {
    let Upstream { address, port, role, .. } = upstream;
    format!("host={address} port={port} user={role} dbname=evenkeel connect_timeout=5")
}

fn stand_by(data: &Path) -> Result<(), Error> {
    let signal = data.join("standby.signal");
    write_synced(&signal, b"").map_err(fault("cannot write", &signal))
}

/// Makes a former primary's directory follow: its own tail of the log is saved, the rest rewound. Bytes
/// that were set aside. Where rewinding does not work, what is left is a half-made directory, and the
/// next one is a whole copy.
pub fn rewound(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<u64, Error> {
    let Role::Standby { upstream } = &goal.role else {
        return Err(Error::Failed("it is to follow nobody".to_owned()));
    };
    settled(upstream)?;
    make::begin(setup, layout, goal)?;
    if layout.data.join("standby.signal").exists() {
        return Err(Error::Failed("a standby that went astray is copied anew".to_owned()));
    }
    recover(setup, layout)?;
    let told = rewind(setup, layout, upstream, true)?;
    let discarded = match parted(&told) {
        Some(fork) => save_tail(setup, layout, goal, fork, end(setup, layout)?)?,
        None => 0,
    };
    rewind(setup, layout, upstream, false)?;
    stand_by(&layout.data)?;
    make::complete(layout, goal)?;
    Ok(discarded)
}

/// The upstream's control file must name the timeline it is on: rewinding goes by that.
fn settled(upstream: &Upstream) -> Result<(), Error> {
    let mut config = tokio_postgres::Config::new();
    config
        .host(&upstream.address)
        .port(upstream.port)
        .user(&upstream.role)
        .password(&upstream.password.0)
        .dbname("evenkeel");
    let asked = async {
        let client = connect(config).await?;
        let settled = "SELECT NOT pg_catalog.pg_is_in_recovery() \
            AND (SELECT pg_catalog.lpad(pg_catalog.upper(pg_catalog.to_hex(timeline_id)), 8, '0') \
                 FROM pg_catalog.pg_control_checkpoint()) \
            = pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)";
        Ok::<bool, tokio_postgres::Error>(client.query_one(settled, &[]).await?.get(0))
    };
    let limited = runtime().block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    match limited {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Error::Failed("its primary is not settled yet".to_owned())),
        Ok(Err(error)) => Err(Error::Failed(format!("its primary: {}", in_words(&error)))),
        Err(_) => Err(Error::Failed("its primary gives no answer".to_owned())),
    }
}

/// Replays what a crash left, so that the log's end is known.
fn recover(setup: &Setup, layout: &Layout) -> Result<(), Error> {
    let image = image(setup)?;
    server::clear_lock(&layout.data);
    let mut command = Command::new(image.program("postgres")?);
    command
        .args(["--single", "-D"])
        .arg(&layout.data)
        .args(["-c", "log_checkpoints=off", "-c", "synchronous_standby_names=", "template1"])
        .env_clear()
        .envs(make::environment(image));
    make::run(command, Some(""))
}

fn rewind(setup: &Setup, layout: &Layout, upstream: &Upstream, dry: bool) -> Result<String, Error> {
    let image = image(setup)?;
    let mut command = Command::new(image.program("pg_rewind")?);
    if dry {
        command.arg("--dry-run");
    }
    command
        .arg("-D")
        .arg(&layout.data)
        .arg(format!("--source-server={}", reach(upstream)))
        .env_clear()
        .envs(make::environment(image))
        .env("PGPASSWORD", &upstream.password.0);
    make::said(command, None)
}

/// Where the logs parted, in the words of `pg_rewind`; `None`: they did not.
fn parted(told: &str) -> Option<u64> {
    let (_, after) = told.split_once("diverged at WAL location ")?;
    after.split_whitespace().next()?.parse::<Position>().ok().map(|p| p.0)
}

/// Where this directory's log ends.
fn end(setup: &Setup, layout: &Layout) -> Result<u64, Error> {
    super::replication::end_of_log(setup, layout).map(|end| end.map_or(0, |p| p.0))
}

/// Copies the segments of the log that have more than the upstream's; bytes of log beyond it.
fn save_tail(
    setup: &Setup,
    layout: &Layout,
    goal: &Goal,
    fork: u64,
    end: u64,
) -> Result<u64, Error> {
    let place =
        setup.members_dir.join(".tails").join(format!("{}-{}", goal.member, goal.incarnation));
    fs::create_dir_all(&place).map_err(fault("cannot make", &place))?;
    let wal = layout.data.join("pg_wal");
    let entries = fs::read_dir(&wal).map_err(fault("cannot list", &wal))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        // Every segment of a log has the size that the log was made with.
        let bytes = fs::metadata(&path).map_or(0, |found| found.len());
        let size = SegmentSize::new(bytes);
        let begin = size.and_then(|size| match Name::parse(name, size) {
            Ok(Name::Segment(segment)) => Some(segment.begin(size).0),
            _ => None,
        });
        if begin.is_some_and(|at| at + bytes > fork && at <= end) {
            let to = place.join(name);
            fs::copy(&path, &to).map_err(fault("cannot save", &to))?;
        }
    }
    let discarded = end.saturating_sub(fork);
    let about = serde_json::json!({
        "service": goal.identity.name.as_str(), "member": goal.member, "parted_at": fork,
        "ended_at": end, "bytes": discarded,
    });
    let path = place.join("about.json");
    write_synced(&path, about.to_string().as_bytes()).map_err(fault("cannot write", &path))?;
    Ok(discarded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rewinding_says_is_understood() {
        let told = "pg_rewind: servers diverged at WAL location 0/3000148 on timeline 1\n";
        assert_eq!(parted(told), Some(0x300_0148));
        assert_eq!(parted("pg_rewind: no rewind required\n"), None);
    }
}
