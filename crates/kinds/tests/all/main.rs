//! A page for every check, procedure and remedy, held against what the code says.

use std::fmt::Write as _;
use std::path::PathBuf;

use evenkeel_core::check::{Asked, Check, Pace, Place, Reading, Thresholds};
use evenkeel_core::procedure::Procedure;
use evenkeel_kinds::{KINDS, host, procedures, remedies};

/// Compares with the golden page; `EVENKEEL_BLESS=1` writes it.
#[allow(clippy::disallowed_methods, reason = "a test may write the golden page it is asked to")]
fn golden(file: &str, page: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(file);
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        std::fs::write(&path, page).expect("the golden page can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, page, "{file} is out of date: run EVENKEEL_BLESS=1 cargo test");
}

fn example(reading: &Reading) -> String {
    let columns: Vec<String> = reading.0.iter().map(|(k, v)| format!("`{k} = {v}`")).collect();
    columns.join(", ")
}

fn page(of: &str, check: &dyn Check) -> String {
    let found =
        check.judge(&check.firing(), &Thresholds::default()).expect("its firing example fires");
    let asked = match of {
        "host" => format!("The host's reading `{}`.", check.question()),
        _ => format!("```sql\n{}\n```", check.question().trim()),
    };
    let often = match check.pace() {
        Pace::Often => "each half minute",
        Pace::Rarely => "each ten minutes",
    };
    let whom = match (of, check.asked(), check.place()) {
        ("host", ..) => "the host's agent",
        (_, _, Place::Owner) => "the primary, in the owner's database with the owner's rights",
        (_, Asked::Primary, Place::Databases) => "the primary, in each database",
        (_, _, Place::Databases) => "every member, in each database",
        (_, Asked::Primary, Place::Server) => "the primary",
        (_, Asked::Standbys, Place::Server) => "standbys",
        (_, Asked::Everyone, Place::Server) => "every member",
    };
    let limits = Thresholds::default();
    let limits: String = check.thresholds().iter().fold(String::new(), |mut text, name| {
        let value = limits.value(name).expect("the registry is sound");
        writeln!(text, "- `{name}`: {value}").expect("text");
        text
    });
    let limits = match limits.as_str() {
        "" => String::new(),
        limits => format!("## Thresholds, and their defaults\n\n{limits}\n"),
    };
    format!(
        "# The check: {of} / {}\n\nRendered from the check; do not edit.\n\n\
         Family: {}. Asked of {whom}, {often}.\n\n{}\n\n## What is asked\n\n{asked}\n\n{limits}## Examples\n\n\
         - Fires at {}: {}, \"{}\".\n- Quiet at {}.\n",
        check.name(),
        check.family(),
        check.doc(),
        example(&check.firing()),
        found.severity,
        found.evidence,
        example(&check.quiet()),
    )
}

#[test]
fn pages_of_checks_are_current() {
    for kind in KINDS {
        for check in kind.checks() {
            let file = format!("checks/{}/{}.md", kind.name(), check.name());
            golden(&file, &page(kind.name(), *check));
        }
    }
    for check in host::CHECKS {
        golden(&format!("checks/host/{}.md", check.name()), &page("host", *check));
    }
}

#[test]
fn the_page_of_remedies_is_current() {
    let mut page = "# Remedies\n\nRendered from their registry; do not edit.\n\n\
         | remedy | when | runs | budget | level | by hand | |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for remedy in &remedies::bundled() {
        let budget = remedy.budget;
        let tries = format!("{} in {}", budget.tries_max, budget.window);
        let (guard, runs, level) = (remedy.guard.text(), &remedy.course, remedy.level);
        let guard = guard.replace('|', "\\|");
        writeln!(
            page,
            "| {} | `{guard}` | {runs} | {tries} | {level} | {} min | {} |",
            remedy.name, remedy.manual_minutes, remedy.doc
        )
        .expect("text");
    }
    golden("remedies.md", &page);
}

fn procedure(of: &Procedure) -> String {
    let manifest = &of.manifest;
    let yes = |so: bool| if so { "yes" } else { "no" };
    let mut page = format!(
        "# The procedure: {}\n\nRendered from its manifest and its script; do not edit.\n\n{}\n\n\
         Login: {:?}. Time limit: {} s. Disruptive: {}. Can say what it would do: {}. Begun again after an \
         interruption: {}. By hand: {} min.\n",
        manifest.name,
        manifest.doc,
        manifest.role,
        manifest.time_limit_seconds,
        yes(manifest.disruptive),
        yes(manifest.dry_run),
        yes(manifest.repeatable),
        manifest.manual_minutes,
    );
    if !manifest.parameters.is_empty() {
        page.push_str("\n| parameter | type | if not given | |\n|---|---|---|---|\n");
    }
    for parameter in &manifest.parameters {
        let default = parameter.default.as_ref().map_or("refused".to_owned(), ToString::to_string);
        let (name, of, doc) = (&parameter.name, parameter.of, &parameter.doc);
        writeln!(page, "| {name} | {of:?} | {default} | {doc} |").expect("text");
    }
    for (name, text) in &of.scripts {
        write!(page, "\n## {name}.sh\n\n```sh\n{}\n```\n", text.trim_end()).expect("text");
    }
    page
}

#[test]
fn pages_of_procedures_are_current() {
    for of in procedures::bundled() {
        let file = format!("procedures/{}/{}.md", of.manifest.kind, of.manifest.name);
        golden(&file, &procedure(&of));
    }
}
