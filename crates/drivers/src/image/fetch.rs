//! Fetched images: a closure of packages, unpacked under a directory of our own.
//!
//! No root and no change to the machine: apt works in a private state with the system's own sources
//! and keys, so what is fetched is as trusted as what an administrator would install.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use evenkeel_core::digest::Digest;
use serde::{Deserialize, Serialize};

use super::{Error, Image, Software};

/// The end of a program's output that an error repeats, in bytes.
const OUTPUT_MAX: usize = 400;
/// Beside an unpacked image: what it is. Written last.
const RECORD: &str = "image.json";

/// What [`RECORD`] holds. Paths are relative to it, so that the data directory may be moved.
#[derive(Serialize, Deserialize)]
struct Record {
    digest: Digest,
    bin: PathBuf,
    libraries: Vec<PathBuf>,
    packages: Vec<(String, String)>,
}

/// Fetches the newest supported release that the system's package sources offer, with every package
/// it needs and the machine lacks. A minute on a fast line; `progress` is told each step.
///
/// # Errors
/// [`Error`]; nothing is left but a private cache.
pub fn fetch(software: Software, dir: &Path, progress: &dyn Fn(&str)) -> Result<Image, Error> {
    fs::create_dir_all(dir).map_err(Error::io("cannot make", dir))?;
    let apt = Apt::new(dir)?;
    progress("reading the system's package sources");
    apt.run("apt-get", &["update"])?;
    let package = apt.newest(software)?;
    progress(&format!("downloading {package} and what it needs"));
    apt.run("apt-get", &["-y", "--download-only", "install", &package])?;
    let debs = apt.archives()?;
    progress(&format!("unpacking {} packages", debs.len()));
    let record = unpack(software, dir, &debs)?;
    progress(&format!("image {} is ready", record.digest.short()));
    // Half the size of an image, and never needed again.
    let _ = fs::remove_dir_all(apt.root.join("cache"));
    resolve(dir, &record.digest.to_string())
}

/// A fetched image by digest.
///
/// # Errors
/// [`Error::Unknown`].
pub fn resolve(dir: &Path, digest: &str) -> Result<Image, Error> {
    let unknown = || Error::Unknown { digest: digest.to_owned(), dir: dir.display().to_string() };
    // Only a digest names a directory here: nothing a goal says can lead elsewhere.
    let digest = Digest::try_from(digest.to_owned()).map_err(|_| unknown())?;
    let home = dir.join("images").join(digest.to_string());
    let text = fs::read(home.join(RECORD)).map_err(|_| unknown())?;
    let record: Record = serde_json::from_slice(&text).map_err(|_| unknown())?;
    let bin = home.join(&record.bin).canonicalize().map_err(|_| unknown())?;
    let libraries: Vec<String> =
        record.libraries.iter().map(|path| home.join(path).display().to_string()).collect();
    let env = vec![("LD_LIBRARY_PATH".to_owned(), libraries.join(":"))];
    Ok(Image { digest: record.digest, bin, env, packages: record.packages })
}

/// Any image of it fetched before: the newest supported release among them.
///
/// # Errors
/// [`Error::Unknown`] when there is none.
pub fn fetched(software: Software, dir: &Path) -> Result<Image, Error> {
    let unknown = || Error::Unknown { digest: "any".to_owned(), dir: dir.display().to_string() };
    let entries = fs::read_dir(dir.join("images")).map_err(|_| unknown())?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let images = names.filter_map(|name| resolve(dir, &name).ok());
    let mut images: Vec<Image> = images.filter(|image| software.is_in(&image.bin)).collect();
    images.sort_by_key(|image| (image.major().unwrap_or(0), image.digest));
    images.pop().ok_or_else(unknown)
}

