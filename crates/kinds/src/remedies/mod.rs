//! The bundled remedies: one file each, in the order they are asked in.
//!
//! Budgets end in a page: a repair that did not hold three times is no repair. It is tried again only when
//! its window is over.

use std::sync::LazyLock;

use evenkeel_core::remedy::{Remedies, file};

/// Every bundled file. A new one is a file and a line here; the cheapest sufficient remedy stands first.
pub const FILES: &[&str] = &[
    include_str!("restart.toml"),
    include_str!("crash-loop.toml"),
    include_str!("hung.toml"),
    include_str!("failover.toml"),
    include_str!("relax.toml"),
    include_str!("restore.toml"),
    include_str!("rejoin.toml"),
    include_str!("rebuild.toml"),
    include_str!("runaway-connections.toml"),
    include_str!("idle-transactions.toml"),
    include_str!("unread-slots.toml"),
    include_str!("full-disk.toml"),
    include_str!("wraparound.toml"),
    include_str!("invalid-indexes.toml"),
];

static BUNDLED: LazyLock<Remedies> = LazyLock::new(|| {
    let read = |text: &&str| file::parse(text).expect("the registry's test reads every file");
    Remedies::new(FILES.iter().map(read).collect()).expect("the registry's test names them apart")
});

/// The bundled remedies.
///
/// # Panics
/// Never: the registry's test reads every file.
#[must_use]
pub fn bundled() -> Remedies {
    BUNDLED.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::remedy::{Condition, Course, Facts};
    use std::collections::BTreeMap;

    #[test]
    fn registry_is_sound() {
        for text in FILES {
            let remedy = file::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let file = format!("{}.toml", remedy.name);
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/remedies");
            assert!(path.join(&file).exists(), "{file} is named as its remedy is");
        }
        assert_eq!(bundled().iter().count(), FILES.len());
        let procedures = crate::procedures::bundled();
        for remedy in &bundled() {
            let Course::Procedure { name, parameters } = &remedy.course else { continue };
            let known = procedures.iter().find(|p| p.manifest.name == **name);
            let known = known.unwrap_or_else(|| panic!("{}: no procedure {name}", remedy.name));
            known.values(parameters).unwrap_or_else(|e| panic!("{}: {e}", remedy.name));
        }
        assert_eq!(bundled().restart().map(|r| &*r.name), Some("restart"));
    }

    #[test]
    fn what_the_lifecycle_sees_has_one_remedy_each() {
        let none = BTreeMap::new();
        for condition in Condition::ALL {
            let facts = Facts {
                condition,
                health: "healthy",
                posture: "normal",
                kind: "postgres",
                plan: "ha",
                members: 2,
                redundant: true,
                findings: &none,
            };
            let remedies = bundled();
            let holds = remedies.iter().filter(|r| r.guard.holds(&facts) == Ok(true)).count();
            let wanted = usize::from(condition != Condition::None);
            assert_eq!(holds, wanted, "{condition}");
        }
    }
}
