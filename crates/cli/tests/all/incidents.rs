//! Many troubles with one cause are told once, and told they are, whatever becomes of whoever tells: real
//! hosts, images and repositories that fail, and a real provider that refuses, hangs, breaks, lies and dies.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel_drivers::image::{self, Software};
use evenkeel_drivers::process;
use rustix::process::Signal;
use serde_json::Value;

use crate::fleet::{BINARY, Fleet, free_port, images, root, send, software, until};
use crate::provider::{Mode, Provider};
use crate::storage::Storage;

const SOON: u64 = 60;
/// Members on the host that dies. To make sixty servers and their files, and to remove them, takes minutes on two
/// cores: `EVENKEEL_MEMBERS=60` has them.
fn members() -> usize {
    let given = std::env::var("EVENKEEL_MEMBERS").ok();
    given.map_or(16, |given| given.parse().expect("EVENKEEL_MEMBERS is a number"))
}
/// The disk of the machine that tests run on, however slow or full, is in none of their incidents.
const DISK_OFF: &str = "[checks]\ndisk_latency_warn_ms = 3600000\ndisk_latency_critical_ms = 3600000\n\
                        disk_free_warn_percent = 0\ndisk_free_critical_percent = 0\n";
/// Orders given at once.
const AT_ONCE: usize = 8;

