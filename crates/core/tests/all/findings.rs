//! Findings: since when, of which family, kept when somebody begins anew.

use evenkeel_core::check::{
    Check, Family, Holds, Pace, Reading, Result as Found, Severity, Thresholds, Unread,
};
use evenkeel_core::member::State as M;
use evenkeel_core::policy::Policy;
use evenkeel_core::report::FromAgent;
use evenkeel_core::time::Span;
use evenkeel_core::view::{Finding, Light};

use crate::world::World;

/// A toy's checks: one that is any member's, one that is the service's when all members have it.
pub const CHECKS: &[&dyn Check] = &[
    &Toy { name: "loud", pace: Pace::Often, holds: Holds::Anywhere },
    &Toy { name: "spare", pace: Pace::Rarely, holds: Holds::Everywhere },
];

struct Toy {
    name: &'static str,
    pace: Pace,
    holds: Holds,
}

impl Check for Toy {
    fn name(&self) -> &'static str {
        self.name
    }
    fn family(&self) -> Family {
        Family::Security
    }
    fn doc(&self) -> &'static str {
        "For tests."
    }
    fn question(&self) -> &'static str {
        "how are you"
    }
    fn pace(&self) -> Pace {
        self.pace
    }
    fn holds(&self) -> Holds {
        self.holds
    }
    fn asked(&self) -> evenkeel_core::check::Asked {
        evenkeel_core::check::Asked::Everyone
    }
    fn judge(&self, reading: &Reading, _: &Thresholds) -> Option<Found> {
        (reading.text("is") == "bad").then(|| self.found(Severity::Warning, "bad".to_owned()))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("is", "bad")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("is", "good")])
    }
}

fn found(check: &str, severity: Severity, items: &[&str]) -> Found {
    let items = items.iter().map(|item| (*item).to_owned()).collect();
    Found { check: check.to_owned(), severity, evidence: "bad".to_owned(), items }
}

/// What the agents of all members say of their checks.
pub fn say(world: &mut World, at: usize, checks: &[Found], unread: &Unread) {
    let Some(link) = world.agents[at].link else { return };
    let Some(member) = world.agents[at].members.values_mut().next() else { return };
    member.checks = checks.to_vec();
    member.unread.clone_from(unread);
    let message = FromAgent::members(false, vec![member.clone()]);
    world.inbox.push(evenkeel_core::cell::Entry::Agent { link, message });
    world.turn();
}

fn of(world: &World, check: &str) -> Option<Finding> {
    let findings = world.service().expect("there").findings;
    findings.into_iter().find(|finding| finding.check == check)
}

fn light(world: &World, check: &str) -> Light {
    let diagnosis = world.cell.diagnose("orders", &[], world.now).expect("there");
    diagnosis.checks.iter().find(|line| line.check == check).expect("it is looked at").light
}

fn notes(world: &World, text: &str) -> usize {
    world.journal.iter().filter(|line| line.contains(text)).count()
}

#[test]
fn the_toys_registry_is_sound() {
    evenkeel_core::check::sound(CHECKS).expect("every check has its examples");
}

