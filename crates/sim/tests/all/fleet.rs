//! Scenarios at scale: each holds with a fleet that is small enough for a test, and comes to the same on any
//! number of threads.

use evenkeel_sim::Mutation;
use evenkeel_sim::edges::Edges;
use evenkeel_sim::fleet::{BUNDLED, How, Outcome, Script, bundled, html, run};
use evenkeel_sim::report::{Checked, Invariant};

fn play(name: &str, services: u32, threads: usize) -> Outcome {
    let text = bundled(name).expect("it is bundled").text;
    let script = Script::parse(name, text).expect("bundled ones are scenarios");
    let how = How { services: Some(services), threads, seed: 3, ..How::default() };
    run(&script, &how, &mut |_| {})
}

#[test]
fn every_bundled_scenario_holds() {
    let mut edges = Edges::default();
    for scenario in BUNDLED {
        let services = match scenario.name {
            "s3-outage-2017" | "stuck-archive-2021" | "names-2025" => 300,
            _ => 600,
        };
        let outcome = play(scenario.name, services, 0);
        assert_eq!(outcome.held(), Ok(()), "{}", scenario.name);
        assert_eq!(outcome.report.services, u64::from(services), "{}", scenario.name);
        edges.add(&outcome.report.edges);
    }
    // What each of them is there for happens in one at least.
    println!("edges: {}", edges.summary());
    let missed: Vec<String> = edges.missed().iter().map(ToString::to_string).collect();
    for edge in [
        "host: Uncertain -> Down by ConfirmedDown",
        "service health: Healthy -> Unavailable by ConfirmedDown",
        "service health: Unavailable -> Healthy by WriteProven",
        "member: Failed -> CrashLooping by BudgetSpent",
        "member: Starting -> Recovering by Replaying",
        "incident: Paged -> Acknowledged by Acknowledge",
        "incident: Acknowledged -> Resolved by Fine",
    ] {
        assert!(!missed.contains(&edge.to_owned()), "no scenario takes {edge}");
    }
}

#[test]
fn one_seed_gives_one_report_on_any_number_of_threads() {
    // Three cells of their own, so that there is something to divide.
    let text = bundled("zone-loss").unwrap().text.replace("per_cell = 2500", "per_cell = 200");
    let script = Script::parse("zone-loss", &text).unwrap();
    let digest = |threads, seed| {
        let how = How { services: Some(600), threads, seed, ..How::default() };
        let outcome = run(&script, &how, &mut |_| {});
        assert_eq!(outcome.cells, 3);
        outcome.report.report_digest
    };
    assert_eq!(digest(1, 3), digest(2, 3));
    assert_ne!(digest(1, 3), digest(1, 4));
}

/// Storage is away for two hours, and what waited comes back.
fn storage_away(naive: bool) -> Outcome {
    let text =
        SMALL.replace("lasts = '4 min'", "lasts = '160 min'\nstorage_per_thousand = 1000").replace(
            "{ at = '40 s', storage = 'down' }",
            "{ at = '40 s', storage = 'down' }, { at = '120 min', storage = 'up' }",
        );
    let script = Script::parse("away", &text).expect("a good script");
    run(&script, &How { naive, ..How::default() }, &mut |_| {})
}

#[test]
fn a_page_has_everything_and_fetches_nothing() {
    let outcome = play("zone-loss", 300, 0);
    let page = html(&outcome, 1.0, 1 << 20, &[(100, 0.5)], None);
    for part in [
        "Everything held",
        "<svg",
        "lose their power",
        "one writer at a time",
        "as in many public",
        "up to 7 h for a fifth",
        "https://aws.amazon.com/message/67457/",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("Where nobody holds back"));
    let (held, naive) = (storage_away(false), storage_away(true));
    let beside = html(&held, 1.0, 1 << 20, &[], Some(&naive));
    for part in ["Where nobody holds back", "everything well again"] {
        assert!(beside.contains(part), "{part}");
    }
    // The dependency would be pushed over, and is not.
    assert!(naive.storage_overloaded_seconds > held.storage_overloaded_seconds * 10);
    assert!(naive.storage_worst_percent > 1_000 && held.storage_worst_percent < 1_000);
    let fetched = ["<script", "src=", "url(", "<link"];
    assert!(fetched.iter().all(|part| !page.contains(part)));
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    let text = bundled("zone-loss").unwrap().text;
    let error = |from: &str, to: &str| {
        Script::parse("mine", &text.replace(from, to)).unwrap_err().to_string()
    };
    assert!(error("per_cell = 2500", "per_cell = 20000").contains("per_cell: 1 to 10000"));
    assert!(error("ha = 20", "nonsense = 20").contains("there is no plan nonsense; there are: "));
    assert!(error("services = 10000", "services = 0").contains("services: 1 to"));
    assert!(error("zone = \"a\"", "zone = \"x\"").contains("no zone x; there are: a, b, c"));
    assert!(error("zone = \"a\"", "rack = \"a1\"").contains("no rack a1; each zone has 0"));
    assert!(error("zone = \"a\"", "region = 2").contains("no region 2; there are 1"));
    let pager = "power_off = { zone = \"a\", lasts = \"20 min\", and_up_to = \"10 min\" }";
    let other = "channel = { name = \"fax\", is = \"hangs\" }";
    assert!(error(pager, other).contains("there is no channel fax"));
}

