//! The OpenAPI document says what travels: compared with examples of every type.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::check::{Family, Severity};
use evenkeel_core::decide::{Decision, Reason};
use evenkeel_core::digest::Digest;
use evenkeel_core::id::{HostId, Incarnation, MemberId, OperationId, Revision, ServiceId, Term};
use evenkeel_core::journal::Topic;
use evenkeel_core::machine::Machine;
use evenkeel_core::order::Accepted;
use evenkeel_core::service::{Health, Phase, State, health, phase};
use evenkeel_core::time::{Span, Time};
use evenkeel_core::{host, member, view};
use serde::Serialize;

use evenkeel_api::{
    CheckLine, CheckPage, CheckSummary, DoctorItem, DrillResult, ErrorBody, FailoverOrder,
    ForkOrder, GiveUpOrder, ImportOrder, JournalEntry, KindPage, KindSummary, NewRepository,
    NewService, PlanSummary, RecoveryEnd, RepositoryPage, RestoreTarget, RollbackOrder,
    SwitchoverOrder, Termination, Threshold, UrlAnswer, openapi,
};
use evenkeel_core::backup::engine::Engine;
use evenkeel_core::backup::lineage::Bucket;
use evenkeel_core::goal::Password;

fn service() -> view::Service {
    view::Service {
        id: ServiceId(1),
        name: String::new(),
        kind: String::new(),
        plan: String::new(),
        state: State::Available,
        phase: Phase::Serving,
        health: Health::Healthy,
        since_ms: Span(1),
        term: Term(1),
        url: None,
        endpoint_port: 1,
        pooled_port: Some(2),
        members: vec![],
        operation: None,
        failover: None,
        backup: None,
        import: None,
        owner: String::new(),
        findings: vec![],
    }
}

fn bucket() -> Bucket {
    Bucket {
        endpoint: String::new(),
        bucket: String::new(),
        prefix: String::new(),
        region: String::new(),
        virtual_host: true,
        access_key: String::new(),
        secret_key: Password(String::new()),
        ca: Some(String::new()),
    }
}

fn an_import_order() -> ImportOrder {
    let (plan, method) = (Some(String::new()), Some(String::new()));
    let password = Some(Password(String::new()));
    ImportOrder { name: String::new(), from: String::new(), plan, method, password }
}

fn an_import() -> view::Import {
    view::Import {
        source: String::new(),
        method: String::new(),
        why: String::new(),
        progress: None,
        done_bytes: 1,
        total_bytes: 1,
        changes: vec![],
        failed: None,
    }
}

fn a_disk() -> view::Disk {
    let level = evenkeel_core::backup::guard::Level::Fine;
    view::Disk { level, total_bytes: 1, free_bytes: 1, full_in_seconds: Some(1) }
}

fn a_member() -> view::Member {
    view::Member {
        id: MemberId(1),
        host: String::new(),
        role: String::new(),
        state: None,
        pid: None,
        address: String::new(),
        port: 1,
        data_dir: None,
        image: String::new(),
        incarnation: Incarnation(1),
        goal: (Term(1), Revision(1)),
        applied: None,
        deaths: 0,
        trouble: None,
        lag_bytes: None,
        sync: false,
        disk: Some(a_disk()),
    }
}

fn a_host() -> view::Host {
    view::Host {
        id: HostId(1),
        name: String::new(),
        zone: String::new(),
        address: String::new(),
        state: host::State::Up,
        pid: None,
        release: String::new(),
        image: None,
        members: 0,
        heard_ms: None,
        draining: false,
        operation: None,
        findings: vec![],
    }
}

fn views() -> Vec<(&'static str, serde_json::Value)> {
    let step = view::Step { name: String::new(), progress: view::Progress::Done, missing: vec![] };
    let operation = view::Operation {
        id: OperationId(1),
        name: String::new(),
        cause: String::new(),
        story: String::new(),
        since_ms: Span(1),
        claimed: true,
        steps: vec![],
    };
    let finding = view::Finding {
        check: String::new(),
        family: Family::Host,
        severity: Severity::Note,
        service: Some(String::new()),
        subject: String::new(),
        evidence: String::new(),
        items: vec![],
        since_ms: Span(1),
    };
    let gateway = view::Gateway {
        name: String::new(),
        address: String::new(),
        pid: 1,
        current: true,
        open: 0,
        heard_ms: Span(1),
    };
    let fleet = view::Fleet {
        now: Time(1),
        posture: String::new(),
        services: vec![],
        hosts: vec![],
        gateways: vec![],
    };
    let explain = view::Explain {
        service: service(),
        observations: vec![],
        posture: String::new(),
        decision: Decision::Hold(Reason::Healthy),
        decision_text: String::new(),
    };
    let observation = view::Observation {
        by: String::new(),
        subject: String::new(),
        text: String::new(),
        ago_ms: Span(1),
    };
    vec![
        ("Service", json(&service())),
        ("Member", json(&a_member())),
        ("Operation", json(&operation)),
        ("Step", json(&step)),
        ("Finding", json(&finding)),
        ("Host", json(&a_host())),
        ("Gateway", json(&gateway)),
        ("Fleet", json(&fleet)),
        ("Explain", json(&explain)),
        ("Observation", json(&observation)),
    ]
}

