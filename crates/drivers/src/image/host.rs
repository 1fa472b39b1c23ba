//! The image `host`: what the machine's package manager installed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Error, Image, MAJORS, Software, major};

/// The newest release of a piece of software that is installed and supported.
///
/// # Errors
/// [`Error::NotInstalled`].
pub fn host(software: Software) -> Result<Image, Error> {
    host_in(software, &software.usual())
}

/// The first supported release in some directories.
///
/// # Errors
/// [`Error::NotInstalled`].
pub fn host_in(software: Software, dirs: &[PathBuf]) -> Result<Image, Error> {
    dirs.iter().find_map(|dir| supported(software, dir)).ok_or_else(|| {
        let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        Error::NotInstalled { software, searched: dirs.join(", ") }
    })
}

fn supported(software: Software, dir: &Path) -> Option<Image> {
    // A link leads to the directory whose siblings (share, lib) the programs look for.
    let server = dir.join(software.programs()[0]).canonicalize().ok()?;
    let version = Command::new(&server).arg(software.asks_version()).env_clear().output().ok()?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    if software == Software::Postgres && !MAJORS.contains(&major(&version)?) {
        return None;
    }
    let packages = packages_of(&server);
    let packages = if packages.is_empty() {
        // Not from packages, or no Debian: what the program says of itself is all there is.
        vec![(software.package().to_owned(), version)]
    } else {
        packages
    };
    Image::of(software, server.parent()?, Vec::new(), packages)
}

/// The installed packages that a file's package needs, itself included; none without dpkg.
fn packages_of(file: &Path) -> Vec<(String, String)> {
    let Some(owner) = output(Command::new("dpkg-query").arg("-S").arg(file)) else {
        return Vec::new();
    };
    let Some((owner, _)) = owner.split_once(": ") else { return Vec::new() };
    let format =
        "-f=${db:Status-Status}\t${Package}\t${Version}\t${Provides}\t${Pre-Depends}, ${Depends}\n";
    let Some(all) = output(Command::new("dpkg-query").arg("-W").arg(format)) else {
        return Vec::new();
    };
    closure(&Installed::parse(&all), bare(owner))
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.env("LC_ALL", "C").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A package's name without architecture, version and blanks: `libc6:amd64 (>= 2.14)` is `libc6`.
fn bare(name: &str) -> &str {
    name.trim().split([' ', ':', '(']).next().unwrap_or_default()
}

struct Package<'a> {
    version: &'a str,
    /// Of each, any one will do.
    needs: Vec<Vec<&'a str>>,
}

struct Installed<'a> {
    packages: BTreeMap<&'a str, Package<'a>>,
    providers: BTreeMap<&'a str, &'a str>,
}

impl<'a> Installed<'a> {
    fn parse(text: &'a str) -> Self {
        let mut installed = Self { packages: BTreeMap::new(), providers: BTreeMap::new() };
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let ["installed", name, version, provides, needs] = fields[..] else { continue };
            for provided in provides.split(',').map(bare).filter(|p| !p.is_empty()) {
                installed.providers.insert(provided, name);
            }
            let needs = needs.split(',').map(|any| any.split('|').map(bare).collect()).collect();
            installed.packages.insert(name, Package { version, needs });
        }
        installed
    }

    fn find(&self, name: &str) -> Option<&'a str> {
        let provider = self.providers.get(name).copied();
        self.packages.get_key_value(name).map(|(&name, _)| name).or(provider)
    }
}

fn closure(installed: &Installed<'_>, owner: &str) -> Vec<(String, String)> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = installed.find(owner).into_iter().collect();
    while let Some(name) = open.pop() {
        if found.insert(name) {
            let needs = &installed.packages[name].needs;
            open.extend(needs.iter().filter_map(|any| any.iter().find_map(|n| installed.find(n))));
        }
    }
    let version = |name: &str| installed.packages[name].version.to_owned();
    found.into_iter().map(|name| (name.to_owned(), version(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closure_follows_alternatives_and_what_is_provided() {
        let text = "installed\tpostgresql-15\t15.20-0\t\tlibc6 (>= 2.14), absent | libpq5 (>= 1)\n\
                    installed\tlibpq5\t15.20-0\t\tlibc6, virtual-ssl\n\
                    installed\tlibc6\t2.36\t\t\n\
                    installed\topenssl3\t3.0\tvirtual-ssl (= 3)\t, libc6:any\n\
                    deinstalled\told\t1\t\t\n\
                    installed\tvim\t9\t\tlibc6\n";
        let names: Vec<_> = closure(&Installed::parse(text), "postgresql-15");
        let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["libc6", "libpq5", "openssl3", "postgresql-15"]);
    }

    #[test]
    fn nothing_installed_says_what_to_do() {
        let empty = tempfile::tempdir().unwrap();
        let error =
            host_in(Software::Postgres, &[empty.path().to_path_buf()]).unwrap_err().to_string();
        assert!(error.contains("install"), "{error}");
    }
}
