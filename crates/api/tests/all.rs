//! The OpenAPI document says what travels: compared with examples of every type.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::automation::Pinned;
use evenkeel_core::check::{Family, Severity};
use evenkeel_core::decide::{Decision, Reason};
use evenkeel_core::digest::Digest;
use evenkeel_core::id::{HostId, Incarnation, MemberId, OperationId, Revision, ServiceId, Term};
use evenkeel_core::journal::Topic;
use evenkeel_core::machine::Machine;
use evenkeel_core::operation::Cause;
use evenkeel_core::order::Accepted;
use evenkeel_core::procedure::{Login, Manifest, Procedure};
use evenkeel_core::remedy::Level;
use evenkeel_core::service::{Health, Phase, State, health, phase};
use evenkeel_core::time::{Span, Time};
use evenkeel_core::{host, member, view};
use serde::Serialize;

use evenkeel_api::{AckOrder, CheckLine, CheckPage, Threshold};
use evenkeel_api::{
    BrakeOrder, CheckSummary, DoctorItem, DrillResult, ErrorBody, FailoverOrder, ForkOrder,
    GiveUpOrder, ImportOrder, JournalEntry, KindPage, KindSummary, LevelOrder, NewRepository,
    NewService, PinOrder, PlanSummary, RecoveryEnd, RepositoryPage, RestoreTarget, RollbackOrder,
    SwitchoverOrder, Termination, UrlAnswer, openapi,
};
use evenkeel_api::{DrillBegin, DrillSchedule, PlanOrder, WindowOrder, drill, maintenance, toil};
use evenkeel_api::{GlassOrder, PersonOrder, ProcedureOrder, ProcedurePage, RecordingOrder};
use evenkeel_core::act::{self, Act, Sort};
use evenkeel_core::alert::IncidentId;
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
        pin: Some(views_of_people().0),
        approval: Some(views_of_people().1),
        incident: None,
        findings: vec![],
        held: vec![],
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
        rack: None,
        address: String::new(),
        state: host::State::Up,
        pid: None,
        release: String::new(),
        image: None,
        version: None,
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
        began: Time(1),
        brake: None,
        posture: String::new(),
        services: vec![],
        hosts: vec![],
        gateways: vec![],
        findings: vec![],
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

