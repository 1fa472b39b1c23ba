//! Kinds as simulated worlds have them: every real one, and a modelled cache beside them.
//!
//! Purpose: what a scenario says of plans is looked up in one place. A plan is named alone, or after its kind:
//! `ha` is the default kind's, `cache/pair` another's.

pub mod cache;

use evenkeel_core::kind::{Kind, Loss, Plan};
use evenkeel_kinds::postgres::Postgres;

/// Every kind of a simulated world; the first is the one that is meant where none is named.
pub const KINDS: &[&dyn Kind] = &[&Postgres, &cache::Cache];

/// The kind and the plan that a text names; `None`: there is no such kind, or it has no such plan.
pub fn plan(text: &str) -> Option<(&'static dyn Kind, &'static Plan)> {
    let (kind, plan) = text.split_once('/').unwrap_or((KINDS[0].name(), text));
    let kind = *KINDS.iter().find(|known| known.name() == kind)?;
    Some((kind, kind.plan(plan)?))
}

/// Every plan, as a text names it.
pub fn plans() -> impl Iterator<Item = String> {
    let of = |kind: &'static &dyn Kind| {
        kind.plans().iter().map(move |plan| match kind.name() == KINDS[0].name() {
            true => plan.name.to_string(),
            false => format!("{}/{}", kind.name(), plan.name),
        })
    };
    KINDS.iter().flat_map(of)
}

/// What people order of a plan that a text may name: a kind, and its plan if not its default. What is not known is
/// refused by whoever is asked for it.
pub fn ordered(text: Option<&str>) -> (String, Option<String>) {
    let text = text.unwrap_or_default();
    let (kind, plan) = text.split_once('/').unwrap_or((KINDS[0].name(), text));
    (kind.to_owned(), (!plan.is_empty()).then(|| plan.to_owned()))
}

fn known(kind: &str, plan: &str) -> Option<&'static Plan> {
    KINDS.iter().find(|known| known.name() == kind)?.plan(plan)
}

/// What a plan may lose.
pub fn loss_of(kind: &str, plan: &str) -> Option<Loss> {
    known(kind, plan)?.loss
}

/// Whether a plan's services have an archive.
pub fn archives(kind: &str, plan: &str) -> bool {
    known(kind, plan).is_some_and(Plan::archives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_its_kinds() {
        let named = |text| plan(text).map(|(kind, plan)| (kind.name(), plan.name));
        assert_eq!(named("ha"), Some(("postgres", "ha")));
        assert_eq!(named("cache/pair"), Some(("cache", "pair")));
        assert_eq!(named("cache/ha"), None);
        assert_eq!(named("cash/pair"), None);
        assert_eq!(ordered(None), ("postgres".to_owned(), None));
        assert_eq!(ordered(Some("ha")), ("postgres".to_owned(), Some("ha".to_owned())));
        assert_eq!(ordered(Some("cache/pair")), ("cache".to_owned(), Some("pair".to_owned())));
    }
}
