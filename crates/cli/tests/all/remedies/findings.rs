//! What checks find: sessions that idle in transactions, connections up to the limit, indexes that no build
//! finished, transaction numbers that run out.

use rustix::process::Signal;
use serde_json::json;

use super::{
    DISK_OFF, Rules, SOON, brake, by_hand, create, finds, held, journal, ran, serves, until_held,
    until_ran,
};
use crate::fleet::{Fleet, software, until};

/// Transactions that a test uses up; fewer than autovacuum sees.
const BURNT: i64 = 60_000;

/// Each service, what is found of it and what heals it.
const CASES: [(&str, &str, &str); 4] = [
    ("idle", "idle-in-transaction", "idle-transactions"),
    ("crowd", "connections-near-limit", "runaway-connections"),
    ("index", "invalid-indexes", "invalid-indexes"),
    ("wrap", "wraparound", "wraparound"),
];

/// Sessions that are kept open.
struct Sessions {
    runtime: tokio::runtime::Runtime,
    open: Vec<tokio_postgres::Client>,
}

impl Sessions {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        Self { runtime, open: Vec::new() }
    }

    /// Opens one more, if it is let in.
    fn open(&mut self, url: &str) -> Result<(), tokio_postgres::Error> {
        let connected = self.runtime.block_on(tokio_postgres::connect(url, tokio_postgres::NoTls));
        let (client, connection) = connected?;
        self.runtime.spawn(connection);
        self.open.push(client);
        Ok(())
    }

    /// How many were not ended.
    fn left(&self) -> usize {
        self.open.iter().filter(|client| !client.is_closed()).count()
    }
}

/// The server itself, past the gateway.
fn straight(fleet: &Fleet, name: &str) -> String {
    let (url, show) = (fleet.json(&["url", name]), fleet.show(name));
    let password = url["password"].as_str().expect("a password");
    format!("postgresql://{name}:{password}@127.0.0.1:{}/{name}", show["members"][0]["port"])
}

/// A session that wrote, and does nothing more.
fn idle(fleet: &Fleet) -> Sessions {
    let mut sessions = Sessions::new();
    sessions.open(&straight(fleet, "idle")).expect("let in");
    let begun = sessions.open[0].batch_execute("BEGIN; INSERT INTO kept VALUES (7)");
    sessions.runtime.block_on(begun).expect("written");
    sessions
}

/// Sessions until no more are let in.
fn crowd(fleet: &Fleet) -> Sessions {
    let mut sessions = Sessions::new();
    let url = straight(fleet, "crowd");
    while sessions.open(&url).is_ok() {
        assert!(sessions.open.len() < 200, "there is no limit");
    }
    assert!(fleet.sql("crowd", "SELECT 1").is_err(), "nobody else is let in");
    sessions
}

/// A build that fails, and leaves its index behind.
fn index(fleet: &Fleet) {
    fleet.sql("index", "INSERT INTO kept VALUES (5), (5)").expect("written");
    let build = fleet.sql("index", "CREATE UNIQUE INDEX CONCURRENTLY half ON kept (n)");
    assert!(build.expect_err("there are two").contains("half"));
    fleet.sql("index", "DELETE FROM kept WHERE n = 5").expect("written");
}

/// Transactions are used up. What nobody writes to is frozen by the server itself, long before.
fn burn(fleet: &Fleet) {
    let burn = format!(
        "DO $$ BEGIN SET synchronous_commit = off; FOR n IN 1..{BURNT} LOOP PERFORM txid_current(); COMMIT; \
         END LOOP; END $$"
    );
    by_hand(fleet, "wrap", "wrap", &burn);
    by_hand(fleet, "wrap", "wrap", "ALTER DATABASE template0 ALLOW_CONNECTIONS true");
    by_hand(fleet, "wrap", "template0", "VACUUM (FREEZE)");
    by_hand(fleet, "wrap", "wrap", "ALTER DATABASE template0 ALLOW_CONNECTIONS false");
}

fn age(fleet: &Fleet) -> i64 {
    let rows = fleet.sql("wrap", "SELECT max(age(datfrozenxid)) FROM pg_database");
    rows.expect("readable")[0].parse().expect("a number")
}

