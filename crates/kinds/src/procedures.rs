//! Procedures as files: a manifest in TOML, and the scripts that it names.
//!
//! Those that come with Evenkeel are each kind's own ([`bundled`]); users bring theirs in a directory
//! that a controller is started with.

use std::collections::BTreeMap;

use evenkeel_core::procedure::{self, Manifest, Procedure, Step};

/// A procedure's files, as they are compiled in.
#[derive(Clone, Copy, Debug)]
pub struct Files {
    /// The manifest.
    pub manifest: &'static str,
    /// The script of its name.
    pub script: &'static str,
}

/// Why a procedure's files make none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manifest is no TOML, or not what a manifest is.
    #[error("{file} is no manifest of a procedure: {why}")]
    Toml {
        /// Which file.
        file: String,
        /// In the parser's words.
        why: String,
    },
    /// What it says cannot be.
    #[error("{file}: {source}")]
    Manifest {
        /// Which file.
        file: String,
        /// What is wrong, and what would do.
        source: procedure::Error,
    },
}

/// Reads a manifest.
///
/// # Errors
/// [`Error::Toml`] names the file, the line and what was expected there.
pub fn manifest(file: &str, text: &str) -> Result<Manifest, Error> {
    toml::from_str(text).map_err(|error| Error::Toml {
        file: file.to_owned(),
        why: error.to_string().trim().to_owned(),
    })
}

/// The scripts that a manifest names.
#[must_use]
pub fn scripts(manifest: &Manifest) -> Vec<String> {
    if manifest.steps.is_empty() {
        return vec![manifest.name.clone()];
    }
    let script = |step: &Step| match step {
        Step::Script(name) => Some(name.clone()),
        Step::Operation(_) => None,
    };
    manifest.steps.iter().filter_map(script).collect()
}

/// A procedure of a manifest and scripts by name, if it can be used.
///
/// # Errors
/// [`Error::Manifest`] names the file, what is wrong and what would do.
pub fn procedure(
    file: &str,
    manifest: Manifest,
    scripts: BTreeMap<String, String>,
    bundled: bool,
) -> Result<Procedure, Error> {
    let procedure = Procedure { manifest, scripts, bundled };
    match procedure.check() {
        Ok(()) => Ok(procedure),
        Err(source) => Err(Error::Manifest { file: file.to_owned(), source }),
    }
}

/// Every procedure that comes with Evenkeel.
///
/// # Panics
/// Never: the registry's test reads them all.
#[must_use]
pub fn bundled() -> Vec<Procedure> {
    let read = |files: &Files| {
        let read = manifest("a bundled manifest", files.manifest).expect("tested");
        let scripts = BTreeMap::from([(read.name.clone(), files.script.to_owned())]);
        procedure("a bundled manifest", read, scripts, true).expect("tested")
    };
    crate::postgres::procedures::PROCEDURES.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn registry_is_sound() {
        let all = bundled();
        let names: BTreeSet<&str> = all.iter().map(|p| p.manifest.name.as_str()).collect();
        assert_eq!(names.len(), all.len(), "two procedures share a name");
        for procedure in &all {
            let manifest = &procedure.manifest;
            assert!(crate::kind(&manifest.kind).is_some(), "{}", manifest.name);
            assert!(manifest.dry_run, "{} says nothing before it acts", manifest.name);
            assert!(manifest.manual_minutes > 0, "{}", manifest.name);
            // A remedy gives no parameters: all of them have defaults.
            procedure.values(&BTreeMap::new()).expect(&manifest.name);
            let script = &procedure.scripts[&manifest.name];
            assert!(script.starts_with("#!/bin/sh\n"), "{}", manifest.name);
        }
    }

    #[test]
    fn a_manifest_that_is_none_is_explained() {
        let error =
            manifest("x.toml", "name = \"x\"\nspeed = 3\n").expect_err("unknown").to_string();
        assert!(error.contains("x.toml") && error.contains("speed"), "{error}");
    }
}