/// Unpacks into a directory that gets its name only when it is whole.
fn unpack(software: Software, dir: &Path, debs: &[PathBuf]) -> Result<Record, Error> {
    let images = dir.join("images");
    let new = images.join(format!(".new-{}", std::process::id()));
    let root = new.join("root");
    fs::create_dir_all(&root).map_err(Error::io("cannot make", &root))?;
    for deb in debs {
        run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&root), "unpacking a package")?;
    }
    let mut packages = Vec::new();
    for deb in debs {
        let fields = run(
            Command::new("dpkg-deb").args(["-f"]).arg(deb).args(["Package", "Version"]),
            "reading a package",
        )?;
        let field = |name: &str| {
            let found = fields.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_default().trim().to_owned()
        };
        packages.push((field("Package:"), field("Version:")));
    }
    packages.sort();
    let of = |bin: &PathBuf| Image::of(software, bin, Vec::new(), packages.clone());
    let image = software.bins(&root).iter().find_map(of).ok_or(Error::NotOffered { software })?;
    let relative = |path: &Path| path.strip_prefix(&new).map_or(PathBuf::new(), Path::to_path_buf);
    let home = new.canonicalize().map_err(Error::io("cannot read", &new))?;
    let bin = image.bin.strip_prefix(&home).map_or(PathBuf::new(), Path::to_path_buf);
    let libraries = libraries(&root).iter().map(|path| relative(path)).collect();
    let record = Record { digest: image.digest, bin, libraries, packages };
    let text = serde_json::to_vec_pretty(&record).expect("a record is JSON");
    let at = new.join(RECORD);
    crate::files::write_synced(&at, &text).map_err(Error::io("cannot write", &at))?;
    // An image holds no secret, and whoever runs members may be another user than who fetched it.
    let all = fs::Permissions::from_mode(0o644);
    fs::set_permissions(&at, all).map_err(Error::io("cannot open up", &at))?;
    let last = images.join(record.digest.to_string());
    if last.exists() {
        // Fetched before: the same content under the same name.
        let _ = fs::remove_dir_all(&new);
    } else {
        fs::rename(&new, &last).map_err(Error::io("cannot name", &last))?;
    }
    Ok(record)
}

/// Where libraries of the unpacked packages are: `lib` and `lib/ARCHITECTURE-linux-gnu`.
fn libraries(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for lib in ["usr/lib", "lib"].map(|lib| root.join(lib)) {
        let Ok(entries) = fs::read_dir(&lib) else { continue };
        let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
        found.extend(entries.filter(|path| {
            path.is_dir() && path.to_str().is_some_and(|path| path.ends_with("-linux-gnu"))
        }));
    }
    found.sort();
    found
}

/// apt with a state of its own.
struct Apt {
    root: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(dir: &Path) -> Result<Self, Error> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            if let Err(error) = Command::new(program).arg("--version").output() {
                let missing = Error::Missing { program: program.to_owned() };
                let io = error.kind() != std::io::ErrorKind::NotFound;
                return Err(if io {
                    Error::io("cannot run", Path::new(program))(error)
                } else {
                    missing
                });
            }
        }
        let dir = dir.canonicalize().map_err(Error::io("cannot read", dir))?;
        let root = dir.join("apt");
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let part = root.join(part);
            fs::create_dir_all(&part).map_err(Error::io("cannot make", &part))?;
        }
        let status = root.join("status");
        let system = fs::read_to_string("/var/lib/dpkg/status").unwrap_or_default();
        fs::write(&status, without_postgres(&system))
            .map_err(Error::io("cannot write", &status))?;
        let option = |name: &str, path: PathBuf| format!("{name}={}", path.display());
        let options = vec![
            option("Dir::State", root.join("state")),
            option("Dir::State::status", status),
            option("Dir::Cache", root.join("cache")),
            "APT::Install-Recommends=false".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "Debug::NoLocking=true".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ];
        Ok(Self { root, options })
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(program);
        command.args(self.options.iter().flat_map(|option| ["-o", option]));
        run(command.args(arguments), &format!("{program} {}", arguments.join(" ")))
    }

    /// The newest supported package on offer.
    fn newest(&self, software: Software) -> Result<String, Error> {
        let names = self.run("apt-cache", &["pkgnames", software.package()])?;
        let offered = |name: &String| names.lines().any(|line| line == name);
        software.packages().into_iter().find(offered).ok_or(Error::NotOffered { software })
    }

    fn archives(&self) -> Result<Vec<PathBuf>, Error> {
        let archives = self.root.join("cache/archives");
        let entries = fs::read_dir(&archives).map_err(Error::io("cannot read", &archives))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut debs: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|e| e == "deb")).collect();
        debs.sort();
        Ok(debs)
    }
}

