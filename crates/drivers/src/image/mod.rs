//! Images: immutable sets of software, named by the digest of what is in them.
//!
//! The image `host` is what the machine's package manager installed. A fetched image is a closure of
//! packages unpacked under a directory of our own, without root and without touching the machine.

mod fetch;
mod host;
mod software;

use std::path::{Path, PathBuf};
use std::process::Command;

use evenkeel_core::digest::Digest;
use evenkeel_core::driver;
use serde::{Deserialize, Serialize};

pub use fetch::{fetch, fetched, resolve};
pub use host::{host, host_in};
pub use software::Software;

/// Oldest and newest major release of PostgreSQL that Evenkeel runs.
pub const MAJORS: std::ops::RangeInclusive<u32> = 14..=18;

/// A set of software that members run from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Over the packages and the server program.
    pub digest: Digest,
    /// Directory of its programs.
    pub bin: PathBuf,
    /// Environment its programs need.
    pub env: Vec<(String, String)>,
    /// What is inside: names and versions, in order of name.
    pub packages: Vec<(String, String)>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not installed.
    #[error(
        "{software} is not installed in {searched}; install it (Debian: apt-get install {}) or let \
         Evenkeel fetch an image",
        software.package()
    )]
    NotInstalled {
        /// What.
        software: Software,
        /// Where it was looked for.
        searched: String,
    },
    /// A program needed to fetch or look is missing.
    #[error(
        "{program} is missing, without which no image can be fetched; install PostgreSQL by other \
         means"
    )]
    Missing {
        /// Which.
        program: String,
    },
    /// A program said no.
    #[error("{what} failed: {output}; check the network and the system's package sources")]
    Program {
        /// What was done.
        what: String,
        /// The end of what it printed.
        output: String,
    },
    /// The package sources do not offer it.
    #[error(
        "the system's package sources do not offer {software}; is the network there? Install it, or \
         name a directory with a fetched image"
    )]
    NotOffered {
        /// What.
        software: Software,
    },
    /// No such image is there.
    #[error("image {digest} is not in {dir}; fetch it, or name another")]
    Unknown {
        /// Which.
        digest: String,
        /// Where it was looked for.
        dir: String,
    },
    /// The file system.
    #[error("{what} {}", path.display())]
    Io {
        /// What was done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// What is installed on the host, or else what was fetched before.
///
/// # Errors
/// [`Error::NotInstalled`] when there is neither.
pub fn any(software: Software, dir: &Path) -> Result<Image, Error> {
    host(software).or_else(|error| fetched(software, dir).map_err(|_| error))
}

impl Error {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}

impl Image {
    /// The image of the programs in `bin`, if the needed ones are there.
    fn of(
        software: Software,
        bin: &Path,
        env: Vec<(String, String)>,
        packages: Vec<(String, String)>,
    ) -> Option<Self> {
        let bin = bin.canonicalize().ok()?;
        if !software.is_in(&bin) {
            return None;
        }
        let server = std::fs::read(bin.join(software.programs()[0])).ok()?;
        let digest = Digest::of_json(&(Digest::of(&server), &packages));
        Some(Self { digest, bin, env, packages })
    }

    /// Where a program is.
    ///
    /// # Errors
    /// [`driver::Error::ProgramMissing`].
    pub fn program(&self, name: &str) -> Result<PathBuf, driver::Error> {
        let path = self.bin.join(name);
        let missing = || driver::Error::ProgramMissing {
            program: name.to_owned(),
            image: format!("{} ({})", self.digest.short(), self.bin.display()),
        };
        if path.is_file() { Ok(path) } else { Err(missing()) }
    }

    /// A program with nothing in its environment but what the image needs, so that no variable of
    /// whoever started us reaches a server.
    ///
    /// # Errors
    /// [`driver::Error::ProgramMissing`].
    pub fn command(&self, name: &str) -> Result<Command, driver::Error> {
        let mut command = Command::new(self.program(name)?);
        command.env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// The major release of its PostgreSQL, as its program says.
    ///
    /// # Errors
    /// [`driver::Error`] when the program does not run.
    pub fn major(&self) -> Result<u32, driver::Error> {
        let failed = |why: String| driver::Error::Failed(format!("postgres --version: {why}"));
        let output = self.command("postgres")?.arg("--version").output();
        let output = output.map_err(|error| failed(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        major(&text).ok_or_else(|| {
            failed(format!("{text}{}", String::from_utf8_lossy(&output.stderr)).trim().to_owned())
        })
    }
}

/// The major release in `postgres (PostgreSQL) 15.20 (Debian ...)`, or in `19beta1`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_are_read_from_what_programs_print() {
        assert_eq!(major("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major("something else 15"), None);
    }

    #[test]
    fn a_missing_program_is_named_with_its_image() {
        let bin = tempfile::tempdir().unwrap();
        assert_eq!(Image::of(Software::Postgres, bin.path(), Vec::new(), Vec::new()), None);
        for program in Software::Postgres.programs() {
            std::fs::write(bin.path().join(program), program).unwrap();
        }
        let image = Image::of(Software::Postgres, bin.path(), Vec::new(), Vec::new()).unwrap();
        let error = image.command("psql").unwrap_err();
        assert!(
            matches!(error, driver::Error::ProgramMissing { program, .. } if program == "psql")
        );
    }

    #[test]
    fn other_packages_or_another_server_is_another_image() {
        let bin = tempfile::tempdir().unwrap();
        for program in Software::Postgres.programs() {
            std::fs::write(bin.path().join(program), program).unwrap();
        }
        let packages = |version: &str| vec![("postgresql-15".to_owned(), version.to_owned())];
        let digest = |v: &str| {
            Image::of(Software::Postgres, bin.path(), Vec::new(), packages(v)).unwrap().digest
        };
        assert_ne!(digest("15.1"), digest("15.2"));
        let before = digest("15.1");
        std::fs::write(bin.path().join("postgres"), "another").unwrap();
        assert_ne!(digest("15.1"), before);
    }
}
