//! A directory of procedures that a user brought: read once, at the start, and refused as a whole if one of
//! them cannot be used.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_core::procedure::{Procedure, TEXT_MAX_BYTES};
use evenkeel_kinds::procedures::{self, bundled};

/// Most procedures of one directory.
const PROCEDURES_MAX: usize = 256;

/// Why a directory's procedures cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{} cannot be read; a procedure is NAME.toml and its script NAME.sh beside it", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is too large.
    #[error("{} has {bytes} bytes, {TEXT_MAX_BYTES} at most", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// How large it is.
        bytes: u64,
    },
    /// A procedure cannot be used.
    #[error(transparent)]
    Procedure(#[from] procedures::Error),
    /// The name is another's.
    #[error("{}: procedure {name:?} is there already; give it another name", path.display())]
    Taken {
        /// Which file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The file has another name than the procedure.
    #[error("{}: it names procedure {name:?}; file and procedure have one name", path.display())]
    OtherName {
        /// Which file.
        path: PathBuf,
        /// The name inside.
        name: String,
    },
    /// There are too many.
    #[error("{} holds {count} procedures, {PROCEDURES_MAX} at most", path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

/// The procedures that come with Evenkeel, and those of a directory. A script is `NAME.sh`, or `NAME` with
/// any other ending or none.
///
/// # Errors
/// [`Error`] names the file, what is wrong and what would do.
pub fn load(dir: Option<&Path>) -> Result<Vec<Procedure>, Error> {
    let mut all = bundled();
    let Some(dir) = dir else { return Ok(all) };
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    let entries = fs::read_dir(dir).map_err(unread(dir))?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        files.push(entry.map_err(unread(dir))?.path());
    }
    files.sort();
    let is_manifest = |path: &&PathBuf| path.extension().is_some_and(|end| end == "toml");
    let manifests: Vec<&PathBuf> = files.iter().filter(is_manifest).collect();
    if manifests.len() > PROCEDURES_MAX {
        return Err(Error::TooMany { path: dir.to_owned(), count: manifests.len() });
    }
    for path in manifests {
        let file = path.display().to_string();
        let manifest = procedures::manifest(&file, &read(path)?)?;
        let name = manifest.name.clone();
        if path.file_stem().is_none_or(|stem| stem != name.as_str()) {
            return Err(Error::OtherName { path: path.clone(), name });
        }
        if all.iter().any(|other| other.manifest.name == name) {
            return Err(Error::Taken { path: path.clone(), name });
        }
        let mut scripts = BTreeMap::new();
        for script in procedures::scripts(&manifest) {
            let is = |other: &&PathBuf| {
                let named = other.file_stem().is_some_and(|stem| stem == script.as_str())
                    || other.file_name().is_some_and(|name| name == script.as_str());
                named && !is_manifest(other)
            };
            let own = files.iter().find(is).cloned();
            let own = own.unwrap_or_else(|| dir.join(&script).with_extension("sh"));
            scripts.insert(script, read(&own)?);
        }
        all.push(procedures::procedure(&file, manifest, scripts, false)?);
    }
    Ok(all)
}

fn read(path: &Path) -> Result<String, Error> {
    let unread = |source| Error::Read { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(unread)?.len();
    if bytes > TEXT_MAX_BYTES as u64 {
        return Err(Error::TooLarge { path: path.to_owned(), bytes });
    }
    fs::read_to_string(path).map_err(unread)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "name = \"tidy\"\ndoc = \"Tidies.\"\nkind = \"postgres\"\n\
        interpreter = [\"/bin/sh\"]\ntime_limit_seconds = 5\nrole = \"check\"\ndisruptive = false\n\
        manual_minutes = 1\n";

    #[test]
    fn a_directory_is_read_or_what_is_wrong_with_it_explained() {
        let dir = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        let error = || load(Some(dir.path())).expect_err("refused").to_string();
        put("tidy.toml", MANIFEST);
        assert!(error().contains("tidy.sh cannot be read"), "{}", error());
        put("tidy.sh", "true");
        let all = load(Some(dir.path())).expect("read");
        assert!(all.iter().any(|p| p.manifest.name == "tidy" && !p.bundled));
        put("other.toml", MANIFEST);
        assert!(error().contains("other.toml") && error().contains("one name"), "{}", error());
        put("other.toml", &MANIFEST.replace("tidy", "other").replace("kind", "kin"));
        assert!(error().contains("other.toml") && error().contains("kin"), "{}", error());
        fs::remove_file(dir.path().join("other.toml")).expect("removed");
        put("freeze.toml", &MANIFEST.replace("tidy", "freeze"));
        assert!(error().contains("is there already"), "{}", error());
        fs::remove_file(dir.path().join("freeze.toml")).expect("removed");
        put("tidy.sh", &"x".repeat(TEXT_MAX_BYTES + 1));
        assert!(error().contains("at most"), "{}", error());
        assert!(load(Some(&dir.path().join("nothing"))).is_err());
    }
}
