//! The program: what it is told of a repository, and how it is run.
//!
//! Invariants: a secret is in a file that only our user reads, and never among arguments or in an
//! environment; one run is about one repository.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use evenkeel_core::backup::archive::Error;
use evenkeel_core::backup::lineage::{Archive, Bucket, Location, Repository};
use url::Url;

use super::super::{Tools, local};
use crate::backup::lineage::nowhere;
use crate::files::{make_private, write_synced};
use crate::image::Image;

/// What pgBackRest calls what it backs up: its repository is below a lineage, and holds nothing else.
pub const STANZA: &str = "evenkeel";
/// It warns of every number of backups but the largest; what goes is decided elsewhere.
const RETAINED_MAX: u32 = 9_999_999;
/// Longest part of what it said that is told.
const WORDS_MAX: usize = 240;

/// It ended, and not well.
#[derive(Debug)]
pub struct Failed {
    /// With this code, which are in its source's `error.yaml`.
    pub code: i32,
    /// What it said.
    pub words: String,
}

/// pgBackRest for one repository of a lineage.
pub struct Tool {
    /// The repository's name.
    pub repository: String,
    image: Image,
    dir: PathBuf,
    config: String,
    authority: Option<String>,
}

impl Tool {
    /// For a repository; nothing is run or written yet.
    pub fn new(archive: &Archive, place: &Repository, tools: &Tools) -> Result<Self, Error> {
        let image = tools.backrest.clone().ok_or_else(|| {
            nowhere(
                "pgBackRest, its archive's engine, is not installed on this host; install it \
                 (Debian: apt-get install pgbackrest) or let `evenkeel up --backup-engine \
                 pgbackrest` fetch it",
            )
        })?;
        let dir = tools.dir.join(&place.name);
        let path = format!("{}/pgbackrest", archive.lineage);
        let mut lines = vec![
            ("repo1-cipher-type", "aes-256-cbc".to_owned()),
            ("repo1-cipher-pass", archive.key.0.clone()),
            ("repo1-retention-full", RETAINED_MAX.to_string()),
            // Small files in few objects: a request or a sync for each would be most of the work.
            ("repo1-bundle", "y".to_owned()),
            ("compress-type", "lz4".to_owned()),
            ("process-max", "2".to_owned()),
            ("log-level-console", "off".to_owned()),
            ("log-level-file", "off".to_owned()),
            ("log-level-stderr", "warn".to_owned()),
            ("log-timestamp", "n".to_owned()),
            ("log-path", dir.display().to_string()),
            ("lock-path", dir.display().to_string()),
            ("spool-path", dir.display().to_string()),
        ];
        let mut authority = None;
        match &place.location {
            Location::Directory { path: root } => {
                lines.push(("repo1-path", format!("{root}/{path}")));
            }
            Location::S3(bucket) => {
                lines.extend(store(&place.name, bucket, &path)?);
                if bucket.ca.is_some() {
                    lines.push(("repo1-storage-ca-file", text(&dir.join("ca.pem"))));
                }
                authority.clone_from(&bucket.ca);
            }
        }
        if let Some((name, _)) = lines.iter().find(|(_, value)| value.contains(['\n', '\r'])) {
            return Err(unreachable(&place.name, &format!("{name} has more than one line")));
        }
        let lines = lines.iter().map(|(name, value)| format!("{name}={value}\n"));
        let config = format!("[global]\n{}", lines.collect::<String>());
        Ok(Self { repository: place.name.clone(), image, dir, config, authority })
    }

    /// The same for a repository of its own in a directory: of files only, which are then put elsewhere.
    pub fn aside(&self, path: &Path) -> Self {
        let keep = |line: &&str| {
            !line.starts_with("repo1-s3")
                && !line.starts_with("repo1-storage")
                && !line.starts_with("repo1-type")
                && !line.starts_with("repo1-path")
        };
        let config: Vec<&str> = self.config.lines().filter(keep).collect();
        Self {
            repository: self.repository.clone(),
            image: self.image.clone(),
            dir: path.to_owned(),
            config: format!("{}\nrepo1-path={}\n", config.join("\n"), path.join("repo").display()),
            authority: None,
        }
    }

    /// Where files may be made that are put elsewhere, for one process at a time.
    pub fn scratch(&self) -> PathBuf {
        self.dir.join(format!("begin-{}", std::process::id()))
    }

