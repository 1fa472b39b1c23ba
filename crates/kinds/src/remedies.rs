//! The remedies: what is seen, what is done about it, how often, and who lets it run.
//!
//! Budgets end in a page, never in another try: a repair that did not hold three times is no repair.

use evenkeel_core::operation::Kind;
use evenkeel_core::remedy::{Budget, Guard, Level, Remedy};
use evenkeel_core::time::Span;

/// Every remedy. A new one is a line here.
pub const REMEDIES: &[Remedy] = &[
    Remedy {
        name: "restart",
        doc: "A process that died is started again by its agent, at once, then with a back-off. \
              The cheapest sufficient remedy: crash recovery loses nothing that was acknowledged.",
        guard: Guard::MemberDied,
        operation: Kind::Restart,
        budget: Budget { tries_max: 5, window: Span::mins(10), cooldown: Span(0) },
        level: Level::Auto,
        manual_minutes: 15,
    },
    Remedy {
        name: "crash-loop",
        doc: "A server that died more often than its restarts allow is cleared of what is left of it \
              and started with a fresh budget, a few times; then a person is told.",
        guard: Guard::CrashLooping,
        operation: Kind::Recover,
        budget: Budget { tries_max: 3, window: Span::mins(30), cooldown: Span::secs(30) },
        level: Level::Auto,
        manual_minutes: 20,
    },
    Remedy {
        name: "hung",
        doc: "A server that is there and answers neither its agent nor a witness for ten seconds is \
              ended hard and started; its log is replayed.",
        guard: Guard::Hung,
        operation: Kind::Recover,
        budget: Budget { tries_max: 3, window: Span::mins(30), cooldown: Span::secs(30) },
        level: Level::Auto,
        manual_minutes: 20,
    },
    Remedy {
        name: "failover",
        doc: "A primary that is down by two vantage points' word, or that dies again and again, gives \
              its place to a standby, if those who are left have everything that was acknowledged. \
              After one, there is no second before every standby is counted on again.",
        guard: Guard::PrimaryLost,
        operation: Kind::Failover,
        budget: Budget { tries_max: 100, window: Span::mins(30), cooldown: Span(0) },
        level: Level::Auto,
        manual_minutes: 45,
    },
    Remedy {
        name: "relax",
        doc: "Commits wait no longer for a standby that has been gone for three seconds. From then on \
              it is promoted by nobody before it has everything again; a finding says so until then.",
        guard: Guard::SetLacks,
        operation: Kind::Relax,
        budget: Budget { tries_max: 200, window: Span::mins(60), cooldown: Span(0) },
        level: Level::Auto,
        manual_minutes: 20,
    },
    Remedy {
        name: "restore",
        doc: "Commits wait again for a standby that follows and is near the end of the log.",
        guard: Guard::StandbyUncounted,
        operation: Kind::Restore,
        budget: Budget { tries_max: 200, window: Span::mins(60), cooldown: Span::secs(1) },
        level: Level::Auto,
        manual_minutes: 20,
    },
    Remedy {
        name: "rejoin",
        doc: "A former primary, or a standby that has received nothing for half a minute, is made anew \
              from the primary: rewound where its log parted, else copied.",
        guard: Guard::MemberWaits,
        operation: Kind::Rejoin,
        budget: Budget { tries_max: 200, window: Span::mins(60), cooldown: Span::secs(5) },
        level: Level::Auto,
        manual_minutes: 40,
    },
    Remedy {
        name: "rebuild",
        doc: "A member whose host has been away for two minutes gives its place to a new one on \
              another host, in a zone that keeps the spread where there is one.",
        guard: Guard::MemberLost,
        operation: Kind::Rebuild,
        budget: Budget { tries_max: 5, window: Span::mins(60), cooldown: Span::mins(1) },
        level: Level::Auto,
        manual_minutes: 60,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn registry_is_sound() {
        let names: BTreeSet<_> = REMEDIES.iter().map(|r| r.name).collect();
        assert_eq!(names.len(), REMEDIES.len(), "two remedies share a name");
        for remedy in REMEDIES {
            assert!(evenkeel_core::label::Label::new(remedy.name).is_ok(), "{}", remedy.name);
            assert!(remedy.doc.ends_with('.'), "{} has no sentence", remedy.name);
            assert!(remedy.budget.tries_max > 0 && remedy.budget.window > Span(0));
        }
        let guards = [
            Guard::MemberDied,
            Guard::CrashLooping,
            Guard::Hung,
            Guard::PrimaryLost,
            Guard::SetLacks,
            Guard::StandbyUncounted,
            Guard::MemberWaits,
            Guard::MemberLost,
        ];
        for guard in guards {
            assert_eq!(REMEDIES.iter().filter(|r| r.guard == guard).count(), 1, "{guard:?}");
        }
    }
}