/// Why a small script with one thing otherwise is not run, with all causes.
fn refused(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    let error = Script::parse("mine", &SMALL.replace(from, to)).expect_err(to);
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

#[test]
fn what_would_say_nothing_is_refused_by_name() {
    let down = "{ at = '40 s', storage = 'down' }";
    for (from, to, why) in [
        (
            down,
            "{ at = '40 s', strorage = 'down' }",
            "timeline at 40 s: unknown variant `strorage`",
        ),
        (down, "{ at = '40 s', storage = 'down', dns = 'down' }", "not dns, storage"),
        (down, "{ at = '40 s', storage = 'down', zone = 'a' }", "not storage, zone"),
        (down, "{ at = '40 s' }", "not nothing"),
        (down, "{ storage = 'down' }", "says when"),
        (down, "{ at = '5', storage = 'down' }", "5"),
        (down, "{ at = '4 min', storage = 'down' }", "at 4 min it is over: it lasts 4 min"),
        (down, "{ at = '1 s', bad_image = { lasts = '1 s' } }", "canary_percent is 0"),
        (down, "{ at = '1 s', clock_jump = { by_s = 0 } }", "by_s"),
        (down, "{ at = '1 s', clock_jump = { by_s = -9223372036854775808 } }", "by_s"),
        ("zone = 'a'", "percent = 0", "percent: 1 to 100, not 0"),
        ("lasts = '30 s', and_up_to = '10 s'", "lasts = '0 s'", "it says how long"),
        ("lasts = '4 min'", "lasts = '0 s'", "lasts: a second at least"),
        ("['pager']", "['pager', 'pager']", "pager is there twice"),
        ("services = 60", "services = 60\ndisk_gib = 0", "disk_gib: 1 to"),
        ("services = 60", "services = 60\nstorage_per_thousand = 0", "storage_per_thousand: 1"),
        ("services = 60", "services = 60\nused_percent = [90, 20]", "used_percent"),
        ("services = 60", "services = 60\nused_percent = [90, 200]", "0 to 99, not 200"),
        ("[policy]", "[policy]\nbeat = 0", "`beat` is 0"),
        (
            "title = 'a'",
            "title = 'a'\nassertions = [{ posture = { is = 'storm', percent = 1 } }]",
            "no posture storm; there are: normal, observer_suspect",
        ),
        (
            "title = 'a'",
            "title = 'a'\nassertions = [{ posture = { is = 'normal', percent = 0 } }]",
            "percent of a posture: 1 to 100",
        ),
    ] {
        let error = refused(from, to);
        assert!(error.contains(why), "{to}: {error}");
    }
    assert!(refused(down, "{}").contains("`evenkeel sim run zone-loss --script`"));
}

/// A zone that is still dark when the run ends.
#[test]
fn an_outage_that_lasts_on_is_counted_until_the_end() {
    let dark = SMALL
        .replace("lasts = '30 s', and_up_to = '10 s'", "lasts = '300 min'")
        .replace("title = 'a'", "title = 'a'\nassertions = [{ outage_max = '3 min' }]");
    let script = Script::parse("dark", &dark).expect("a good script");
    let outcome = run(&script, &How::default(), &mut |_| {});
    let down = outcome.points.last().map_or(0, |point| point.down);
    assert!(down > 0, "nobody is down");
    // From T + 10 s on; what is looked at rarely is looked at to some seconds.
    assert!((225_000..=230_000).contains(&outcome.worst_outage_ms), "{}", outcome.worst_outage_ms);
    assert!(
        outcome.report.unavailable_service_seconds
            > 225.0 * f64::from(u32::try_from(down).unwrap())
    );
    let not_so: Vec<&str> =
        outcome.report.assertions.iter().filter(|a| !a.held).map(|a| a.text.as_str()).collect();
    assert_eq!(not_so.len(), 2, "{not_so:?}");
    assert!(not_so[0].starts_with("no service is out for longer than"), "{not_so:?}");
    assert!(not_so[1].contains(&format!("clients of {down} cannot write")), "{not_so:?}");
}

#[test]
fn services_whose_controller_is_away_were_made_all_the_same() {
    let away = SMALL.replace("storage = 'down'", "control_store = 'down'");
    let script = Script::parse("away", &away).expect("a good script");
    let outcome = run(&script, &How::default(), &mut |_| {});
    let of = |part: &str| {
        let all = &outcome.report.assertions;
        all.iter().find(|assertion| assertion.text.contains(part)).expect(part)
    };
    assert!(of("all 60 services were made (60)").held);
    assert!(!of("in the end every service is available (0 are not, of 60 nobody knows").held);
}

#[test]
fn a_cache_waits_for_no_storage_and_its_standbys_copy_what_a_primary_without_power_has_left() {
    let caches = SMALL
        .replace("{ ha = 50 }", "{ 'cache/single' = 50, 'cache/pair' = 50 }")
        .replace("lasts = '30 s', and_up_to = '10 s'", "lasts = '1 s'");
    let play = |text: &str| {
        let script = Script::parse("caches", text).expect("a good script");
        let outcome = run(&script, &How::default(), &mut |_| {});
        assert_eq!(outcome.held(), Ok(()));
        outcome
    };
    let outcome = play(&caches);
    assert!(outcome.starts > 0 && outcome.promotions == 0, "{}", outcome.promotions);
    assert!(outcome.points.iter().all(|point| point.waiting == 0), "a cache has no archive");
    // Each start reads the whole file.
    assert!(outcome.worst_outage_ms > 4_000, "{}", outcome.worst_outage_ms);
    assert!(outcome.copies > 0, "what a primary lost is with its standby, which goes on from it");
    // A process that dies has lost nothing: who follows goes on.
    let killed =
        play(&caches.replace("power_off = { zone = 'a', lasts = '1 s' }", "kill_servers = {}"));
    assert!(killed.starts > outcome.starts && killed.copies == 0, "{}", killed.copies);
}

/// Two cells, with hosts that lose their power, and storage that gives no answer.
const SMALL: &str = "
title = 'a'
story = 'b'
timeline = [
    { at = '10 s', power_off = { zone = 'a', lasts = '30 s', and_up_to = '10 s' } },
    { at = '40 s', storage = 'down' },
]
[fleet]
services = 60
per_cell = 30
plans = { ha = 50 }
lasts = '4 min'
channels = ['pager']
[policy]
cell_emergencies_max = 2
incidents = { archive_after = 60000 }
";

#[test]
fn every_rule_that_is_broken_is_found_by_its_checker() {
    let script = Script::parse("small", SMALL).expect("a good script");
    let play = |mutation| {
        let outcome = run(&script, &How { mutation, ..How::default() }, &mut |_| {});
        let of = |(rule, all): (&Invariant, &Checked)| (all.broken > 0).then_some(*rule);
        let broken: Vec<Invariant> = outcome.report.invariants.iter().filter_map(of).collect();
        for rule in [Invariant::BudgetsKept, Invariant::JournalReplays, Invariant::GoalsAreReached]
        {
            let looks = outcome.report.invariants.get(&rule).map_or(0, |looks| looks.checked);
            assert!(looks > 0, "{rule} is not looked at");
        }
        (broken, outcome.broken)
    };
    assert_eq!(play(None), (vec![], None));
    let rules = [
        (Mutation::NoBudgets, Invariant::BudgetsKept, "2 are allowed"),
        (Mutation::ForgetsRow, Invariant::JournalReplays, "and recorded is"),
        (Mutation::NeverBack, Invariant::GoalsAreReached, "does not run"),
        (Mutation::TellsEach, Invariant::PeopleAreTold, "told again"),
    ];
    for (mutation, rule, words) in rules {
        let (broken, told) = play(Some(mutation));
        assert!(broken.contains(&rule), "{mutation:?}: {broken:?} {told:?}");
        assert!(told.as_ref().is_some_and(|told| told.contains(words)), "{mutation:?}: {told:?}");
    }
}

#[test]
fn who_is_slow_is_not_gone_and_is_given_up_later() {
    let zone = "power_off = { zone = 'a', lasts = '30 s', and_up_to = '10 s' }";
    let plans = "{ ha = 60, ha-async = 20, 'cache/pair' = 20 }";
    let script = SMALL
        .replace("cell_emergencies_max = 2", "")
        .replace("{ ha = 50 }", plans)
        .replace("storage = 'down'", zone);
    let play = |first: &str, then: &str| {
        let text = script.replacen(zone, first, 1).replacen(zone, then, 1);
        let script = Script::parse("slow", &text).expect("a good script");
        let outcome = run(&script, &How::default(), &mut |_| {});
        assert_eq!(outcome.held(), Ok(()));
        outcome
    };
    let (slow, nothing) =
        ("slow = { by = '400 ms', lasts = '3 min' }", "cut_streams = { percent = 1 }");
    // What is said arrives later, and commits take as long: nobody is gone for it.
    let calm = play(slow, nothing);
    assert_eq!((calm.promotions, calm.starts, calm.worst_outage_ms), (0, 0, 0));
    assert_eq!(calm.report.pages, 0);
    // Whoever is gone meanwhile is given up all the same, as much later as news of it takes.
    let (late, soon) = (play(slow, zone), play(nothing, zone));
    assert!(late.promotions > 0 && soon.promotions > 0);
    let (late, soon) = (late.worst_outage_ms, soon.worst_outage_ms);
    assert!(late >= soon + 800, "{late} {soon}");
}
