//! The data directory: what is where, and the program's own copy in it.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};

/// Longest directory of sockets: the longest socket name and its lock fit behind it.
const SOCKETS_MAX_BYTES: usize = 80;

/// Makes a data directory's parts.
pub fn make(data: &Path) -> Result<(), Failure> {
    for part in ["", "controller", "hosts", "gateways", "bin", "images", "log"] {
        let path = data.join(part);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| {
            let text = format!(
                "{} cannot be made ({error}); choose a data directory this user may write to, \
                 with --data",
                path.display()
            );
            Failure::new(Kind::Failed, text)
        })?;
    }
    Ok(())
}

/// The program, copied by digest into the data directory: what runs from there needs no other path,
/// and goes on running unchanged when this one is replaced.
pub fn own_program(data: &Path) -> Result<PathBuf, Failure> {
    let current = std::env::current_exe()?;
    let bytes = fs::read(&current)?;
    let digest = blake3::hash(&bytes).to_hex();
    let copy = data.join("bin").join(format!("evenkeel-{}", &digest[..12]));
    if current == copy || copy.exists() {
        return Ok(copy);
    }
    let new = copy.with_extension("new");
    fs::write(&new, &bytes)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, &copy)?;
    Ok(copy)
}

/// Where a host's sockets go: in the data directory, or in a short place of its own.
pub fn sockets(data: &Path, host: &str) -> PathBuf {
    let own = data.join("s").join(host);
    if own.as_os_str().len() <= SOCKETS_MAX_BYTES {
        return own;
    }
    let digest = blake3::hash(data.as_os_str().as_encoded_bytes()).to_hex();
    PathBuf::from(format!("/tmp/evenkeel-{}/{host}", &digest[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_always_short() {
        let short = sockets(Path::new("/var/lib/evenkeel"), "h1");
        assert_eq!(short, Path::new("/var/lib/evenkeel/s/h1"));
        let long = PathBuf::from(format!("/{}", "deep/".repeat(40)));
        assert!(sockets(&long, "h26").as_os_str().len() <= SOCKETS_MAX_BYTES);
        assert_ne!(sockets(&long, "h1"), sockets(&long.join("x"), "h1"));
    }
}
