//! Incidents in a small world: what falls together is told once, down a chain, until a person knows.

use evenkeel_core::alert::{IncidentId, Purpose};
use evenkeel_core::backup::engine::Engine;
use evenkeel_core::backup::job::Missed;
use evenkeel_core::backup::lineage::{Location, Repository};
use evenkeel_core::cell::Cell;
use evenkeel_core::goal::Password;
use evenkeel_core::member::State as M;
use evenkeel_core::order::{Keys, Order};
use evenkeel_core::report::Sight;
use evenkeel_core::time::Span;
use evenkeel_core::view;

use crate::world::{Channel, World, setup};

const BOTH: [(&str, Channel); 2] = [("pager", Channel::Confirms), ("mail", Channel::Confirms)];

/// Services of one member each on three hosts.
fn fleet(services: usize, channels: &[(&str, Channel)]) -> World {
    let mut world = World::new(3);
    world.channels(channels);
    for n in 0..services {
        world.create(&format!("s{n}")).expect("accepted");
    }
    world.pass(Span::secs(2));
    world
}

/// The host of the first service is lost.
fn lose_host(world: &mut World) -> String {
    let home = world.home();
    world.sight = Sight::Refused;
    world.kill_agent(home);
    world.agents[home].name.clone()
}

fn incidents(world: &World) -> Vec<view::Incident> {
    world.cell.incidents(true, world.now)
}

/// Channel and incident of everything that was to be told for a purpose.
fn told(world: &World, purpose: Purpose) -> Vec<(String, u32)> {
    let of = world.alerts.iter().filter(|delivery| delivery.notice.purpose == purpose);
    of.map(|delivery| (delivery.channel.to_string(), delivery.notice.incident.0)).collect()
}

fn raised(world: &World, channel: &str) -> usize {
    told(world, Purpose::Raise).iter().filter(|(to, _)| to == channel).count()
}

fn acknowledge(world: &mut World, id: u32) {
    let order = Order::Acknowledge { incident: IncidentId(id), note: Some("on it".to_owned()) };
    world.order(order).expect("accepted");
}

#[test]
fn a_lost_host_with_many_services_is_one_incident_and_one_page() {
    let mut world = fleet(9, &BOTH);
    let host = lose_host(&mut world);
    world.pass(Span::secs(60));
    assert!(incidents(&world).is_empty(), "it may be starting anew");
    world.pass(Span::secs(25));
    let all = incidents(&world);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(all[0].domain, format!("host {host}"));
    assert_eq!((all[0].state.as_str(), all[0].folded), ("paged", 3));
    assert_eq!(
        all[0].stands_out.as_deref(),
        Some("3 of 3 services there, against 0 of 6 elsewhere")
    );
    assert_eq!(told(&world, Purpose::Raise), [("pager".to_owned(), 1)]);
    assert_eq!(world.service().expect("there").incident, Some(IncidentId(1)));
    assert!(world.said(&format!("s0: part of incident i1: host {host}")));
    // The host's own trouble, minutes later, is part of it.
    acknowledge(&mut world, 1);
    world.pass(Span::mins(12));
    assert_eq!(incidents(&world).len(), 1);
    assert_eq!(incidents(&world)[0].folded, 4);
    assert_eq!(raised(&world, "pager"), 1, "who knows is left alone");
}

#[test]
fn a_host_that_starts_anew_within_a_minute_wakes_nobody() {
    let mut world = fleet(9, &BOTH);
    lose_host(&mut world);
    world.pass(Span::secs(45));
    world.sight = Sight::Answered;
    world.agents.iter_mut().for_each(|agent| agent.alive = true);
    world.pass(Span::mins(5));
    assert!(incidents(&world).is_empty());
    assert_eq!(told(&world, Purpose::Raise), []);
}

#[test]
fn it_is_resolved_when_all_are_fine_for_a_while_and_whoever_was_told_hears_it() {
    let mut world = fleet(3, &BOTH);
    lose_host(&mut world);
    world.pass(Span::secs(85));
    world.sight = Sight::Answered;
    world.agents.iter_mut().for_each(|agent| agent.alive = true);
    world.pass(Span::secs(40));
    assert_eq!(incidents(&world)[0].state, "paged", "not before a minute has passed");
    world.pass(Span::secs(30));
    assert_eq!(incidents(&world)[0].state, "resolved");
    assert_eq!(told(&world, Purpose::Resolve), [("pager".to_owned(), 1)]);
    world.pass(Span::mins(16));
    assert_eq!(incidents(&world)[0].state, "closed");
    assert!(world.cell.incidents(false, world.now).is_empty());
    assert_eq!(world.service().expect("there").incident, None);
}

