//! Pages of `docs/reference`, held against what the code says.

use std::path::PathBuf;

/// Compares with the golden page; `EVENKEEL_BLESS=1` writes it.
#[allow(clippy::disallowed_methods, reason = "a test may write the golden page it is asked to")]
pub fn page(file: &str, page: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(file);
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        std::fs::write(&path, page).expect("the golden page can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, page, "{file} is out of date: run EVENKEEL_BLESS=1 cargo test");
}