#[test]
fn what_checks_find_is_healed_and_refused() {
    if !software("what_checks_find_is_healed_and_refused") {
        return;
    }
    let checks = json!({
        "idle_transaction_warn_seconds": 1,
        "idle_transaction_critical_seconds": 2,
        "wraparound_warn_xids": BURNT / 2,
    });
    let policy = json!({ "checks": checks, "backup_first_within": 3_600_000 });
    let rules = Rules::new(
        "found",
        &policy,
        &[
            DISK_OFF,
            ("idle-transactions", "\"1800\"", "\"2\""),
            ("runaway-connections", ".seconds >= 20", ".seconds >= 0"),
            ("invalid-indexes", ".seconds >= 600", ".seconds >= 0"),
            (
                "wraparound",
                "procedure = \"freeze\"",
                "procedure = \"freeze\"\nparameters = { age = \"1000\" }",
            ),
        ],
    );
    let fleet = Fleet::start("found", &rules.with(&[]));
    // All on one host: the others are seen to fall silent later.
    ["h2", "h3"].iter().for_each(|host| drop(fleet.ok(&["host", "drain", host])));
    CASES.iter().for_each(|(service, ..)| create(&fleet, service, "dev"));
    level(&fleet, "suggest");
    let sessions = fail(&fleet);
    for (service, _, remedy) in CASES {
        until_held(&fleet, service, remedy, "its level is to suggest it and no more", 0);
    }
    brake(&fleet, "on");
    level(&fleet, "default");
    braked(&fleet);
    brake(&fleet, "off");
    for (service, check, remedy) in CASES {
        until_ran(&fleet, service, remedy);
        until(SOON, &format!("{check} is quiet"), || !finds(&fleet, service, check));
    }
    assert_eq!(sessions.0.left(), 0, "it was ended");
    let left = sessions.1.left();
    assert!(left > 20 && left <= 70, "{left} sessions are left");
    drop(sessions);
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'half'::regclass";
    assert_eq!(fleet.sql("index", valid).expect("readable"), ["t"]);
    assert!(age(&fleet) < BURNT / 2, "{}", age(&fleet));
    for (service, _, remedy) in CASES {
        serves(&fleet, service);
        let journal = journal(&fleet, service);
        assert!(!journal.contains(&format!("remedy {remedy} are used up")), "{journal}");
    }
    refused(&fleet);
}

/// Every fault at once, and what was read seldom is read now.
fn fail(fleet: &Fleet) -> (Sessions, Sessions) {
    burn(fleet);
    index(fleet);
    let sessions = (idle(fleet), crowd(fleet));
    CASES.iter().for_each(|(service, ..)| by_hand(fleet, service, "postgres", "SELECT 1"));
    sessions
}

fn level(fleet: &Fleet, level: &str) {
    CASES.iter().for_each(|(.., remedy)| drop(fleet.ok(&["remedy", "level", remedy, level])));
}

/// The brake is on: each is refused its claim, and says so; the one that asks a person does so first.
fn braked(fleet: &Fleet) {
    until_held(fleet, "index", "invalid-indexes", "waits for a person's yes", 0);
    let number = || fleet.show("index")["approval"]["id"].to_string();
    until(SOON, "it is asked for", || number() != "null");
    let number = number();
    assert!(fleet.ok(&["show", "index"]).contains(&format!("evenkeel approve {number}")));
    fleet.ok(&["approve", &number]);
    for (service, _, remedy) in CASES {
        until_held(fleet, service, remedy, "somebody looks", 0);
        let page = fleet.ok(&["show", service]);
        assert!(page.contains("nothing is done about it now: remedy"), "{page}");
        assert!(page.contains("`evenkeel brake off` lets it go on"), "{page}");
        let explained = fleet.ok(&["explain", service]);
        assert!(
            explained.contains(&format!("remedy {remedy} is refused its claim")),
            "{explained}"
        );
    }
}

/// The same again: the one try of each is used up. Then the posture forbids them.
fn refused(fleet: &Fleet) {
    fleet.ok(&["remedy", "level", "invalid-indexes", "auto", "--service", "index"]);
    fleet.sql("index", "DROP INDEX half").expect("dropped");
    let _sessions = fail(fleet);
    for (service, _, remedy) in CASES {
        until_held(fleet, service, remedy, "are used up", 1);
        let why = held(fleet, service);
        assert!(why.contains("a person must look, and it is tried again in"), "{why}");
        let journal = journal(fleet, service);
        assert!(journal.contains(&format!("page: the tries of remedy {remedy} are used up")));
    }
    for host in ["h2", "h3"] {
        fleet.signal(&format!("hosts/{host}/pid.json"), Signal::STOP);
    }
    for (service, _, remedy) in CASES {
        until_held(fleet, service, remedy, "until the posture is no longer observer-suspect", 1);
    }
    for host in ["h2", "h3"] {
        fleet.signal(&format!("hosts/{host}/pid.json"), Signal::CONT);
    }
    for (service, _, remedy) in CASES {
        assert_eq!(ran(fleet, service, remedy), 1, "{service}");
    }
}