#[test]
fn one_that_flaps_is_the_same_and_who_acknowledged_it_is_not_told_again() {
    for known in [false, true] {
        let mut world = fleet(1, &BOTH);
        let home = world.home();
        world.agents[home].works = false;
        world.report(home, M::CrashLooping);
        world.pass(Span::mins(5));
        assert_eq!(incidents(&world).len(), 1);
        if known {
            acknowledge(&mut world, 1);
        }
        let before = raised(&world, "pager");
        world.agents[home].works = true;
        world.report(home, M::Ready);
        world.pass(Span::mins(3));
        assert_eq!(incidents(&world)[0].state, "resolved");
        world.agents[home].works = false;
        world.report(home, M::CrashLooping);
        world.pass(Span::mins(5));
        let all = incidents(&world);
        assert_eq!(all.len(), 1, "{all:#?}");
        let (state, again) = (all[0].state.as_str(), raised(&world, "pager") > before);
        assert_eq!((state, again), if known { ("acknowledged", false) } else { ("paged", true) });
    }
}

#[test]
fn the_next_channel_is_told_when_one_fails_is_silent_or_nobody_acknowledges() {
    for (first, after) in [
        (Channel::Refuses, Span::secs(1)),
        (Channel::Hangs, Span::secs(32)),
        (Channel::Confirms, Span::secs(62)),
    ] {
        let mut world = fleet(1, &[("pager", first), ("mail", Channel::Confirms)]);
        lose_host(&mut world);
        while raised(&world, "pager") == 0 {
            world.pass(Span::secs(1));
        }
        if after > Span::secs(3) {
            world.pass(Span(after.0 - 3000));
            assert_eq!(raised(&world, "mail"), 0, "{first:?}: too soon");
            world.pass(Span::secs(3));
        } else {
            world.pass(after);
        }
        assert_eq!(raised(&world, "mail"), 1, "{first:?}");
        acknowledge(&mut world, 1);
        world.pass(Span::mins(30));
        assert_eq!((raised(&world, "pager"), raised(&world, "mail")), (1, 1), "{first:?}");
    }
}

#[test]
fn until_somebody_acknowledges_it_begins_with_the_first_again() {
    let mut world = fleet(1, &BOTH);
    lose_host(&mut world);
    world.pass(Span::mins(20));
    assert!(
        raised(&world, "pager") >= 3 && raised(&world, "mail") >= 2,
        "{:?}",
        world.alerts.len()
    );
    assert!(told(&world, Purpose::Raise).iter().all(|(_, incident)| *incident == 1));
}

#[test]
fn a_restart_goes_on_where_the_chain_was_under_the_same_number() {
    let mut world = fleet(1, &[("pager", Channel::Hangs), ("mail", Channel::Confirms)]);
    lose_host(&mut world);
    while raised(&world, "pager") == 0 {
        world.pass(Span::secs(1));
    }
    let first = world.alerts.last().expect("told").clone();
    world.restart_controller();
    assert_eq!(raised(&world, "pager"), 2, "what was on its way goes out again");
    let again = world.alerts.last().expect("told").clone();
    assert_eq!((again.number, again.notice.incident), (first.number, first.notice.incident));
    world.pass(Span::mins(2));
    assert_eq!((raised(&world, "pager"), raised(&world, "mail")), (2, 1));
    let (before, rows) = (incidents(&world), world.rows.len());
    world.restart_controller();
    assert_eq!(incidents(&world)[0].members.len(), before[0].members.len());
    assert_eq!((incidents(&world).len(), world.rows.len()), (1, rows));
}

#[test]
fn with_every_channel_failing_the_posture_says_so_and_it_is_tried_again() {
    let mut world = fleet(1, &[("pager", Channel::Refuses), ("mail", Channel::Hangs)]);
    lose_host(&mut world);
    world.pass(Span::mins(2));
    let fleet = world.cell.fleet(world.now);
    assert!(fleet.posture.starts_with("pager-down"), "{}", fleet.posture);
    assert!(fleet.findings.iter().all(|finding| finding.check == "alert-chain"));
    assert_eq!(fleet.findings.len(), 3, "{:#?}", fleet.findings);
    let tries = raised(&world, "pager");
    world.pass(Span::mins(30));
    let more = raised(&world, "pager") - tries;
    assert!((1..6).contains(&more), "{more} more tries");
    world.channels(&BOTH);
    world.pass(Span::mins(60));
    assert!(!world.cell.fleet(world.now).posture.starts_with("pager-down"));
    assert_eq!(incidents(&world)[0].state, "paged");
}