    /// Runs it to its end; what it said on its output. What is held is let go when it has ended, also if
    /// we end before.
    pub fn run(
        &self,
        command: &str,
        arguments: &[String],
        held: Option<File>,
    ) -> Result<Result<String, Failed>, Error> {
        let path = self.written()?;
        let failed = |error: std::io::Error| unreachable(&self.repository, &error.to_string());
        let mut run = self.image.command("pgbackrest").map_err(|e| nowhere(&e.to_string()))?;
        let ended = run
            .arg(format!("--config={}", path.display()))
            .arg(format!("--stanza={STANZA}"))
            .arg(command)
            .args(arguments)
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .stdin(held.map_or_else(Stdio::null, Stdio::from))
            .output()
            .map_err(failed)?;
        if ended.status.success() {
            return Ok(Ok(String::from_utf8_lossy(&ended.stdout).into_owned()));
        }
        let words = words(&String::from_utf8_lossy(&[ended.stderr, ended.stdout].concat()));
        Ok(Err(Failed { code: ended.status.code().unwrap_or(-1), words }))
    }

    /// What it goes by, written where it is not yet.
    fn written(&self) -> Result<PathBuf, Error> {
        let path = self.dir.join("pgbackrest.conf");
        let files = [
            (self.dir.join("ca.pem"), self.authority.as_deref()),
            (path.clone(), Some(self.config.as_str())),
        ];
        for (path, text) in files {
            let Some(text) = text else { continue };
            if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
                continue;
            }
            let made = make_private(&self.dir).and_then(|()| write_synced(&path, text.as_bytes()));
            made.map_err(|error| local(&path, &error))?;
        }
        Ok(path)
    }

    /// What a failure about something means.
    pub fn told(&self, failed: &Failed, name: &str) -> Error {
        let (repository, has) = (self.repository.clone(), |sign: &str| failed.words.contains(sign));
        if has("No space left on device") || has("Disk quota exceeded") {
            return Error::Full { repository };
        }
        if has("Permission denied") || has("request failed with 403") {
            return Error::Denied { repository };
        }
        // A file that cannot be unpacked, or is not what its name says.
        let damage = ["[FormatError]", "[CryptoError]", "[ChecksumError]", "[FileInvalidError]"];
        if matches!(failed.code, 26 | 28 | 29 | 95) || damage.iter().any(|sign| has(sign)) {
            return Error::Damaged { repository, name: name.to_owned() };
        }
        if failed.code == 45 {
            return Error::Differs { repository, name: name.to_owned() };
        }
        unreachable(&self.repository, &format!("pgBackRest: {}", failed.words))
    }
}

/// A bucket in its words.
fn store(name: &str, bucket: &Bucket, path: &str) -> Result<Vec<(&'static str, String)>, Error> {
    let no = |why: &str| unreachable(name, &format!("{:?} {why}", bucket.endpoint));
    let endpoint = Url::parse(&bucket.endpoint).map_err(|error| no(&error.to_string()))?;
    if endpoint.scheme() != "https" {
        return Err(no("is not https, and pgBackRest speaks nothing else; use the native engine"));
    }
    let host = endpoint.host_str().ok_or_else(|| no("names no host"))?;
    let prefix = if bucket.prefix.is_empty() { "" } else { "/" };
    let style = if bucket.virtual_host { "host" } else { "path" };
    Ok(vec![
        ("repo1-type", "s3".to_owned()),
        ("repo1-path", format!("{prefix}{}/{path}", bucket.prefix)),
        ("repo1-s3-bucket", bucket.bucket.clone()),
        ("repo1-s3-endpoint", host.to_owned()),
        ("repo1-s3-region", bucket.region.clone()),
        ("repo1-s3-key", bucket.access_key.clone()),
        ("repo1-s3-key-secret", bucket.secret_key.0.clone()),
        ("repo1-s3-uri-style", style.to_owned()),
        ("repo1-storage-port", endpoint.port_or_known_default().unwrap_or(443).to_string()),
    ])
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn unreachable(repository: &str, why: &str) -> Error {
    Error::Unreachable { repository: repository.to_owned(), why: why.to_owned() }
}

/// What it said, without its hints; with another key some of it is noise.
fn words(said: &str) -> String {
    let telling = |line: &&str| !line.is_empty() && !line.starts_with("HINT");
    let lines: Vec<&str> = said.lines().map(str::trim).filter(telling).collect();
    let wrong = lines.iter().position(|line| line.starts_with("ERROR"));
    let from = wrong.unwrap_or(0);
    let later = lines[from..].iter().chain(&lines[..from]).copied().collect::<Vec<_>>().join("; ");
    later.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_told_without_noise() {
        let said = "WARN: repo1: [FileMissingError] unable to load info file\n      HINT: has a \
                    stanza-create been performed?\nERROR: [103]: unable to find a valid repository\n";
        let short = words(said);
        assert!(short.starts_with("ERROR: [103]") && short.contains("[FileMissingError]"));
        assert!(!short.contains("HINT"), "{short}");
        assert_eq!(words("ERROR: \u{7}[029]: x").chars().filter(|c| c.is_control()).count(), 0);
    }
}
