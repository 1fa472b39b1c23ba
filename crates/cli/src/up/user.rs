//! Nothing of Evenkeel runs as root: started as root, it becomes the system user `evenkeel` first.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Kind};
use crate::up::place;

/// The system user.
const USER: &str = "evenkeel";

/// Starts this program anew as the system user. Returns only if that could not be done.
pub fn become_evenkeel(data: &Path) -> Failure {
    match prepare(data) {
        Err(failure) => failure,
        Ok(((uid, gid), program)) => {
            // With a new uid and no groups named, the standard library drops all others.
            let error = Command::new(&program)
                .args(std::env::args_os().skip(1))
                .env("EVENKEEL_DATA", data)
                .env_remove("HOME")
                .env_remove("XDG_STATE_HOME")
                .current_dir("/")
                .uid(uid)
                .gid(gid)
                .exec();
            let text = format!("{} cannot be run as {USER}: {error}", program.display());
            Failure::new(Kind::Failed, text)
        }
    }
}

fn prepare(data: &Path) -> Result<((u32, u32), std::path::PathBuf), Failure> {
    let ids = match ids()? {
        Some(ids) => ids,
        None => {
            add()?;
            let missing = || Failure::new(Kind::Failed, format!("user {USER} was not made"));
            ids()?.ok_or_else(missing)?
        }
    };
    reachable(data)?;
    let new = !data.exists();
    place::make(data)?;
    if new {
        for part in ["", "controller", "hosts", "gateways", "bin", "images", "log"] {
            chown(data.join(part), Some(ids.0), Some(ids.1))?;
        }
    }
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(data)?);
    if owner != ids.0 {
        let text = format!(
            "{} belongs to another user; choose a data directory of {USER}'s own with --data, or \
             give it to that user",
            data.display()
        );
        return Err(Failure::new(Kind::Refused, text));
    }
    let program = place::own_program(data)?;
    Ok((ids, program))
}

/// The user's and its group's numbers, if there is such a user.
fn ids() -> Result<Option<(u32, u32)>, Failure> {
    let users = fs::read_to_string("/etc/passwd")?;
    Ok(users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[..] {
            [USER, _, uid, gid, ..] => Some((uid.parse().ok()?, gid.parse().ok()?)),
            _ => None,
        }
    }))
}

fn add() -> Result<(), Failure> {
    let arguments =
        ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", USER];
    let done = Command::new("useradd").args(arguments).output();
    let failed = |why: String| {
        let text = format!(
            "system user {USER} cannot be made ({why}); make it yourself, or start Evenkeel as \
             another user than root"
        );
        Failure::new(Kind::Failed, text)
    };
    let out = done.map_err(|error| failed(format!("useradd: {error}")))?;
    if out.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&out.stderr).trim().to_owned()))
}

/// Whether others may go through the directories above: the user could not get there otherwise.
fn reachable(data: &Path) -> Result<(), Failure> {
    for above in data.ancestors().skip(1).filter(|path| path.exists()) {
        if fs::metadata(above)?.permissions().mode() & 0o001 == 0 {
            let text = format!(
                "user {USER} cannot reach {}: {} is closed to others; choose another --data, such \
                 as /var/lib/evenkeel",
                data.display(),
                above.display()
            );
            return Err(Failure::new(Kind::Usage, text));
        }
    }
    Ok(())
}