fn archives() -> Vec<(&'static str, serde_json::Value)> {
    let job = view::Job { id: String::new(), what: String::new(), since_ms: Span(1) };
    let failed = view::FailedJob { id: String::new(), why: String::new() };
    let backup = view::Backup {
        engine: Engine::Native,
        last_at: None,
        restorable_to: None,
        proven_at: None,
        restore_seconds: None,
        loss_window_seconds: None,
        archive_lag_bytes: 0,
        archive_lag_seconds: 0,
        count: 0,
        repositories: vec![],
        job: None,
        failed: None,
    };
    let row = view::BackupRow {
        id: String::new(),
        service: String::new(),
        begun_at: String::new(),
        ended_at: String::new(),
        from: String::new(),
        to: String::new(),
        timeline: 1,
        bytes: 1,
        stored_bytes: 1,
        repositories: vec![],
        proven_at: None,
        wrong: vec![],
    };
    vec![
        ("Backup", json(&backup)),
        ("Job", json(&job)),
        ("FailedJob", json(&failed)),
        ("BackupRow", json(&row)),
        ("ImportOrder", json(&an_import_order())),
        ("Import", json(&an_import())),
    ]
}

fn new_service() -> NewService {
    NewService {
        name: String::new(),
        kind: String::new(),
        plan: Some(String::new()),
        backup_engine: Some(Engine::PgBackRest),
    }
}

/// The shapes about the store's own backups, and about what nobody takes.
fn of_the_store() -> Vec<(&'static str, serde_json::Value)> {
    let text = String::new;
    vec![
        (
            "RepositoryPage",
            json(&RepositoryPage {
                name: text(),
                place: text(),
                store_saved_at: Some(text()),
                store_trouble: Some(text()),
            }),
        ),
        ("RecoveryEnd", json(&RecoveryEnd::default())),
        ("GiveUpOrder", json(&GiveUpOrder { confirm: text(), reason: text() })),
    ]
}

fn checks() -> Vec<(&'static str, serde_json::Value)> {
    let text = String::new;
    let diagnosed = view::Diagnosed {
        check: String::new(),
        family: Family::Host,
        light: view::Light::Green,
        text: String::new(),
        findings: vec![],
    };
    let diagnosis = view::Diagnosis {
        service: String::new(),
        state: evenkeel_core::service::State::Available,
        checks: vec![],
    };
    let check_line = CheckLine {
        name: text(),
        of: text(),
        family: Family::Host,
        scope: text(),
        every: text(),
        summary: text(),
    };
    let check_page = CheckPage {
        check: check_line.clone(),
        doc: text(),
        question: text(),
        thresholds: vec![],
        firing: text(),
        evidence: text(),
        quiet: text(),
    };
    vec![
        ("Diagnosed", json(&diagnosed)),
        ("Diagnosis", json(&diagnosis)),
        ("CheckLine", json(&check_line)),
        ("CheckPage", json(&check_page)),
        ("Threshold", json(&Threshold { name: text(), value: 1 })),
    ]
}

