//! Scripts: the contract against real processes, and each bundled procedure against a real PostgreSQL.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evenkeel_core::driver::Driver;
use evenkeel_core::goal::Goal;
use evenkeel_core::id::OperationId;
use evenkeel_core::procedure::{Code, Login, OUTPUT_MAX_BYTES, Ran, Script, Value};
use evenkeel_core::time::Span;
use evenkeel_drivers::process;

use super::{Place, as_owner, until, value_as_owner};

const PASSWORD: &str = "a password";

fn script(text: &str, limit: Span) -> Script {
    let code = Code {
        interpreter: vec!["/bin/sh".to_owned()],
        limit,
        login: Login::Check,
        disruptive: false,
        repeatable: false,
        text: text.to_owned(),
    };
    Script {
        id: OperationId(7),
        procedure: "test".to_owned(),
        digest: code.digest(),
        limit,
        code,
        parameters: BTreeMap::from([("n".to_owned(), Value::Integer(3))]),
        dry_run: false,
    }
}

fn run(driver: &mut dyn Driver, goal: &Goal, text: &str) -> Ran {
    driver.script(goal, &script(text, Span::secs(20)), &AtomicBool::new(false))
}

/// The contract, without any server: a script's surroundings, its bounds and its end.
pub fn scripts_keep_their_contract(place: &mut Place) {
    let (mut driver, goal) = (place.driver(), place.goal(1, 1));
    let driver = &mut *driver;
    let scratch = place.setup.members_dir.join(".script-1");
    // What is in its environment, where it is, and what it reads.
    let ran = run(driver, &goal, "env | sort >&2; pwd >&2; cat >&2; echo '{\"ok\": true}'");
    assert!(ran.ok, "{ran:?}");
    let names: Vec<&str> =
        ran.log.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let expected = ["HOME", "LANG", "PATH", "PGDATABASE", "PGHOST", "PGPORT", "PGUSER", "PWD"];
    assert_eq!(names, expected, "{}", ran.log);
    assert!(ran.log.contains(&format!("HOME={}", scratch.display())), "{}", ran.log);
    let input = ran.log.lines().last().expect("its input");
    let input: serde_json::Value = serde_json::from_str(input).expect("one JSON object");
    assert_eq!((&input["parameters"]["n"], &input["role"]), (&3.into(), &"primary".into()));
    assert_eq!((&input["service"], &input["deadline_seconds"]), (&"orders-2".into(), &20.into()));
    assert!(!scratch.exists(), "its scratch directory is gone");
    // What is said is bounded, and marked when it is cut.
    let ran =
        run(driver, &goal, "head -c 300000 /dev/zero | tr '\\0' x >&2; echo end >&2; echo no");
    assert!(!ran.ok && ran.output.contains("no") && ran.text.contains("JSON"), "{}", ran.text);
    assert!(ran.log.starts_with("[cut") && ran.log.ends_with("end\n"));
    assert!(ran.log.len() < OUTPUT_MAX_BYTES + 100);
    let ran = run(driver, &goal, "echo '{\"ok\": true, \"text\": \"why\"}'; exit 4");
    assert_eq!((ran.ok, ran.exit), (false, Some(4)), "{ran:?}");
    let ran = run(driver, &goal, "kill -9 $$");
    assert_eq!((ran.ok, ran.exit), (false, Some(137)), "{ran:?}");
    its_end_is_everybodys(place, driver, &goal);
}