fn procedures() -> Vec<(&'static str, serde_json::Value)> {
    let text = String::new;
    let manifest = Manifest {
        name: text(),
        doc: text(),
        kind: text(),
        interpreter: vec![],
        time_limit_seconds: 1,
        role: Login::Check,
        disruptive: false,
        repeatable: false,
        dry_run: false,
        second_person: false,
        manual_minutes: 1,
        parameters: vec![],
        steps: vec![],
    };
    let procedure = Procedure { manifest, scripts: BTreeMap::new(), bundled: true };
    let parameters = BTreeMap::new;
    let act = Act {
        id: 1,
        sort: Sort::Glass,
        state: act::State::Open,
        by: text(),
        reason: text(),
        procedure: text(),
        digest: Some(procedure.digest()),
        service: text(),
        service_id: ServiceId(1),
        member: Some(MemberId(1)),
        parameters: BTreeMap::new(),
        dry_run: false,
        begun: Time(1),
        until: Time(2),
        ended: Some(Time(2)),
        how: "done".to_owned(),
        second: Some(text()),
        approved: Some(act::Approval { by: text(), at: Time(1) }),
        cause: Cause::Order { by: "".into() },
        steps: vec![],
        operation: Some(OperationId(1)),
        entries: vec![],
        recording: Some(Box::default()),
    };
    vec![
        ("ProcedurePage", json(&ProcedurePage::of(procedure))),
        ("Act", json(&act)),
        (
            "ProcedureOrder",
            json(&ProcedureOrder {
                member: Some(text()),
                parameters: parameters(),
                ..ProcedureOrder::default()
            }),
        ),
        (
            "GlassOrder",
            json(&GlassOrder {
                person: Some(text()),
                member: Some(text()),
                second: Some(text()),
                ..GlassOrder::default()
            }),
        ),
        ("PersonOrder", json(&PersonOrder { person: text() })),
        ("RecordingOrder", json(&RecordingOrder::default())),
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
        ("DrillResult", json(&a_drill_result())),
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

fn text() -> String {
    "text".to_owned()
}

fn automation() -> Vec<(&'static str, serde_json::Value)> {
    let level = LevelOrder { level: Some(Level::Auto), service: Some(text()), kind: None };
    let level = LevelOrder { kind: Some(text()), ..level };
    let remedy = view::Remedy {
        name: text(),
        doc: text(),
        when: text(),
        does: text(),
        held_in: vec![text()],
        level: Level::Auto,
        elsewhere: vec![(text(), Level::Off)],
        tries_max: 3,
        window_ms: Span::mins(1),
        cooldown_ms: Span(0),
        fleet_max: Some(1),
        running: 0,
        manual_minutes: 1,
        fails: Some(text()),
    };
    vec![
        ("LevelOrder", json(&level)),
        ("PinOrder", json(&PinOrder { level: None, for_ms: Span(0), reason: text() })),
        ("BrakeOrder", json(&BrakeOrder { on: true, reason: text() })),
        ("Remedy", json(&remedy)),
        ("Pin", json(&views_of_people().0)),
        ("Approval", json(&views_of_people().1)),
    ]
}

fn views_of_people() -> (view::Pin, view::Approval) {
    let pin =
        view::Pin { level: Pinned::Pause, ends_in_ms: Span::secs(60), reason: text(), by: text() };
    let (since_ms, given_by) = (Span::secs(1), Some(text()));
    let approval = view::Approval { id: 1, service: text(), remedy: text(), since_ms, given_by };
    (pin, approval)
}

fn a_drill_result() -> DrillResult {
    DrillResult { drill: String::new(), gap_ms: 1, lost: 0, acked: 1, failed: Some(String::new()) }
}

/// What travels about maintenance, drills and toil.
fn upkeep() -> Vec<(&'static str, serde_json::Value)> {
    let text = String::new;
    let item = || maintenance::Item {
        id: 1,
        service: text(),
        task: text(),
        reason: text(),
        by: text(),
        created_at: text(),
        required_by: None,
        state: text(),
        opens_at: None,
    };
    let page = maintenance::Page {
        service: text(),
        window: None,
        from: text(),
        open: true,
        opens_at: None,
        planned: vec![],
    };
    let drills = drill::Page {
        service: text(),
        scheduled: vec![],
        running: None,
        aborted: false,
        results: vec![],
        trends: vec![],
    };
    let scheduled = drill::Scheduled { kind: text(), every: text(), due_at: text() };
    let outcome =
        drill::Shown { kind: text(), at: text(), gap_ms: 1, lost: 0, acked: 1, failed: None };
    let trend = drill::ShownTrend { kind: text(), newest_ms: 1, before_ms: None };
    let ledger = toil::Page {
        minutes: 1,
        working_years: 0.1,
        calendar_years: 0.1,
        saved: vec![],
        just: vec![],
    };
    let saved =
        toil::SavedRow { operation: text(), by: text(), times: 1, minutes: 1, last_at: text() };
    let just = toil::JustRow { act: text(), times: 1, last_at: text(), could_become: text() };
    let plan = PlanOrder { task: text(), reason: text(), required_by: Some(text()) };
    vec![
        ("WindowOrder", json(&WindowOrder { window: Some(text()) })),
        ("PlanOrder", json(&plan)),
        ("DrillSchedule", json(&DrillSchedule { kind: text(), every: Some(text()) })),
        ("DrillBegin", json(&DrillBegin { kind: text() })),
        ("MaintenanceItem", json(&item())),
        ("Maintenance", json(&page)),
        ("Drills", json(&drills)),
        ("ScheduledDrill", json(&scheduled)),
        ("DrillOutcome", json(&outcome)),
        ("DrillTrend", json(&trend)),
        ("Toil", json(&ledger)),
        ("ToilSaved", json(&saved)),
        ("ToilJust", json(&just)),
    ]
}

/// The shapes of incidents and the chain.
fn incidents() -> Vec<(&'static str, serde_json::Value)> {
    let text = String::new;
    let ack = view::Ack { by: text(), note: None, ago_ms: Span(1) };
    let outcome =
        view::AlertOutcome { purpose: text(), confirmed: true, text: text(), ago_ms: Span(1) };
    let incident = view::Incident {
        id: IncidentId(1),
        domain: text(),
        state: text(),
        severity: Severity::Page,
        title: text(),
        opened_at: text(),
        opened_ms: Span(1),
        since_ms: Span(1),
        stands_out: None,
        bits: None,
        folded: 1,
        members: vec![],
        evidence: vec![],
        acknowledged: None,
        told: vec![],
        next: None,
        merged_into: None,
        recordings: vec![],
    };
    let member =
        view::IncidentMember { subject: text(), check: None, text: text(), since_ms: None };
    let channel = view::AlertChannel {
        name: text(),
        ack_within_ms: Span(1),
        told_ms: None,
        last: None,
        exercised: None,
        failing_ms: None,
        awaited: 0,
    };
    let alerts =
        view::Alerts { channels: vec![], down: None, exercise_in_ms: None, acknowledged: vec![] };
    let known = view::AcknowledgedIncident { incident: IncidentId(1), ack: ack.clone() };
    vec![
        ("Incident", json(&incident)),
        ("IncidentMember", json(&member)),
        ("Ack", json(&ack)),
        ("AckOrder", json(&AckOrder::default())),
        ("Alerts", json(&alerts)),
        ("AlertChannel", json(&channel)),
        ("AlertOutcome", json(&outcome)),
        ("AcknowledgedIncident", json(&known)),
    ]
}

fn json<T: Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).expect("all types are JSON")
}

#[test]
fn every_shape_has_the_fields_that_travel() {
    let parts = [
        views(),
        archives(),
        own(),
        of_the_store(),
        upkeep(),
        procedures(),
        incidents(),
        checks(),
        automation(),
    ];
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
    let levels = [Level::Off, Level::Suggest, Level::Approve, Level::Auto];
    assert_eq!(words(&levels), described("Level"));
    let pins = [Pinned::Essential, Pinned::Pause, Pinned::Stop];
    assert_eq!(words(&pins), described("Pinned"));
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
        Topic::Incident,
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
