//! What a gateway keeps in its directory: its lock, who it is, and its last routes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use evenkeel_core::route::Route;
use serde::{Deserialize, Serialize};

/// Version of the file of routes that this release writes and reads.
const VERSION: u32 = 1;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another gateway has it.
    #[error(
        "the directory {} is in use by the gateway with process id {holder}; stop that one first, \
         or give this one a directory of its own",
        dir.display()
    )]
    Held {
        /// The directory.
        dir: PathBuf,
        /// Who has it, by its own word.
        holder: String,
    },
    /// A file cannot be used.
    #[error(
        "cannot {doing} {}; check that the directory exists, has space and belongs to this user",
        path.display()
    )]
    File {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { doing, path: path.to_owned(), source }
}

/// Held as long as this lives; the system frees it with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the directory if it is missing, and takes its lock.
    pub fn take(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(at("make directory", dir))?;
        let path = dir.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(at("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(at("read", &path))?;
                let holder = holder.trim().to_owned();
                return Err(Error::Held { dir: dir.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(at("lock", &path)(source)),
        }
        let mut write = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write().map_err(at("write", &path))?;
        Ok(Self { _file: file })
    }
}

/// Which process this is. A process id alone can be another's after a restart; with the ticks of its
/// start it cannot.
#[derive(Debug, Serialize)]
struct Identity {
    pid: u32,
    start_ticks: u64,
}

/// Writes which process serves this directory, for the agent that looks for it.
pub(crate) fn write_identity(dir: &Path) -> Result<(), Error> {
    let path = Path::new("/proc/self/stat");
    let stat = fs::read_to_string(path).map_err(at("read", path))?;
    let unknown = || at("find the start time in", path)(io::ErrorKind::InvalidData.into());
    let start_ticks = start_ticks(&stat).ok_or_else(unknown)?;
    let identity = Identity { pid: std::process::id(), start_ticks };
    replace(&dir.join("pid.json"), &json(&identity))
}

/// Field 22 of proc(5)'s `stat`. The second, the command, may hold blanks and brackets.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, after_command) = stat.rsplit_once(')')?;
    after_command.split_whitespace().nth(22 - 3)?.parse().ok()
}

/// The routes as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    version: u32,
    /// Their sequence.
    pub routes: u64,
    /// All of them.
    pub all: Vec<Route>,
}

impl Kept {
    /// As this release writes them.
    pub fn new(routes: u64, all: Vec<Route>) -> Self {
        Self { version: VERSION, routes, all }
    }

    /// The last routes; none if there are none. A file that cannot be understood is set aside: the
    /// controller sends all routes again, and a gateway that does not start serves nobody.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("routes.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::new(0, vec![]));
            }
            Err(error) => return Err(at("read", &path)(error)),
        };
        let reason = match serde_json::from_slice::<Self>(&bytes) {
            Ok(kept) if kept.version == VERSION => return Ok(kept),
            Ok(kept) => format!("it has version {}, this release reads {VERSION}", kept.version),
            Err(error) => error.to_string(),
        };
        let aside = dir.join("routes.json.bad");
        fs::rename(&path, &aside).map_err(at("set aside", &path))?;
        let (file, aside) = (path.display(), aside.display());
        tracing::warn!(%file, %aside, reason, "routes on disk cannot be read, starting without");
        Ok(Self::new(0, vec![]))
    }

    /// Puts them on disk; after a crash there are these or the ones before.
    pub fn store(&self, dir: &Path) -> Result<(), Error> {
        replace(&dir.join("routes.json"), &json(self))
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("what is kept is all JSON")
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    write().map_err(at("write", path))
}

#[cfg(test)]
mod tests {
    use evenkeel_core::id::{ServiceId, Term};

    use super::*;

    fn kept() -> Kept {
        let (service, term) = (ServiceId(1), Term(2));
        Kept::new(
            9,
            vec![Route {
                service,
                name: "a".to_owned(),
                port: 6001,
                term,
                target: None,
                holds: false,
            }],
        )
    }

    #[test]
    fn a_second_one_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path()).unwrap();
        let second = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(second.contains(&std::process::id().to_string()), "{second}");
        drop(held);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn routes_come_back_as_they_were_stored() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Kept::load(dir.path()).unwrap(), Kept::new(0, vec![]));
        kept().store(dir.path()).unwrap();
        assert_eq!(Kept::load(dir.path()).unwrap(), kept());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let golden = r#"{"version":1,"routes":9,"all":[{"service":1,"name":"a","port":6001,"term":2,"target":null}]}"#;
        assert_eq!(String::from_utf8(json(&kept())).unwrap(), golden);
    }

    #[test]
    fn what_is_not_understood_is_set_aside() {
        for bytes in ["", "{\"version\":1,\"rou", r#"{"version":2,"routes":1,"all":[]}"#] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("routes.json"), bytes).unwrap();
            assert_eq!(Kept::load(dir.path()).unwrap(), Kept::new(0, vec![]));
            assert!(!dir.path().join("routes.json").exists());
            assert_eq!(fs::read_to_string(dir.path().join("routes.json.bad")).unwrap(), bytes);
        }
    }

    #[test]
    fn start_ticks_are_found_behind_any_command() {
        let rest = (4..=52).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        for command in ["gateway", "a b", "a) (b"] {
            assert_eq!(start_ticks(&format!("7 ({command}) S {rest}")), Some(22), "{command}");
        }
        assert_eq!(start_ticks("7 (x) S 4"), None);
    }
}