/// Children that run on elsewhere, in sessions of their own, end with the script, whyever it ends.
fn its_end_is_everybodys(place: &Place, driver: &mut dyn Driver, goal: &Goal) {
    let pids = place.dir.path().join("pids");
    let leave = format!(
        "cd /; sleep 300 & echo $! >> {file}; setsid sleep 300 & echo $! >> {file}; \
         (setsid sh -c 'echo $$ >> {file}; sleep 300' &) ; sleep 0.3; ",
        file = pids.display()
    );
    let all_gone = || {
        let text = fs::read_to_string(&pids).expect("written");
        let alive = |pid: &u32| process::state(*pid).is_some();
        let left: Vec<u32> = text.lines().filter_map(|l| l.parse().ok()).filter(alive).collect();
        assert!(text.lines().count() >= 3, "{text}");
        assert!(left.is_empty(), "{left:?} run on");
        fs::remove_file(&pids).expect("removed");
    };
    // It ends by itself.
    assert!(run(driver, goal, &format!("{leave} echo '{{\"ok\": true}}'")).ok);
    all_gone();
    // Its time is over.
    let began = Instant::now();
    let late = script(&format!("{leave} sleep 300"), Span::secs(1));
    let ran = driver.script(goal, &late, &AtomicBool::new(false));
    assert!(!ran.ok && ran.text.contains("longer than"), "{ran:?}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    all_gone();
    // Nobody wants it any more.
    let stop = AtomicBool::new(false);
    let unwanted = script(&format!("{leave} sleep 300"), Span::secs(60));
    let ran = std::thread::scope(|scope| {
        let running = scope.spawn(|| driver.script(goal, &unwanted, &stop));
        until(|| fs::read_to_string(&pids).is_ok_and(|text| text.lines().count() >= 3));
        stop.store(true, Ordering::Relaxed);
        running.join().expect("no panic")
    });
    assert!(!ran.ok && ran.text.contains("nobody wants it"), "{ran:?}");
    all_gone();
}

/// Runs a bundled procedure; it must do what it is for.
fn bundled(
    driver: &mut dyn Driver,
    goal: &Goal,
    name: &str,
    given: &[(&str, &str)],
    dry: bool,
) -> Ran {
    let all = evenkeel_kinds::procedures::bundled();
    let procedure = all.iter().find(|p| p.manifest.name == name).expect("it is bundled");
    let given = given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let code = procedure.code(name).expect("it has its script");
    let script = Script {
        id: OperationId(7),
        procedure: name.to_owned(),
        digest: code.digest(),
        limit: code.limit,
        code,
        parameters: procedure.values(&given).expect("good values"),
        dry_run: dry,
    };
    let ran = driver.script(goal, &script, &AtomicBool::new(false));
    assert!(ran.ok, "{name}: {ran:?}");
    ran
}

fn changed(ran: &Ran) -> Vec<String> {
    let answer = ran.answer.as_ref().expect("an answer");
    let changed = answer["changed"].as_array().expect("a list");
    changed.iter().map(|one| one.as_str().expect("text").to_owned()).collect()
}

/// A session that does something and stays; it says whether it was ended.
struct Client {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Client {
    fn new(port: u16, statement: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let config = format!(
            "host=127.0.0.1 port={port} user=orders-2 dbname=orders-2 password='{PASSWORD}'"
        );
        let client = runtime.block_on(async {
            let (client, connection) =
                tokio_postgres::connect(&config, tokio_postgres::NoTls).await.expect("let in");
            tokio::spawn(connection);
            client.batch_execute(statement).await.expect("done");
            client
        });
        Self { runtime, client }
    }

    fn is_ended(&self) -> bool {
        self.runtime.block_on(self.client.batch_execute("SELECT 1")).is_err()
    }
}

pub fn bundled_procedures_do_what_they_are_for(place: &mut Place) {
    let (mut driver, goal, _) = place.serving();
    let (driver, port) = (&mut *driver, place.port);
    let sql = |text: &str| as_owner(port, PASSWORD, text).expect(text);
    sql("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 1000)");

    let idle = Client::new(port, "BEGIN; SELECT 1");
    let busy = Client::new(port, "SELECT 1");
    let name = "end-idle-transactions";
    assert!(
        changed(&bundled(driver, &goal, name, &[], false)).is_empty(),
        "it is not idle so long"
    );
    assert_eq!(changed(&bundled(driver, &goal, name, &[("seconds", "0")], true)).len(), 1);
    assert!(!idle.is_ended(), "a dry run ends nothing");
    assert_eq!(changed(&bundled(driver, &goal, name, &[("seconds", "0")], false)).len(), 1);
    assert!(idle.is_ended() && !busy.is_ended());

    let holds = Client::new(port, "BEGIN; LOCK TABLE t");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| as_owner(port, PASSWORD, "SELECT count(*) FROM t"));
        until(|| {
            let ran = bundled(driver, &goal, "ask-locks", &[], false);
            let locks = ran.answer.expect("an answer")["locks"].clone();
            let depths: Vec<_> =
                locks.as_array().expect("a list").iter().map(|l| l["depth"].clone()).collect();
            depths == [serde_json::json!(0), serde_json::json!(1)]
        });
        holds.runtime.block_on(holds.client.batch_execute("COMMIT")).expect("committed");
        waits.join().expect("no panic").expect("it went on");
    });
    drop((holds, busy));
    runaway(place, driver, &goal);
    maintenance(place, driver, &goal);
}

