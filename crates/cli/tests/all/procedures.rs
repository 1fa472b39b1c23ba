//! Procedures and break-glass as their users have them: a user's own scripts, a second person, a shell.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::fleet::{Fleet, new_data, software, until};

const MANIFEST: &str = "doc = \"For tests.\"\nkind = \"postgres\"\ninterpreter = [\"/bin/sh\"]\n\
    time_limit_seconds = 60\nrole = \"maintenance\"\ndisruptive = false\nmanual_minutes = 5\n";

fn write(dir: &std::path::Path, name: &str, more: &str, script: &str) {
    let manifest = format!("name = \"{name}\"\n{MANIFEST}{more}");
    fs::write(dir.join(format!("{name}.toml")), manifest).expect("written");
    fs::write(dir.join(format!("{name}.sh")), script).expect("written");
}

#[test]
fn procedures_run_and_what_people_do_by_hand_is_kept() {
    if !software("procedures_run_and_what_people_do_by_hand_is_kept") {
        return;
    }
    let own = new_data("procedures-own");
    fs::create_dir_all(&own).expect("made");
    write(
        &own,
        "count",
        "[[parameters]]\nname = \"table\"\ntype = \"text\"\ndoc = \"Which.\"\n",
        COUNT,
    );
    write(
        &own,
        "fails",
        "",
        "echo it is broken >&2\necho '{\"ok\": false, \"text\": \"no luck\"}'\n",
    );
    write(&own, "grave", "second_person = true\n", "cat > /dev/null\necho '{\"ok\": true}'\n");
    write(&own, "sleeps", "", "sleep 300\n");
    let flags = ["--hosts", "1", "--procedures", &own.display().to_string()];
    let fleet = Fleet::start("procedures", &flags);
    fleet.create("orders");
    fleet.sql("orders", "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)").expect("made");

    let list = fleet.ok(&["procedure", "list"]);
    assert!(list.contains("count") && list.contains("end-idle-transactions"), "{list}");
    assert!(fleet.ok(&["procedure", "show", "freeze"]).contains("--param age=..."));
    let run = fleet.json(&["procedure", "run", "ask-locks", "orders", "--wait"]);
    assert_eq!(run["state"], "done", "{run}");
    let answer = &run["entries"][0]["ran"]["answer"];
    assert_eq!(answer["locks"], serde_json::json!([]), "{run}");
    let run = ["procedure", "run", "count", "orders", "--wait", "--param", "table=t"];
    let text = fleet.ok(&run);
    assert!(text.contains("t has 2 rows on h1 for primary"), "{text}");
    let (code, said) = fleet.fails(&["procedure", "run", "count", "orders"]);
    assert!(code == 4 && said.contains("needs parameter table"), "{code} {said}");
    let (code, said) = fleet.fails(&["procedure", "run", "none", "orders"]);
    assert!(code == 3 && said.contains("there are: "), "{code} {said}");
    let (code, said) = fleet.fails(&["procedure", "run", "fails", "orders", "--wait"]);
    assert!(code == 1 && said.contains("no luck"), "{code} {said}");
    let journal = fleet.ok(&["journal", "--subject", "orders", "--limit", "100"]);
    assert!(journal.contains("it is broken") || journal.contains("no luck"), "{journal}");
    break_glass(&fleet);
    by_hand(&fleet, &own);
    let _ = fs::remove_dir_all(&own);
}

const COUNT: &str = r#"#!/bin/sh
set -eu
psql -X -q -A -t -v ON_ERROR_STOP=1 -v input="$(cat)" <<'SQL'
SELECT format('SELECT json_build_object(''ok'', true, ''text'', format(''%%s has %%s rows on %%s for %%s'',
    %L, (SELECT count(*) FROM %I), %L, %L))', :'input'::json->'parameters'->>'table',
    :'input'::json->'parameters'->>'table', :'input'::json->>'host', :'input'::json->>'role') AS command \gset
:command;
SQL
"#;

fn lease<'a>(head: &[&'a str], time: &'a str) -> Vec<&'a str> {
    let tail = ["--service", "orders", "--reason", "it is stuck", "--for", time, "--as", "kim"];
    [head, &tail[..]].concat()
}

fn break_glass(fleet: &Fleet) {
    let ran = fleet.ok(&lease(&["breakglass", "run", "end-idle-transactions", "--dry-run"], "10m"));
    assert!(ran.contains("sessions would be ended"), "{ran}");
    // A second person is another one, and nothing runs before that.
    let waits = fleet.json(&lease(&["breakglass", "run", "grave"], "10m"));
    let id = waits["job"].to_string();
    let (_, said) = fleet.fails(&["breakglass", "approve", &id, "--as", "kim"]);
    assert!(said.contains("another person"), "{said}");
    assert_eq!(fleet.json(&["breakglass", "transcript", &id])["entries"], serde_json::json!([]));
    fleet.ok(&["breakglass", "approve", &id, "--as", "sam"]);
    until(30, "it is done", || fleet.json(&["breakglass", "transcript", &id])["state"] == "done");
    // It ends by itself, and so does what runs for it.
    let sleeps = fleet.json(&lease(&["breakglass", "run", "sleeps", "--no-wait"], "3s"));
    let id = sleeps["job"].to_string();
    until(30, "its time is over", || {
        fleet.json(&["breakglass", "transcript", &id])["state"] == "ended"
    });
    until(30, "nothing is under way", || fleet.show("orders")["operation"].is_null());
    let sleeping = || {
        let entries = fs::read_dir("/proc").expect("a list").filter_map(|e| Some(e.ok()?.path()));
        let line = |path: std::path::PathBuf| fs::read(path.join("cmdline")).unwrap_or_default();
        entries.map(line).any(|line| line == b"sleep\x00300\x00")
    };
    until(30, "its script is gone", || !sleeping());
    let text = fleet.ok(&["breakglass", "transcript", &id]);
    assert!(text.contains("kim") && text.contains("it is stuck"), "{text}");
}

fn by_hand(fleet: &Fleet, own: &std::path::Path) {
    let mut shell = fleet
        .command(&lease(&["breakglass", "shell"], "5m"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let typed = "INSERT INTO t VALUES (3);\nSELECT 'rows: ' || count(*) FROM t;\n";
    shell.stdin.take().expect("a pipe").write_all(typed.as_bytes()).expect("it reads");
    let out = shell.wait_with_output().expect("it ends");
    let (shown, said) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && shown.contains("rows: 3"), "{shown} {said}");
    let acts = fleet.json(&["breakglass", "list"]);
    assert_eq!((&acts[0]["sort"], &acts[0]["state"]), (&"shell".into(), &"done".into()), "{acts}");
    let recording = &acts[0]["recording"];
    assert_eq!(recording["typed"], typed, "{recording}");
    assert!(recording["shown"].as_str().is_some_and(|s| s.contains("rows: 3")), "{recording}");
    let journal = fleet.ok(&["journal", "--subject", "orders", "--limit", "20"]);
    assert!(journal.contains("by hand: kim in a psql shell: 2 lines"), "{journal}");
    // What was typed is a procedure's draft, which a controller takes as it is.
    let id = acts[0]["id"].to_string();
    let to = own.display().to_string();
    fleet.ok(&["breakglass", "draft", &id, "--name", "drafted", "--to", &to]);
    let script = fs::read_to_string(own.join("drafted.sh")).expect("written");
    assert!(script.contains("INSERT INTO t VALUES (3);"), "{script}");
    let (_, said) = fleet.fails(&["breakglass", "draft", &id, "--name", "drafted", "--to", &to]);
    assert!(said.contains("is there already"), "{said}");
}