#[test]
fn the_chain_is_exercised_daily_and_on_order() {
    let mut world = fleet(0, &[("pager", Channel::Confirms), ("mail", Channel::Refuses)]);
    let accepted = world.order(Order::TestAlerts).expect("accepted");
    assert!(accepted.text.contains("pager, mail"), "{}", accepted.text);
    let alerts = world.cell.alerts(world.now);
    let exercised: Vec<Option<bool>> = alerts
        .channels
        .iter()
        .map(|channel| channel.exercised.as_ref().map(|outcome| outcome.confirmed))
        .collect();
    assert_eq!(exercised, [Some(true), Some(false)]);
    let findings = world.cell.fleet(world.now).findings;
    assert!(findings.iter().any(|f| f.evidence.contains("mail fails: not now")), "{findings:?}");
    let before = told(&world, Purpose::Exercise).len();
    world.policy.beat = Span::mins(1);
    world.pass(Span::mins(2 * 24 * 60 + 1));
    assert_eq!(told(&world, Purpose::Exercise).len() - before, 4, "two days");
    let mut nobody = fleet(0, &[]);
    assert!(nobody.order(Order::TestAlerts).is_err());
    let findings = nobody.cell.fleet(nobody.now).findings;
    assert!(findings[0].evidence.contains("no alert channel is configured"));
}

#[test]
fn an_acknowledged_incident_lets_a_second_failover_happen() {
    let mut world = World::new(4);
    world.channels(&BOTH);
    world.create_as("orders", Some("pair")).expect("accepted");
    world.pass(Span::secs(5));
    let home = world.home();
    let second = world.service().expect("there").members[1].host.clone();
    world.sight = Sight::Refused;
    world.kill_agent(home);
    world.pass(Span::secs(20));
    assert_eq!(world.service().expect("there").members[0].host, second, "failed over once");
    let acknowledged = world.said("it may be failed over again by itself");
    assert!(!acknowledged);
    // The other one goes too, before anybody has another standby.
    let next = world.home();
    world.kill_agent(next);
    world.pass(Span::secs(40));
    assert!(!incidents(&world).is_empty());
    let id = incidents(&world)[0].id.0;
    acknowledge(&mut world, id);
    assert!(world.said("it may be failed over again by itself"), "{:#?}", world.journal);
}

#[test]
fn an_unknown_incident_is_refused_with_where_to_look() {
    let mut world = fleet(0, &BOTH);
    let order = Order::Acknowledge { incident: IncidentId(7), note: None };
    let error = world.order(order).expect_err("there is none").to_string();
    assert!(error.contains("i7") && error.contains("evenkeel incident list"), "{error}");
}

#[test]
fn a_snapshot_has_everything_about_incidents() {
    let mut world = fleet(4, &BOTH);
    lose_host(&mut world);
    world.pass(Span::secs(60));
    let snapshot = world.cell.snapshot();
    let copy = Cell::restore(setup(), &snapshot).expect("it can be read");
    assert_eq!(copy.snapshot(), snapshot);
    assert_eq!(copy.incidents(true, world.now), incidents(&world));
    assert_eq!(copy.alerts(world.now), world.cell.alerts(world.now));
}

/// Services that archive, on three hosts, to two repositories.
fn archiving(services: usize) -> World {
    let mut world = World::new(3);
    world.channels(&BOTH);
    for name in ["north", "south"] {
        let location = Location::Directory { path: format!("/{name}") };
        let repository = Repository { name: name.to_owned(), location };
        let order = Order::AddRepository { repository };
        world.order(order).expect("accepted");
    }
    for n in 0..services {
        let keys = Keys { key: Password("k".into()), wrapped: "w".into(), engine: Engine::Native };
        let order = Order::Create {
            name: format!("s{n}"),
            kind: "toy".to_owned(),
            plan: Some("kept".to_owned()),
            secret: Vec::new(),
            keys: Some(keys),
        };
        world.order(order).expect("accepted");
    }
    world.pass(Span::secs(10));
    world
}