fn runaway(place: &Place, driver: &mut dyn Driver, goal: &Goal) {
    let port = place.port;
    let many: Vec<Client> =
        (0..12).map(|_| Client::new(port, "SET application_name = 'web'")).collect();
    let other = Client::new(port, "SET application_name = 'cron'");
    let name = "end-runaway-connections";
    let ran = bundled(driver, goal, name, &[], false);
    assert!(changed(&ran).is_empty(), "they are far from the limit: {ran:?}");
    // Of 97 connections 13 are used by clients, and one or two by who looks.
    let given = [("percent", "10"), ("to_percent", "5")];
    let would = changed(&bundled(driver, goal, name, &given, true)).len();
    assert!((9..=11).contains(&would), "{would}");
    assert!(many.iter().all(|client| !client.is_ended()), "a dry run ends nothing");
    let ended = changed(&bundled(driver, goal, name, &given, false)).len();
    assert_eq!(many.iter().filter(|client| client.is_ended()).count(), ended);
    assert!(ended > 0 && !other.is_ended(), "those who have less are left alone");
}

fn maintenance(place: &Place, driver: &mut dyn Driver, goal: &Goal) {
    let port = place.port;
    let value = |text: &str| value_as_owner(port, PASSWORD, text).expect(text).expect("a value");
    let age = "SELECT age(relfrozenxid) FROM pg_class WHERE relname = 't'";
    for _ in 0..20 {
        as_owner(port, PASSWORD, "INSERT INTO t VALUES (1)").expect("written");
    }
    assert!(value(age).parse::<u32>().expect("a number") > 10);
    let given = [("age", "10")];
    assert!(changed(&bundled(driver, goal, "freeze", &given, true)).len() > 1);
    assert!(value(age).parse::<u32>().expect("a number") > 10, "a dry run freezes nothing");
    let ran = bundled(driver, goal, "freeze", &given, false);
    assert!(changed(&ran).iter().any(|one| one == "t in orders-2"), "{ran:?}");
    assert!(value(age).parse::<u32>().expect("a number") < 10, "{ran:?}");

    super::as_evenkeel(place, "SELECT pg_create_physical_replication_slot('forgotten', true)");
    super::as_evenkeel(place, "SELECT pg_create_physical_replication_slot('ek_m2_i1', true)");
    super::as_evenkeel(place, "SELECT pg_switch_wal()");
    let slots = "SELECT string_agg(slot_name, ',' ORDER BY slot_name) FROM pg_replication_slots";
    let name = "drop-unread-slots";
    assert!(changed(&bundled(driver, goal, name, &[], false)).is_empty(), "it keeps little");
    let given = [("mebibytes", "0")];
    assert_eq!(changed(&bundled(driver, goal, name, &given, true)).len(), 1);
    assert_eq!(value(slots), "ek_m2_i1,forgotten", "a dry run drops nothing");
    bundled(driver, goal, name, &given, false);
    assert_eq!(value(slots), "ek_m2_i1", "Evenkeel's own stay");

    // A unique index that cannot be built is left invalid, and so is what an interrupted rebuild leaves.
    as_owner(port, PASSWORD, "CREATE TABLE u (a int); INSERT INTO u VALUES (1), (1)")
        .expect("made");
    for index in ["u_a", "u_a_ccnew"] {
        let text = format!("CREATE UNIQUE INDEX CONCURRENTLY {index} ON u (a)");
        as_owner(port, PASSWORD, &text).expect_err("it is not unique");
    }
    as_owner(port, PASSWORD, "DELETE FROM u").expect("emptied");
    let indexes = "SELECT coalesce(string_agg(indexrelid::regclass || ' ' || indisvalid, ','), '') \
                   FROM pg_index WHERE indrelid = 'u'::regclass";
    let name = "rebuild-invalid-indexes";
    assert_eq!(changed(&bundled(driver, goal, name, &[], true)).len(), 2);
    assert!(!value(indexes).contains("true"), "a dry run repairs nothing");
    bundled(driver, goal, name, &[], false);
    assert_eq!(value(indexes), "u_a true");

    let data = place.data(1);
    let temporary = data.join("base/pgsql_tmp");
    fs::create_dir_all(&temporary).expect("made");
    let (dead, lives) = ("pgsql_tmp4194301.0", format!("pgsql_tmp{}.0", std::process::id()));
    for name in [dead, &lives] {
        fs::write(temporary.join(name), vec![0; 1 << 20]).expect("written");
    }
    bundled(driver, goal, "free-disk", &[], true);
    assert!(temporary.join(dead).exists(), "a dry run removes nothing");
    let ran = bundled(driver, goal, "free-disk", &[], false);
    assert!(!temporary.join(dead).exists() && temporary.join(&lives).exists());
    let freed = ran.answer.expect("an answer")["freed_bytes"].as_u64().expect("a number");
    assert!(freed >= 1 << 20, "{freed}");
}
