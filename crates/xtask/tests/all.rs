//! The house is in order.

use std::collections::BTreeMap;
use std::fs;

use evenkeel_xtask::{edges, files, root};

/// Who may know whom; an edge that is not here is a mistake in the design, or here.
const ALLOWED: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("kinds", &["core"]),
    ("drivers", &["kinds", "core"]),
    ("store", &["core"]),
    ("api", &["core"]),
    ("gateway", &["core"]),
    ("agent", &["drivers", "kinds", "core"]),
    ("controller", &["store", "kinds", "api", "core"]),
    ("sim", &["kinds", "core", "store"]),
    ("cli", &["agent", "api", "controller", "core", "drivers", "gateway", "kinds", "sim", "store"]),
    ("xtask", &[]),
];

/// Longest source file, and longest of tests.
const LINES_MAX: usize = 620;
const TEST_LINES_MAX: usize = 1_000;

fn read(path: &std::path::Path) -> String {
    fs::read_to_string(path).expect("readable")
}

#[test]
fn crates_know_only_whom_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let crates = fs::read_dir(root().join("crates")).expect("readable");
    let mut seen = 0;
    for folder in crates.filter_map(Result::ok) {
        let name = folder.file_name().to_string_lossy().into_owned();
        let may = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is in no rule"));
        for edge in edges(&read(&folder.path().join("Cargo.toml"))) {
            assert!(may.contains(&edge.as_str()), "{name} must not know {edge}");
        }
        seen += 1;
    }
    assert_eq!(seen, ALLOWED.len());
}

#[test]
fn the_core_is_pure_by_what_it_depends_on() {
    let manifest = read(&root().join("crates/core/Cargo.toml"));
    for impure in ["tokio", "rand", "rustix", "axum", "rusqlite", "ureq"] {
        assert!(!manifest.contains(impure), "core depends on {impure}");
    }
}

#[test]
fn files_stay_readable_and_say_what_they_are() {
    for path in files(&root().join("crates"), ".rs") {
        let text = read(&path);
        let (lines, name) = (text.lines().count(), path.display());
        let test = path.components().any(|part| part.as_os_str() == "tests");
        assert!(lines <= if test { TEST_LINES_MAX } else { LINES_MAX }, "{name}: {lines} lines");
        assert!(text.starts_with("//!"), "{name} does not say what it is");
    }
}

#[test]
fn the_glossarys_words_are_the_codes() {
    let glossary = read(&root().join("GLOSSARY.md"));
    let mut words = 0;
    for line in glossary.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(place) = cells.get(3).and_then(|cell| cell.split('`').nth(1)) else { continue };
        let (file, name) = place.split_once("::").expect("file::name");
        let text = read(&root().join("crates").join(file));
        assert!(text.contains(name), "{}: {file} has no {name}", cells[1]);
        words += 1;
    }
    assert!(words >= 20, "only {words} words");
}

#[test]
fn what_the_readme_names_is_there() {
    let readme = read(&root().join("README.md"));
    let makefile = read(&root().join("Makefile"));
    for target in ["demo", "up", "test", "sim", "bench"] {
        assert!(readme.contains(&format!("make {target}")), "README has no make {target}");
        assert!(makefile.contains(&format!("\n{target}:")), "Makefile has no {target}");
    }
}