/// Files of a test's own that the fleet's user reads, and its command writes to.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("its own");
        let files = Self { dir };
        fs::write(files.pages(), "").expect("written");
        fs::set_permissions(files.pages(), fs::Permissions::from_mode(0o666)).expect("its own");
        files
    }

    /// Where the command writes what it is given, a line each.
    fn pages(&self) -> PathBuf {
        self.dir.path().join("pages")
    }

    /// What the command was given for a purpose.
    fn told(&self, purpose: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.pages()).expect("readable");
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["notice"]["purpose"] == purpose).collect()
    }

    /// A policy file.
    fn policy(&self, text: &str) -> String {
        self.write("policy.toml", &format!("{text}{DISK_OFF}"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    /// A chain: the provider, and a command when that does not do.
    fn alerts(&self, provider: &Provider, ack_within: &str) -> String {
        let pages = self.pages();
        let command = format!("cat >> {0}; echo >> {0}", pages.display());
        let text = format!(
            "patience = \"1s\"\nack_within = \"{ack_within}\"\n\
             [[channel]]\nname = \"pager\"\nkind = \"webhook\"\nurl = \"http://{}/alerts\"\n\
             [[channel]]\nname = \"modem\"\nkind = \"command\"\nargv = [\"/bin/sh\", \"-c\", {:?}]\n\
             [watcher]\nurl = \"http://{}/alive\"\nevery = \"1s\"\n",
            provider.address, command, provider.address
        );
        self.write("alerts.toml", &text)
    }
}

/// The keys of incidents that the provider was told of for a purpose.
fn keys(provider: &Provider, purpose: &str) -> Vec<String> {
    let of = |told: &Value| told["notice"]["purpose"] == purpose;
    let told = provider.told().into_iter().filter(of);
    told.map(|told| told["key"].as_str().expect("a key").to_owned()).collect()
}

/// Incidents, newest first.
fn incidents(fleet: &Fleet) -> Vec<Value> {
    let all = fleet.json(&["incident", "list", "--all"]);
    all.as_array().cloned().unwrap_or_default()
}

/// Creates services of one member each, several at once.
fn create(fleet: &Fleet, names: &[String]) {
    for some in names.chunks(AT_ONCE) {
        let started = some.iter().map(|name| {
            let mut command = fleet.command(&["create", "postgres", name, "--no-wait"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().expect("the binary runs")
        });
        for child in started.collect::<Vec<_>>() {
            let out = child.wait_with_output().expect("it ends");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
    }
    until(SOON * 3, "all of them serve", || {
        let all = fleet.json(&["list"]);
        let serves =
            |service: &Value| service["state"] == "available" && service["operation"].is_null();
        all.as_array().is_some_and(|all| {
            let ours = all.iter().filter(|s| names.iter().any(|name| s["name"] == **name));
            ours.filter(|service| serves(service)).count() == names.len()
        })
    });
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

/// Every server of a host, by the host's services' members.
fn servers(fleet: &Fleet, host: &str) -> Vec<u32> {
    let all = fleet.json(&["list"]);
    let members = all
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|service| service["members"].as_array().cloned().unwrap_or_default());
    let here = members.filter(|member| member["host"] == host);
    here.filter_map(|member| u32::try_from(member["pid"].as_u64()?).ok()).collect()
}

/// A host is gone: its agent and all of its servers, at once.
fn kill_host(fleet: &Fleet, host: &str) {
    let agent = fleet.identity(&format!("hosts/{host}/pid.json")).pid;
    let pids = [vec![agent], servers(fleet, host)].concat();
    let held: Vec<_> = pids.iter().map(|pid| process::pidfd(*pid).expect("it runs")).collect();
    held.iter().for_each(|held| process::signal(held, Signal::KILL).expect("it may be sent"));
    for held in &held {
        assert!(process::wait_gone(held, Duration::from_secs(10)), "it is killed");
    }
}

#[test]
fn a_host_with_many_members_dies_and_one_page_names_it() {
    if !software("a_host_with_many_members_dies_and_one_page_names_it") {
        return;
    }
    let members = members();
    let (provider, files) = (Provider::start(), Files::new());
    let policy =
        "backup_first_within = \"1d\"\n[incidents]\nfine_for = \"3s\"\nalone_after = \"0s\"\n";
    let (policy, alerts) = (files.policy(policy), files.alerts(&provider, "30m"));
    let flags =
        ["--policy", &policy, "--alerts", &alerts, "--respawn-after", "30s", "--racks", "1"];
    let fleet = Fleet::start("many", &[&flags[..], &["--pool", "2"]].concat());
    let began = Instant::now();
    // The others take nothing until this one is full.
    ["h2", "h3"].iter().for_each(|host| drop(fleet.ok(&["host", "drain", host])));
    create(&fleet, &names("s", members));
    ["h2", "h3"].iter().for_each(|host| drop(fleet.ok(&["host", "return", host])));
    create(&fleet, &names("other", 4));
    println!("{} services in {:?}", members + 4, began.elapsed());
    let hosts = fleet.json(&["host", "list"]);
    let host = |name: &str| {
        let found = hosts.as_array().and_then(|all| all.iter().find(|h| h["name"] == name));
        found.expect("it is there").clone()
    };
    assert_eq!(host("h1")["members"], members, "{hosts}");
    assert_eq!(host("h1")["rack"], "r1");
    let began = Instant::now();
    kill_host(&fleet, "h1");
    until(SOON, "everybody on it is in one incident", || {
        let all = incidents(&fleet);
        all.len() == 1 && all[0]["state"] == "paged" && all[0]["folded"] == members
    });
    println!("{members} of them are in one incident, and it is told, after {:?}", began.elapsed());
    let all = incidents(&fleet);
    assert_eq!(all[0]["domain"], "host h1", "{}", all[0]);
    let listed = fleet.json(&["list"]);
    let part = listed.as_array().expect("services").iter().filter(|s| s["incident"] == 1);
    assert_eq!(part.count(), members, "each says which incident it is part of");
    assert!(fleet.ok(&["list"]).contains(" i1 "));
    assert_eq!(keys(&provider, "raise").len(), 1, "{:?}", provider.told());
    // It comes back: the end is told under the same key, and nothing is told twice.
    until(SOON * 2, "it is over", || incidents(&fleet)[0]["state"] == "resolved");
    until(SOON, "the provider knows", || keys(&provider, "resolve").len() == 1);
    assert_eq!(keys(&provider, "raise"), keys(&provider, "resolve"));
    assert_eq!(incidents(&fleet).len(), 1);
    assert!(files.told("raise").is_empty(), "the second channel was not needed");
    // What led to it is kept, and can be decided again.
    let show = fleet.json(&["incident", "show", "i1"]);
    let recordings = show["recordings"].as_array().expect("recordings").clone();
    assert!(!recordings.is_empty(), "{show}");
    for recording in &recordings {
        let path = recording.as_str().expect("a path");
        assert!(path.ends_with(".incident.rec") && Path::new(path).exists(), "{path}");
    }
    // To end all of its servers in good order takes longer than this.
    kill_host(&fleet, "h1");
}

/// Starts an agent that has another directory in the place of a server's programs.
fn agent_over(fleet: &Fleet, host: &str, zone: &str, programs: &Path, instead: &Path) {
    let owner = fs::metadata(fleet.data.join("hosts")).expect("there");
    let text = |path: PathBuf| path.display().to_string();
    let script = format!(
        "mount --bind {} {} && exec setpriv --reuid {} --regid {} --clear-groups \"$@\"",
        instead.display(),
        programs.display(),
        owner.uid(),
        owner.gid()
    );
    let dir = fleet.data.join("hosts").join(host);
    fs::create_dir_all(&dir).expect("made");
    crate::fleet::give(fleet, &dir);
    let sockets = format!("/tmp/ek-s-{}-{host}", std::process::id());
    let program = text(fleet.data.join("bin/for-the-test"));
    let file = text(fleet.data.join("controller/controller.json"));
    let log = fs::File::create(fleet.data.join("log").join(format!("{host}.log"))).expect("a log");
    let images = text(images().to_owned());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh", &program, "agent", "--host", host]);
    command.args(["--zone", zone, "--dir", &text(dir), "--controller-file", &file]);
    command.args(["--sockets", &sockets, "--images", &images, "--pool", "0"]);
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
    drop(command.spawn().expect("it runs"));
}

/// A copy of the programs with another server among them: another image.
fn another_image(fleet: &Fleet, programs: &Path) -> PathBuf {
    let copy = fleet.data.join("other-image");
    let copied = Command::new("cp").arg("-rL").arg(programs).arg(&copy).status();
    assert!(copied.expect("it runs").success());
    let server = fs::OpenOptions::new().append(true).open(copy.join("postgres"));
    // What follows its end changes nothing about a program but its digest.
    server.and_then(|mut server| server.write_all(b"another build")).expect("writable");
    copy
}

#[test]
fn a_bad_image_on_members_over_several_hosts_is_named() {
    const NAME: &str = "a_bad_image_on_members_over_several_hosts_is_named";
    if !root(NAME) || !software(NAME) {
        return;
    }
    let Ok(installed) = image::host(Software::Postgres) else {
        println!("1 not run: PostgreSQL is not installed here ({NAME})");
        return;
    };
    let (provider, files) = (Provider::start(), Files::new());
    let remedies = files.dir.path().join("remedies");
    fs::create_dir(&remedies).expect("made");
    let loops = "name = 'crash-loop'\ndoc = 'One try.'\nwhen = \"condition == 'crash_looping'\"\n\
                 operation = 'recover'\nlevel = 'auto'\nmanual_minutes = 20\n\
                 [budget]\ntries_max = 1\nwindow = '30m'\ncooldown = '1s'\n";
    fs::write(remedies.join("crash-loop.toml"), loops).expect("written");
    let alerts = files.alerts(&provider, "30m");
    let remedies = remedies.display().to_string();
    let policy = files.policy("");
    let flags = ["--policy", &policy, "--alerts", &alerts, "--remedies", &remedies];
    let fleet = Fleet::start("image", &flags);
    let copy = another_image(&fleet, &installed.bin);
    fs::copy(BINARY, fleet.data.join("bin/for-the-test")).expect("copied");
    for (host, zone) in [("h4", "a"), ("h5", "b"), ("h6", "c")] {
        agent_over(&fleet, host, zone, &installed.bin, &copy);
    }
    until(SOON, "all six hosts are up", || {
        let all = fleet.json(&["host", "list"]);
        let up = |all: &Vec<Value>| all.iter().filter(|host| host["state"] == "up").count();
        all.as_array().map(up) == Some(6)
    });
    let image = |host: &str| fleet.json(&["host", "show", host])["image"].clone();
    assert_ne!(image("h1"), image("h4"));
    assert_eq!(image("h4"), image("h6"));
    create(&fleet, &names("s", 12));
    let bad = ["h4", "h5", "h6"];
    let victims: Vec<u32> = bad.iter().flat_map(|host| servers(&fleet, host)).collect();
    assert_eq!(victims.len(), 6, "they are spread");
    // The bad build: it ends as soon as it begins.
    let server = copy.join("postgres");
    fs::remove_file(&server).expect("its own");
    fs::write(&server, "#!/bin/sh\necho 'postgres (PostgreSQL) 15.0'\nexit 1\n").expect("written");
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).expect("its own");
    let began = Instant::now();
    victims.iter().for_each(|pid| send(*pid, Signal::KILL));
    until(SOON * 3, "everybody on it is in one incident", || {
        let all = incidents(&fleet);
        all.first().is_some_and(|incident| incident["folded"].as_u64() == Some(6))
    });
    println!("the image is named after {:?}", began.elapsed());
    let all = incidents(&fleet);
    let named = format!("image {}", image_of(&fleet, "h4"));
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(all[0]["domain"], named.as_str(), "{all:#?}");
    let told: BTreeSet<String> = keys(&provider, "raise").into_iter().collect();
    assert_eq!(told.len(), 1, "{:?}", provider.told());
}

/// The image of the members on a host.
fn image_of(fleet: &Fleet, host: &str) -> String {
    let all = fleet.json(&["list"]);
    let members = all.as_array().into_iter().flatten();
    let mut here = members.map(|s| &s["members"][0]).filter(|member| member["host"] == host);
    here.next().and_then(|member| member["image"].as_str()).expect("it has one").to_owned()
}

/// Has the log go on, with some of it in a segment that is over.
fn write(fleet: &Fleet, name: &str) {
    let text = "CREATE TABLE IF NOT EXISTS filler (t text); \
                INSERT INTO filler SELECT (SELECT string_agg(md5(random()::text || n || m), '') \
                FROM generate_series(1, 100) AS m) FROM generate_series(1, 1500) AS n";
    fleet.sql(name, text).expect("it takes writes");
}

#[test]
fn of_two_repositories_the_one_that_is_down_is_named() {
    if !software("of_two_repositories_the_one_that_is_down_is_named") {
        return;
    }
    let (provider, files) = (Provider::start(), Files::new());
    let mut storage = Storage::start();
    let policy = "backup_first_within = \"1d\"\n\
                  [incidents]\nrepository_after = \"2s\"\ngather = \"1s\"\n";
    let (policy, alerts) = (files.policy(policy), files.alerts(&provider, "30m"));
    let fleet = Fleet::start("repositories", &["--policy", &policy, "--alerts", &alerts]);
    let bucket = storage.bucket();
    let ca = files.write("ca.pem", bucket.ca.as_deref().expect("its own"));
    let keys_file = "aws_access_key_id = somebody\naws_secret_access_key = a secret\n";
    let keys_file = files.write("keys", keys_file);
    let add = ["repository", "add", "far", "--bucket", "backups/fleet", "--region", "eu-1"];
    let place = ["--endpoint", &bucket.endpoint, "--ca", &ca, "--credentials", &keys_file];
    fleet.ok(&[&add[..], &place].concat());
    let services = names("s", 6);
    create(&fleet, &services);
    services.iter().for_each(|name| write(&fleet, name));
    assert!(incidents(&fleet).is_empty());
    storage.kill();
    services.iter().for_each(|name| write(&fleet, name));
    let began = Instant::now();
    let mut seen = Vec::new();
    // On a slow machine a service may be told alone before the others have failed: its own is closed
    // when the repository is blamed.
    let open = || -> Vec<Value> {
        incidents(&fleet).into_iter().filter(|one| one["state"] != "closed").collect()
    };
    until(SOON * 2, "all of them are in one incident", || {
        let now = open();
        let line = |one: &Value| format!("{} {} of {}", one["state"], one["domain"], one["folded"]);
        let lines: Vec<String> = now.iter().map(line).collect();
        if lines != seen {
            println!("{:?}: {lines:?}", began.elapsed());
            seen = lines;
        }
        now.first().is_some_and(|incident| incident["folded"] == services.len())
    });
    println!("the repository is named after {:?}", began.elapsed());
    let all = open();
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(all[0]["domain"], "repository far", "{all:#?}");
    let key = format!("-i{}", all[0]["id"]);
    until(SOON, "it is told", || keys(&provider, "raise").iter().any(|told| told.ends_with(&key)));
    let states = fleet.json(&["list"]);
    let mut states = states.as_array().expect("services").iter();
    assert!(states.all(|service| service["state"] == "available"), "nobody is stopped by it");
}

/// What the provider does to one incident after the other.
const MODES: [Mode; 5] = [Mode::Refuses, Mode::Hangs, Mode::Breaks, Mode::Lies, Mode::Dies];
/// Incidents in all.
const INCIDENTS: usize = 13;

#[test]
fn whatever_the_provider_does_a_person_is_told_and_silence_is_told_too() {
    if !software("whatever_the_provider_does_a_person_is_told_and_silence_is_told_too") {
        return;
    }
    let (provider, files) = (Provider::start(), Files::new());
    let policy = "down_after = \"500ms\"\nbackup_first_within = \"1d\"\n\
                  [incidents]\ngather = \"200ms\"\nalone_after = \"0s\"\nfine_for = \"500ms\"\nreopen_within = \"1s\"\n";
    let (policy, alerts) = (files.policy(policy), files.alerts(&provider, "5s"));
    let rules = ["--policy", &policy, "--alerts", &alerts, "--hosts", "6"];
    let mut fleet =
        Fleet::start("pager", &[&rules[..], &["--respawn-after", "8s", "--pool", "0"]].concat());
    create(&fleet, &names("s", 6));
    let mut longest = Duration::ZERO;
    for number in 0..INCIDENTS {
        let mode = MODES[number % MODES.len()];
        let host = format!("h{}", number % 6 + 1);
        // Two hosts of a zone that are away at once would be one incident.
        until(SOON, "all serve again, and no incident is open", || is_well(&fleet));
        provider.set(mode);
        let before: BTreeSet<String> = told_keys(&files);
        kill_host(&fleet, &host);
        let mut opened = None;
        let what = format!("somebody is told of number {number} while the provider {mode:?}");
        until(SOON, &what, || {
            let (all, now) = (incidents(&fleet), Instant::now());
            let is_new = |incident: &&Value| {
                let key = format!("-i{}", incident["id"]);
                incident["state"] != "closed" && !before.iter().any(|known| known.ends_with(&key))
            };
            if let Some(new) = all.iter().find(is_new) {
                let age = Duration::from_millis(new["opened_ms"].as_u64().expect("an age"));
                opened.get_or_insert(now.checked_sub(age).unwrap_or(now));
            }
            told_keys(&files).len() > before.len()
        });
        let opened = opened.expect("there was an incident");
        let took = opened.elapsed();
        longest = longest.max(took);
        println!("incident {number}, the provider {mode:?}: a person is told after {took:?}");
    }
    let (all, told) = (incidents(&fleet), told_keys(&files));
    assert_eq!(all.len(), INCIDENTS, "{all:#?}");
    for incident in &all {
        let key = format!("-i{}", incident["id"]);
        assert!(told.iter().any(|told| told.ends_with(&key)), "nobody is told of {incident:#}");
    }
    println!("{INCIDENTS} incidents: a person was told of each, after {longest:?} at most");
    provider.set(Mode::Lies);
    until(SOON, "the watcher hears of it", || provider.last_ping().is_some());
    // Nobody is left who could tell of it but who watches from outside.
    let last = provider.last_ping();
    until(SOON, "it lives", || provider.last_ping() > last);
    fleet.kill_up();
    let killed = Instant::now();
    until(10, "the watcher misses it", || {
        provider.last_ping().is_some_and(|at| at.elapsed() > Duration::from_secs(3))
    });
    println!("the watcher missed it {:?} after it was killed", killed.elapsed());
}

/// `evenkeel watch`, ended with its test.
struct Watcher(Child);

impl Watcher {
    fn start(address: &str, alerts: &str) -> Self {
        let arguments = ["watch", "--listen", address, "--path", "/our-fleet", "--limit", "3s"];
        let mut command = Command::new(BINARY);
        command.args(arguments).args(["--alerts", alerts]);
        Self(command.stdin(Stdio::null()).spawn().expect("the binary runs"))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn evenkeels_own_silence_is_told_by_whoever_watches_from_outside() {
    if !software("evenkeels_own_silence_is_told_by_whoever_watches_from_outside") {
        return;
    }
    let files = Files::new();
    let address = format!("127.0.0.1:{}", free_port());
    let command = format!("cat >> {0}; echo >> {0}", files.pages().display());
    let channel = format!(
        "[[channel]]\nname = \"modem\"\nkind = \"command\"\nargv = [\"/bin/sh\", \"-c\", {command:?}]\n"
    );
    let watch = files.write("watch.toml", &channel);
    let alerts = "[[channel]]\nname = \"none\"\nkind = \"command\"\nargv = [\"/bin/true\"]\n";
    let pings =
        format!("{alerts}[watcher]\nurl = \"http://{address}/our-fleet\"\nevery = \"1s\"\n");
    let pings = files.write("alerts.toml", &pings);
    let titles = |purpose: &str| {
        let told = files.told(purpose);
        let title = |told: &Value| told["notice"]["title"].as_str().expect("a title").to_owned();
        told.iter().map(title).collect::<Vec<_>>()
    };
    let _watcher = Watcher::start(&address, &watch);
    until(SOON, "it is told that nobody was heard", || titles("raise").len() == 1);
    assert!(titles("raise")[0].contains("no control plane was heard"), "{:?}", titles("raise"));
    let flags = ["--hosts", "1", "--alerts", &pings];
    let mut fleet = Fleet::start("outside", &flags);
    until(SOON, "it is told that one is heard", || titles("resolve").len() == 1);
    fleet.kill_up();
    let killed = Instant::now();
    until(SOON, "its silence is told", || titles("raise").len() == 2);
    println!("silence was told {:?} after the controller was killed", killed.elapsed());
    assert!(titles("raise")[1].contains("is silent"), "{:?}", titles("raise"));
    fleet.up(&flags);
    until(SOON, "it is told that it is heard again", || titles("resolve").len() == 2);
    // It was told of once each time.
    assert_eq!(titles("raise").len(), 2, "{:?}", titles("raise"));
}

/// Whether all hosts are up, all services serve, and no incident is open.
fn is_well(fleet: &Fleet) -> bool {
    let every = |of: &[&str], state: &str| {
        let all = fleet.json(of);
        all.as_array().is_some_and(|all| all.iter().all(|one| one["state"] == state))
    };
    every(&["host", "list"], "up")
        && every(&["list"], "available")
        && fleet.json(&["incident", "list"]).as_array().is_some_and(Vec::is_empty)
}

/// What the command was told of.
fn told_keys(files: &Files) -> BTreeSet<String> {
    let told = files.told("raise").into_iter();
    told.map(|told| told["key"].as_str().expect("a key").to_owned()).collect()
}