/// What these agents' members could not store where, from now on.
fn misses(world: &mut World, agents: &[usize], repository: Option<&str>) {
    for &at in agents {
        let missed = |name: &str| Missed { repository: name.to_owned(), over: false };
        let missed: Vec<Missed> = repository.map(missed).into_iter().collect();
        world.agents[at].misses.clone_from(&missed);
        world.report_all(at, |member| {
            member.archive.get_or_insert_default().missed.clone_from(&missed);
        });
    }
}

#[test]
fn a_repository_that_takes_nothing_for_long_is_named_and_ends_when_it_does() {
    let mut world = archiving(6);
    misses(&mut world, &[0, 1, 2], Some("south"));
    world.pass(Span::mins(59));
    assert_eq!(incidents(&world), [], "another one takes everything");
    world.pass(Span::mins(2));
    let all = incidents(&world);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!((all[0].domain.as_str(), all[0].folded), ("repository south", 6));
    assert!(all[0].evidence[0].contains("south takes nothing of its log"), "{all:#?}");
    assert_eq!(told(&world, Purpose::Raise), [("pager".to_owned(), 1)]);
    // Another trouble is not hidden in it.
    let home = world.home();
    world.agents[home].works = false;
    world.report(home, M::CrashLooping);
    world.pass(Span::mins(5));
    let other = &incidents(&world)[0];
    assert!(other.domain.starts_with("service s"), "{other:#?}");
    world.agents[home].works = true;
    world.report(home, M::Ready);
    // A controller that begins anew knows that it was told, and does not wait for an hour once more.
    world.restart_controller();
    misses(&mut world, &[0, 1, 2], Some("south"));
    world.pass(Span::mins(3));
    let of_repository = |world: &World| {
        let all = incidents(world);
        all.into_iter().find(|i| i.domain == "repository south").expect("it is kept")
    };
    assert_eq!(of_repository(&world).state, "paged");
    misses(&mut world, &[0, 1, 2], None);
    world.pass(Span::mins(2));
    assert_eq!(of_repository(&world).state, "resolved");
}

#[test]
fn what_few_services_cannot_reach_is_not_what_is_broken() {
    let mut world = archiving(9);
    misses(&mut world, &[1], Some("south"));
    world.pass(Span::mins(62));
    let domains: Vec<String> = incidents(&world).into_iter().map(|i| i.domain).collect();
    assert!(!domains.is_empty(), "somebody is told");
    assert!(domains.iter().all(|domain| !domain.starts_with("repository")), "{domains:?}");
}

#[test]
fn a_rack_that_is_lost_is_named_before_its_hosts_and_its_zone() {
    let mut world = World::new(9);
    world.channels(&BOTH);
    for (at, agent) in world.agents.iter_mut().enumerate() {
        agent.rack = Some(if at < 6 { "r1" } else { "r2" }.to_owned());
    }
    world.redial();
    for n in 0..18 {
        world.create(&format!("s{n}")).expect("accepted");
    }
    world.pass(Span::secs(2));
    world.sight = Sight::Refused;
    // Both hosts of rack r1 in zone a, and not the third one of the zone.
    world.kill_agent(0);
    world.kill_agent(3);
    world.pass(Span::secs(90));
    let all = incidents(&world);
    let domains: Vec<&str> = all.iter().map(|i| i.domain.as_str()).collect();
    assert_eq!(domains, ["rack a/r1"], "{all:#?}");
    assert_eq!(all[0].folded, 4);
}

#[test]
fn a_release_that_fails_everywhere_is_named_with_its_version() {
    let mut world = World::new(6);
    for (at, agent) in world.agents.iter_mut().enumerate() {
        let version = if at < 3 { "15" } else { "16" };
        agent.image = (format!("image {at}"), Some(version.to_owned()));
    }
    world.redial();
    for n in 0..18 {
        world.create(&format!("s{n}")).expect("accepted");
    }
    world.pass(Span::secs(2));
    for at in 3..6 {
        world.agents[at].works = false;
        world.report_all(at, |member| {
            (member.state, member.write_proven) = (M::CrashLooping, false);
        });
    }
    world.pass(Span::mins(5));
    let all = incidents(&world);
    let domains: Vec<&str> = all.iter().map(|i| i.domain.as_str()).collect();
    assert_eq!(domains, ["version toy 16"], "{all:#?}");
}