fn own() -> Vec<(&'static str, serde_json::Value)> {
    let text = String::new;
    let plan = PlanSummary {
        name: text(),
        summary: text(),
        members: 1,
        memory_mib: 1,
        connections_max: 1,
        archives: false,
        backups_kept: 0,
        restorable_seconds: 0,
    };
    let check = CheckSummary { name: text(), family: Family::Host, doc: text() };
    let kind = KindSummary { name: text(), summary: text(), plans: vec![], checks: vec![] };
    let page = KindPage {
        kind: kind.clone(),
        phase_table: text(),
        phase_diagram: text(),
        health_table: text(),
        health_diagram: text(),
        member_table: text(),
        member_diagram: text(),
    };
    let entry = JournalEntry {
        position: 1,
        at: Time(1),
        topic: Topic::Fleet,
        subject: text(),
        text: text(),
        evidence: vec![],
        link: Digest([0; 32]),
    };
    let url = UrlAnswer {
        url: text(),
        host: text(),
        port: 1,
        user: text(),
        password: text(),
        database: text(),
    };
    let target = RestoreTarget { at: Some(text()), lsn: Some(text()), point: Some(text()) };
    let item = DoctorItem { name: text(), ok: true, detail: text(), fix: text() };
    vec![
        ("ErrorBody", json(&ErrorBody { error: text(), message: text() })),
        (
            "Accepted",
            json(&Accepted { service: None, operation: None, job: Some(1), text: text() }),
        ),
        ("NewService", json(&new_service())),
        ("Termination", json(&Termination { confirm: text() })),
        ("FailoverOrder", json(&FailoverOrder { reason: text() })),
        ("DrillResult", json(&DrillResult { drill: text(), gap_ms: 1, lost: 0, acked: 1 })),
        ("RestoreTarget", json(&target)),
        ("ForkOrder", json(&ForkOrder { name: text(), target: target.clone() })),
        ("RollbackOrder", json(&RollbackOrder { target })),
        (
            "NewRepository",
            json(&NewRepository { name: text(), directory: Some(text()), bucket: Some(bucket()) }),
        ),
        ("Bucket", json(&bucket())),
        ("Disk", json(&a_disk())),
        ("SwitchoverOrder", json(&SwitchoverOrder { to: Some(text()) })),
        ("Failover", json(&view::Failover { safe_now: true, because: text(), cost: Some(text()) })),
        ("UrlAnswer", json(&url)),
        ("PlanSummary", json(&plan)),
        ("CheckSummary", json(&check)),
        ("KindSummary", json(&kind)),
        ("KindPage", json(&page)),
        ("JournalEntry", json(&entry)),
        ("DoctorItem", json(&item)),
    ]
}

fn json<T: Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).expect("all types are JSON")
}

#[test]
fn every_shape_has_the_fields_that_travel() {
    let parts = [views(), archives(), own(), of_the_store(), checks()];
    let examples: BTreeMap<_, _> = parts.into_iter().flatten().collect();
    let document = openapi();
    let shapes = document["components"]["schemas"].as_object().unwrap();
    let described: BTreeMap<&str, BTreeSet<&str>> = shapes
        .iter()
        .filter_map(|(name, shape)| Some((name.as_str(), keys(shape.get("properties")?))))
        .collect();
    let travels: BTreeMap<&str, BTreeSet<&str>> =
        examples.iter().map(|(name, example)| (*name, keys(example))).collect();
    assert_eq!(travels, described);
}

fn keys(object: &serde_json::Value) -> BTreeSet<&str> {
    object.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn every_enumeration_has_the_words_that_travel() {
    fn words<T: Serialize>(values: &[T]) -> Vec<String> {
        let word = |value| json(value).as_str().expect("a word").to_owned();
        values.iter().map(word).collect()
    }
    let document = openapi();
    let described = |name: &str| -> Vec<String> {
        serde_json::from_value(document["components"]["schemas"][name]["enum"].clone()).unwrap()
    };
    assert_eq!(words(&State::ALL), described("State"));
    assert_eq!(words(phase::Machine::STATES), described("Phase"));
    assert_eq!(words(health::Machine::STATES), described("Health"));
    assert_eq!(words(member::Machine::STATES), described("MemberState"));
    assert_eq!(words(host::Machine::STATES), described("HostState"));
    assert_eq!(words(&Engine::ALL), described("BackupEngine"));
    let progress = [view::Progress::Done, view::Progress::UnderWay, view::Progress::Ahead];
    assert_eq!(words(&progress), described("Progress"));
    let severities = [Severity::Note, Severity::Warning, Severity::Critical, Severity::Page];
    assert_eq!(words(&severities), described("Severity"));
    let families =
        [Family::Backups, Family::Replication, Family::Security, Family::Performance, Family::Host];
    assert_eq!(words(&families), described("Family"));
    let topics = [
        Topic::Order,
        Topic::Transition,
        Topic::Verdict,
        Topic::Operation,
        Topic::Decision,
        Topic::Finding,
        Topic::Fleet,
    ];
    assert_eq!(words(&topics), described("Topic"));
}

#[test]
fn every_name_in_the_document_is_described() {
    let document = openapi();
    let shapes = &document["components"]["schemas"];
    let text = document.to_string();
    for named in text.split("#/components/schemas/").skip(1) {
        let name = named.split('"').next().unwrap();
        assert!(shapes.get(name).is_some(), "{name} is named and not described");
    }
    assert_eq!(document["paths"]["/healthz"]["get"]["security"], serde_json::json!([]));
}
