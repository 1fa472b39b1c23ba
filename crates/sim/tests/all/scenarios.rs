//! Every bundled scenario holds, and its page is what it does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_sim::scenario::{self, BUNDLED, How, Script};

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares with the golden page; `EVENKEEL_BLESS=1` writes it.
fn golden(file: &str, page: &str) {
    let path = folder("../../docs/scenarios").join(file);
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(&path, page).expect("the golden page can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, page, "{file} is out of date: run EVENKEEL_BLESS=1 cargo test");
}

/// Names of a folder's files with this ending.
fn names(path: &str, ending: &str) -> BTreeSet<String> {
    let files = fs::read_dir(folder(path)).expect("readable").filter_map(Result::ok);
    let name = |file: fs::DirEntry| {
        file.file_name().to_str().and_then(|name| name.strip_suffix(ending)).map(str::to_owned)
    };
    files.filter_map(name).collect()
}

#[test]
fn every_bundled_scenario_holds_and_its_page_is_current() {
    for scenario in BUNDLED {
        let run = scenario.run().expect("a good script");
        assert_eq!(run.held, Ok(()), "{}:\n{}", scenario.name, run.transcript);
        golden(&format!("{}.md", scenario.name), &scenario.page_of(&run).expect("a good script"));
    }
    golden("README.md", &scenario::index().expect("good scripts"));
}

#[test]
fn every_file_is_bundled_and_every_page_has_its_scenario() {
    let bundled: BTreeSet<String> = BUNDLED.iter().map(|s| s.name.to_owned()).collect();
    assert_eq!(names("scenarios", ".toml"), bundled);
    let mut pages = names("../../docs/scenarios", ".md");
    pages.remove("README");
    assert_eq!(pages, bundled);
}

#[test]
fn who_would_have_been_told_is_counted_without_channels_too() {
    let run = scenario::bundled("lost-host").expect("it is bundled").run().expect("a good script");
    assert!(run.transcript.contains("pages: 1,"), "{}", run.transcript);
    assert_eq!(run.report.pages, 1);
}

fn run(steps: &str, end: &str) -> Result<(), String> {
    let text = format!(
        "title = 'a'\nstory = 'b'\nhosts = 3\nsteps = [{{ create = 'orders' }}, \
         {{ expect = {{ service = 'orders', state = 'available', within = '10 s' }} }}, {steps}]\n\
         [end.orders]\nstate = 'available'\n{end}"
    );
    Script::parse("test", &text).expect("a good script").run().held
}

#[test]
fn what_is_not_so_is_told() {
    assert_eq!(run("", ""), Ok(()));
    let not_so = [
        (
            "{ expect = { service = 'orders', state = 'retired', within = '1 s' } }",
            "",
            "not within",
        ),
        ("{ expect = { service = 'orders', operation = 'restart' } }", "", "not within"),
        ("{ expect = { service = 'orders', finding = 'disk-space' } }", "", "not within"),
        ("{ expect_host = { host = 'h1', state = 'down' } }", "", "not within"),
        ("{ journal = { about = 'orders', says = 'page: ' } }", "", "not within"),
        (
            "{ kill_server = 'orders' }, { stays = { service = 'orders', state = 'available', \
             for = '5 s' } }",
            "",
            "it did not",
        ),
        ("{ kill_server = 'orders' }, { wait = '5 s' }", "starts = 1", "2 times"),
        ("{ kill_server = 'orders' }, { wait = '5 s' }", "outage_max = '10 ms'", "waited"),
        ("", "pages = 1", "0 times"),
        ("{ retire = 'orders' }, { wait = '5 s' }", "", "is retired"),
        ("{ kill_server = 'payments' }", "", "no agent knows"),
        ("{ power_off = 'h9' }", "", "no such host"),
    ];
    for (steps, end, expected) in not_so {
        let told = run(steps, end).expect_err(steps);
        assert!(told.contains(expected), "{steps} {end}: {told}");
    }
}

#[test]
fn a_scenario_runs_by_its_own_rules() {
    let text = include_str!("../../scenarios/lost-host.toml");
    let patient = format!("policy = {{ down_after = 60000 }}\n{text}");
    let held = Script::parse("patient", &patient).expect("a good script").run().held;
    assert!(held.expect_err("down later").contains("orders is unavailable: not within 15 s"));
}

#[test]
fn a_report_adds_up_and_is_the_same_for_the_same_seed() {
    let script = scenario::bundled("lost-primary").expect("it is there").script().expect("good");
    let seeded = |seed| script.run_how(How { seed, ..How::default() }).report;
    let report = seeded(7);
    assert_eq!(report, seeded(7));
    assert_ne!(report.report_digest, seeded(8).report_digest, "the seed is part of it");
    assert_eq!((report.scenario.as_str(), report.seed, report.services), ("lost-primary", 7, 1));
    assert!(report.assertions.iter().all(|assertion| assertion.held), "{report:?}");
    assert_eq!(report.assertions.len(), 7);
    assert!(report.invariants.values().all(|all| all.checked > 0 && all.broken == 0), "{report:?}");
    // A failover, and the old primary came back.
    assert_eq!((report.recovered, report.lost_acknowledged_writes, report.pages), (2, 0, 0));
    assert!(report.toil_minutes_saved > 0 && report.turns > report.transitions);
    let outage = report.unavailable_service_seconds;
    assert!(outage > 1.0 && outage < 4.0, "{outage}");
    assert_eq!(report.recoveries_per_second_peak, 1);
}
