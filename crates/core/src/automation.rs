//! How far automation may go, by people's word: levels of remedies, pins on services, approvals, the brake.
//!
//! Everything here ends by itself or is one order from its end: a pin has its time, an approval its use, a
//! level the default it goes back to.

use serde::{Deserialize, Serialize};

use crate::claim::Lane;
use crate::id::ServiceId;
use crate::label::Label;
use crate::remedy::{Level, Remedy};
use crate::time::{Span, Time};

/// Longest time a service can be pinned: a pin that never expires does not exist.
pub const PIN_MAX: Span = Span::mins(7 * 24 * 60);
/// An approval that was not needed within this is void.
pub const APPROVAL_KEEP: Span = Span::mins(60);

/// Where a level holds. The narrowest that fits counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everywhere.
    Fleet,
    /// For services of a kind.
    Kind(Label),
    /// For one service.
    Service(ServiceId),
}

/// A level that somebody set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Of which remedy.
    pub remedy: Box<str>,
    /// Where.
    pub scope: Scope,
    /// Which.
    pub level: Level,
    /// Who set it.
    pub by: Box<str>,
}

/// The level of a remedy for one service: what was set in the narrowest scope, else its own.
#[must_use]
pub fn level(rules: &[Rule], remedy: &Remedy, service: ServiceId, kind: &Label) -> Level {
    let fits = |rule: &&Rule| {
        rule.remedy == remedy.name
            && match rule.scope {
                Scope::Fleet => true,
                Scope::Kind(of) => of == *kind,
                Scope::Service(of) => of == service,
            }
    };
    let narrowest = rules.iter().filter(fits).max_by_key(|rule| rule.scope);
    narrowest.map_or(remedy.level, |rule| rule.level)
}

/// What automation may still do on a pinned service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pinned {
    /// Repair what is down; nothing else.
    Essential,
    /// Begin nothing; what runs goes on.
    Pause,
    /// Begin nothing, and what a remedy began is given up.
    Stop,
}

impl Pinned {
    /// Its name, as orders have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Essential => "essential",
            Self::Pause => "pause",
            Self::Stop => "stop",
        }
    }

    /// Whether a remedy's operation of this lane may begin.
    #[must_use]
    pub const fn allows(self, lane: Lane) -> bool {
        matches!((self, lane), (Self::Essential, Lane::Emergency))
    }
}

impl std::fmt::Display for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A service that somebody wants left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// How far.
    pub level: Pinned,
    /// Until when.
    pub until: Time,
    /// Why.
    pub reason: Box<str>,
    /// Who.
    pub by: Box<str>,
}

/// A remedy that waits for a person's yes, or has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its number, for `evenkeel approve`.
    pub id: u32,
    /// Which remedy.
    pub remedy: Box<str>,
    /// When it was asked for.
    pub since: Time,
    /// Who said yes, and when.
    pub given: Option<(Box<str>, Time)>,
}

impl Approval {
    /// Whether it lets this remedy run now.
    #[must_use]
    pub fn lets(&self, remedy: &str, now: Time) -> bool {
        let fresh = self.given.as_ref().is_some_and(|(_, at)| now.since(*at) < APPROVAL_KEEP);
        *self.remedy == *remedy && fresh
    }
}

/// The fleet brake: nothing that automation or a plan wants begins while it is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brake {
    /// Who put it on.
    pub by: Box<str>,
    /// Why.
    pub reason: Box<str>,
    /// When.
    pub since: Time,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remedy::file::parse;

    #[test]
    fn the_narrowest_level_counts() {
        let remedy = parse(
            "name = 'x'\ndoc = 'X.'\nwhen = 'true'\noperation = 'restart'\nlevel = 'auto'\n\
             manual_minutes = 1\nbudget = { tries_max = 1, window = '1h' }",
        )
        .expect("sound");
        let (kind, other) = (Label::new("postgres").unwrap(), Label::new("redis").unwrap());
        let rule = |scope, level| Rule { remedy: "x".into(), scope, level, by: "a".into() };
        let mut rules = vec![];
        let level = |rules: &[Rule], kind| super::level(rules, &remedy, ServiceId(7), kind);
        assert_eq!(level(&rules, &kind), Level::Auto);
        rules.push(rule(Scope::Service(ServiceId(7)), Level::Approve));
        rules.push(rule(Scope::Fleet, Level::Off));
        rules.push(rule(Scope::Kind(kind), Level::Suggest));
        assert_eq!(level(&rules, &kind), Level::Approve);
        rules.remove(0);
        assert_eq!(level(&rules, &kind), Level::Suggest);
        assert_eq!(level(&rules, &other), Level::Off);
    }

    #[test]
    fn a_pin_lets_emergencies_through_or_nothing() {
        for lane in [Lane::Free, Lane::Planned, Lane::Emergency] {
            assert_eq!(Pinned::Essential.allows(lane), lane == Lane::Emergency);
            assert!(!Pinned::Pause.allows(lane) && !Pinned::Stop.allows(lane));
        }
    }

    #[test]
    fn an_approval_is_for_one_remedy_and_an_hour() {
        let mut approval = Approval { id: 1, remedy: "x".into(), since: Time(0), given: None };
        assert!(!approval.lets("x", Time(1)));
        approval.given = Some(("a".into(), Time(10)));
        assert!(approval.lets("x", Time(11)) && !approval.lets("y", Time(11)));
        assert!(!approval.lets("x", Time(10) + APPROVAL_KEEP));
    }
}
