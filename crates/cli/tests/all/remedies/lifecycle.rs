//! What the lifecycle sees: servers that die again and again, that hang, that are lost; standbys that go and
//! come back.

use rustix::process::Signal;
use serde_json::json;

use super::{
    DISK_OFF, Rules, SOON, brake, create, freeze, held, journal, member, pid, ran, serves,
    until_held, until_ran, until_whole, while_away,
};
use crate::fleet::{Fleet, send, software, until};

/// Restarts that an agent has for a server here; a standby that hangs uses one up each time.
const RESTARTS: usize = 4;

/// A member's server dies whenever it was started: more often than its restarts allow.
fn kill_often(fleet: &Fleet, service: &str) {
    let mut before = None;
    for _ in 0..=RESTARTS {
        let mut next = None;
        until(30, &format!("a server of {service} runs"), || {
            next = pid(&member(fleet, service, "primary")).filter(|pid| before != Some(*pid));
            next.is_some()
        });
        before = next;
        send(next.expect("waited for"), Signal::KILL);
    }
}

#[test]
fn what_the_lifecycle_sees_is_healed_and_refused() {
    if !software("what_the_lifecycle_sees_is_healed_and_refused") {
        return;
    }
    let policy =
        json!({ "down_after": 2000, "relax_after": 500, "backup_first_within": 3_600_000 });
    let rules = Rules::new(
        "seen",
        &policy,
        &[DISK_OFF, ("restart", "tries_max = 1", &format!("tries_max = {RESTARTS}"))],
    );
    let fleet = Fleet::start("seen", &rules.with(&[]));
    for (service, plan) in
        [("loop", "dev"), ("stuck", "dev"), ("pay", "ha"), ("web", "ha"), ("api", "ha")]
    {
        create(&fleet, service, plan);
    }
    ["pay", "web", "api"].iter().for_each(|service| until_whole(&fleet, service));
    // Each is kept from running by the brake, and says so.
    brake(&fleet, "on");
    kill_often(&fleet, "loop");
    kill_often(&fleet, "pay");
    freeze(&member(&fleet, "stuck", "primary"));
    while_away(&fleet, "web", || until_held(&fleet, "web", "relax", "somebody looks", 0));
    for (service, remedy) in [("loop", "crash-loop"), ("pay", "failover"), ("stuck", "hung")] {
        until_held(&fleet, service, remedy, "somebody looks", 0);
    }
    let page = fleet.ok(&["show", "loop"]);
    assert!(page.contains("remedy crash-loop is refused its claim"), "{page}");
    let said = journal(&fleet, "loop");
    assert!(said.contains("remedy restart: its agent starts it again"), "{said}");
    // Its standby is back, and nothing is wanted any more, before anything may be done about it.
    until_whole(&fleet, "web");
    until(SOON, "commits of web need nothing", || held(&fleet, "web").is_empty());
    brake(&fleet, "off");
    for (service, remedy) in
        [("loop", "crash-loop"), ("stuck", "hung"), ("pay", "failover"), ("pay", "rejoin")]
    {
        until_ran(&fleet, service, remedy);
    }
    ["loop", "stuck", "pay"].iter().for_each(|service| serves(&fleet, service));
    ["pay", "web"].iter().for_each(|service| until_whole(&fleet, service));
    // Its agent ends it hard and starts it: it is back within seconds, and only then is it counted on.
    let restore = |level: &str| {
        fleet.ok(&["remedy", "level", "restore", level, "--service", "web"]);
    };
    restore("off");
    while_away(&fleet, "web", || until_ran(&fleet, "web", "relax"));
    brake(&fleet, "on");
    restore("auto");
    until_held(&fleet, "web", "restore", "somebody looks", 0);
    brake(&fleet, "off");
    until_ran(&fleet, "web", "restore");
    until_whole(&fleet, "web");
    serves(&fleet, "web");
    spent(&fleet);
    off(&fleet);
}

/// The same again: the one try of each is used up, and who is to look is told when it is tried again.
fn spent(fleet: &Fleet) {
    kill_often(fleet, "loop");
    freeze(&member(fleet, "stuck", "primary"));
    while_away(fleet, "web", || until_held(fleet, "web", "relax", "are used up", 1));
    // A primary that may not give its place away is repaired where it is. It counts on its standby
    // throughout: with nobody counted on, a failover would not be wanted at all.
    fleet.ok(&["remedy", "level", "relax", "off", "--service", "pay"]);
    kill_often(fleet, "pay");
    until_ran(fleet, "pay", "crash-loop");
    let said = journal(fleet, "pay");
    assert!(said.contains("the tries of remedy failover are used up"), "{said}");
    assert_eq!(ran(fleet, "pay", "failover"), 1);
    serves(fleet, "pay");
    until_whole(fleet, "pay");
    // What a person orders is counted against nobody; who makes the old primary anew is.
    for times in 0..2 {
        fleet.ok(&["failover", "api", "--reason", "a test"]);
        if times == 0 {
            until_ran(fleet, "api", "rejoin");
            until_whole(fleet, "api");
        }
    }
    until_held(fleet, "api", "rejoin", "are used up", 1);
    for (service, remedy) in [("loop", "crash-loop"), ("stuck", "hung")] {
        until_held(fleet, service, remedy, "are used up", 1);
        let why = held(fleet, service);
        assert!(why.contains("a person must look, and it is tried again in"), "{why}");
    }
    let said = journal(fleet, "loop");
    assert!(said.contains("its agent: it died too often"), "{said}");
}

/// What an agent does by itself is refused by level, and by name.
fn off(fleet: &Fleet) {
    fleet.ok(&["remedy", "level", "restart", "off", "--service", "web"]);
    until(SOON, "its agent took it", || {
        let member = member(fleet, "web", "primary");
        member["goal"] == member["applied"] && fleet.show("web")["operation"].is_null()
    });
    let primary = pid(&member(fleet, "web", "primary")).expect("it runs");
    send(primary, Signal::KILL);
    until(SOON, "its death is told", || {
        journal(fleet, "web").contains("remedy restart is kept from running by its level or a pin")
    });
}