/// The system's record of installed packages less those of PostgreSQL, so that an image always has
/// its own, and nothing of the rest twice. What needs one of those goes too, and what needs that in
/// turn: apt does nothing over a record with holes.
fn without_postgres(status: &str) -> String {
    let stanzas: Vec<&str> = status.split_inclusive("\n\n").collect();
    let mut gone: BTreeSet<&str> = BTreeSet::new();
    loop {
        let before = gone.len();
        for stanza in &stanzas {
            let name = field(stanza, "Package").unwrap_or_default();
            let needs = ["Depends", "Pre-Depends"].into_iter().filter_map(|f| field(stanza, f));
            let ours = name.starts_with("postgresql") || name == "libpq5";
            if ours || needs.into_iter().any(|needs| unmet(needs, &gone)) {
                gone.insert(name);
            }
        }
        if gone.len() == before {
            break;
        }
    }
    let stays = |stanza: &&&str| !gone.contains(field(stanza, "Package").unwrap_or_default());
    stanzas.iter().filter(stays).copied().collect()
}

/// A field of a package's record.
fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let lines = stanza.lines();
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next().map(str::trim)
}

/// Whether some needed package is among those gone, with every alternative that is named for it.
fn unmet(needs: &str, gone: &BTreeSet<&str>) -> bool {
    let name = |package: &str| -> String {
        package.trim().chars().take_while(|c| !" (:".contains(*c)).collect()
    };
    let lost = |package: &str| gone.contains(name(package).as_str());
    needs.split(',').any(|alternatives| alternatives.split('|').all(lost))
}

fn run(command: &mut Command, what: &str) -> Result<String, Error> {
    let program = command.get_program().to_os_string();
    let output = command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").output();
    let output = output.map_err(Error::io("cannot run", Path::new(&program)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = text.trim();
    let start = text.len().saturating_sub(OUTPUT_MAX);
    let start = (start..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    Err(Error::Program { what: what.to_owned(), output: text[start..].to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_postgres_does_not_count_as_installed() {
        let status = "Package: libc6\nStatus: x\n\nPackage: postgresql-15\nStatus: x\n\n\
                      Package: libpq5\n\nPackage: libpq5-extra\n\n";
        let left = without_postgres(status);
        assert_eq!(left, "Package: libc6\nStatus: x\n\nPackage: libpq5-extra\n\n");
    }

    #[test]
    fn what_needs_the_systems_postgres_does_not_count_either() {
        let status = "Package: maps\nDepends: libc6, gdal (>= 3)\n\n\
                      Package: gdal\nDepends: libpq5 (>= 9), libc6\n\n\
                      Package: either\nDepends: libpq5:any | libc6\n\n\
                      Package: early\nPre-Depends: libpq5:amd64\n\n\
                      Package: libc6\n\nPackage: libpq5\n\n";
        let left = without_postgres(status);
        assert_eq!(left, "Package: either\nDepends: libpq5:any | libc6\n\nPackage: libc6\n\n");
    }

    #[test]
    fn only_a_digest_resolves() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["../../etc", "", "abc"] {
            assert!(matches!(resolve(dir.path(), name), Err(Error::Unknown { .. })), "{name}");
        }
    }
}