#[test]
fn a_findings_beginning_outlives_controllers_and_what_is_not_read() {
    let mut world = World::new(3);
    world.create("orders").expect("accepted");
    let (home, read) = (world.home(), Unread::default());
    assert_eq!(light(&world, "loud"), Light::Green);
    let quiet_row = world.rows.clone();
    say(&mut world, home, &[], &read);
    assert_eq!(world.rows, quiet_row, "who finds nothing is not written");

    say(&mut world, home, &[found("loud", Severity::Warning, &[])], &read);
    world.pass(Span::secs(60));
    let seen = of(&world, "loud").expect("found");
    assert_eq!((seen.family, seen.service.as_deref()), (Family::Security, Some("orders")));
    assert_eq!(seen.since_ms, Span::secs(60));
    assert_eq!(light(&world, "loud"), Light::Yellow);
    assert_eq!(notes(&world, "loud (warning)"), 1);

    world.restart_controller();
    world.pass(Span::secs(30));
    say(&mut world, home, &[found("loud", Severity::Warning, &[])], &read);
    assert!(of(&world, "loud").expect("found").since_ms >= Span::secs(90));
    assert_eq!(notes(&world, "loud (warning)"), 1, "it is told once");

    // An agent that begins anew has read nothing yet: that is no news.
    let nothing = Unread::everything();
    say(&mut world, home, &[], &nothing);
    assert_eq!((light(&world, "loud"), notes(&world, "loud is quiet")), (Light::Unread, 0));
    world.pass(Span::secs(10));
    say(&mut world, home, &[found("loud", Severity::Critical, &[])], &read);
    assert!(of(&world, "loud").expect("found").since_ms >= Span::secs(100));
    assert_eq!((light(&world, "loud"), notes(&world, "loud (critical)")), (Light::Red, 1));

    say(&mut world, home, &[], &read);
    assert_eq!((of(&world, "loud"), notes(&world, "loud is quiet")), (None, 1));
    assert_eq!(light(&world, "loud"), Light::Green);
    world.pass(Span::secs(5));
    say(&mut world, home, &[found("loud", Severity::Warning, &[])], &read);
    assert_eq!(of(&world, "loud").expect("found").since_ms, Span(0), "another beginning");
}

#[test]
fn what_policy_has_nobody_ask_is_unread_and_says_so() {
    let mut policy = Policy::default();
    (policy.checks.often_seconds, policy.checks.rarely_seconds) = (0, 0);
    let mut world = World::with(3, policy);
    world.create("orders").expect("accepted");
    let home = world.home();
    say(&mut world, home, &[], &Unread::everything());
    assert_eq!(light(&world, "loud"), Light::Unread);
    let diagnosis = world.cell.diagnose("orders", &[], world.now).expect("there");
    let line = diagnosis.checks.iter().find(|line| line.check == "loud").expect("it is looked at");
    assert!(line.text.contains("by policy"), "{}", line.text);
}

#[test]
fn what_must_hold_everywhere_is_found_once_all_members_say_so() {
    let mut world = World::new(3);
    world.create_as("orders", Some("pair")).expect("accepted");
    world.pass(Span::secs(2));
    let members = world.service().expect("there").members;
    let at = |host: &str| world.agents.iter().position(|a| a.name == host).expect("there");
    let (first, second) = (at(&members[0].host), at(&members[1].host));
    let read = Unread::default();
    let spare = |items: &[&str]| [found("spare", Severity::Note, items)];
    say(&mut world, first, &spare(&["a", "b", "c"]), &read);
    assert_eq!(of(&world, "spare"), None, "the other has not said so");
    say(&mut world, second, &spare(&["b", "d", "c"]), &read);
    let seen = of(&world, "spare").expect("found");
    assert_eq!(
        (seen.items, seen.subject.as_str()),
        (vec!["b".into(), "c".into()], "service orders")
    );
    say(&mut world, second, &spare(&["d"]), &read);
    assert_eq!(of(&world, "spare"), None, "nothing is spare to both");
    assert_eq!(notes(&world, "spare"), 0, "one member's is no news");
}

#[test]
fn a_diagnosis_tells_what_there_is_nothing_to_look_at_for() {
    let mut world = World::new(3);
    world.create("orders").expect("accepted");
    let home = world.home();
    assert_eq!(light(&world, "failover-safe"), Light::NotApplicable);
    assert_eq!(light(&world, "backup-recent"), Light::NotApplicable);
    assert_eq!(light(&world, "state-lasts"), Light::Green);
    world.report(home, M::Hung);
    assert_eq!(light(&world, "loud"), Light::Unread);
    world.kill_agent(home);
    world.pass(Span::secs(30));
    assert_eq!(light(&world, "agent-heard"), Light::Yellow);
    let all = world.cell.all_findings(world.now);
    assert!(all.windows(2).all(|pair| pair[0].severity >= pair[1].severity));
    for finding in all {
        let known = evenkeel_core::lifecycle_checks::named(&finding.check);
        assert_eq!(known.map(|own| own.family), Some(finding.family), "{finding:?}");
    }
}
