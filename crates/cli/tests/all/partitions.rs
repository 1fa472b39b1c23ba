//! Networks that are cut: every host in a network namespace of its own, behind one switch. What is
//! dropped is dropped without a word. A ledger of acknowledged writes is compared after each.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::fleet::{BINARY, Fleet, Ledger, images, new_data, root, software, sql, until};

/// The user `nobody` of every Debian system.
const NOBODY: u32 = 65_534;
/// Where a frame goes that nobody takes.
const NOWHERE: &str = "02:00:00:00:00:ff";
/// What a switch leads to: the controller with the gateway, the clients, the hosts.
const PLACES: [&str; 5] = ["c", "d", "h1", "h2", "h3"];
/// What a slow machine takes to notice, decide and be quick about it.
const SOON: u64 = 60;

/// A switch, and namespaces behind it; taken away at the end.
struct Net {
    prefix: String,
}

fn ip(arguments: &[&str]) -> bool {
    let ran =
        Command::new("ip").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}

fn address(place: &str) -> &'static str {
    match place {
        "c" => "10.99.0.1",
        "d" => "10.99.0.2",
        "h1" => "10.99.0.11",
        "h2" => "10.99.0.12",
        _ => "10.99.0.13",
    }
}

impl Net {
    /// None where no namespaces can be made.
    fn new() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let net = Self { prefix: format!("ek{}-{number}", std::process::id()) };
        let switch = net.space("s");
        let mut made = ip(&["netns", "add", &switch])
            && ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"])
            && ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for place in PLACES {
            let space = net.space(place);
            let (port, own) = (format!("v{place}"), format!("{}/24", address(place)));
            let veth = ["type", "veth", "peer", "name", "e0", "netns", &space];
            made = made
                && ip(&["netns", "add", &space])
                && ip(&[&["-n", &switch, "link", "add", &port], &veth[..]].concat())
                && ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"])
                && ip(&["-n", &space, "addr", "add", &own, "dev", "e0"])
                && ip(&["-n", &space, "link", "set", "e0", "up"])
                && ip(&["-n", &space, "link", "set", "lo", "up"]);
        }
        made.then_some(net)
    }

    fn space(&self, place: &str) -> String {
        format!("{}{place}", self.prefix)
    }

    /// What one place sends to another is lost, and says nothing.
    fn drop_one_way(&self, from: &str, to: &str) {
        let lost = ["lladdr", NOWHERE, "dev", "e0", "nud", "permanent"];
        let space = self.space(from);
        assert!(ip(&[&["-n", &space, "neigh", "replace", address(to)], &lost[..]].concat()));
    }

    fn cut(&self, one: &str, other: &str) {
        self.drop_one_way(one, other);
        self.drop_one_way(other, one);
    }

    /// Nothing that was dropped is dropped any more.
    fn mend(&self) {
        for place in PLACES {
            let space = self.space(place);
            for other in PLACES.into_iter().filter(|other| *other != place) {
                // There is none where nothing was cut.
                ip(&["-n", &space, "neigh", "del", address(other), "dev", "e0"]);
            }
            ip(&["-n", &self.space("s"), "link", "set", &format!("v{place}"), "up"]);
        }
    }

    /// A host is gone without closing anything: its cable is pulled.
    fn vanish(&self, place: &str) {
        assert!(ip(&["-n", &self.space("s"), "link", "set", &format!("v{place}"), "down"]));
    }

    /// Runs something in a place: what it starts is there too.
    fn inside<T: Send>(&self, place: &str, act: impl FnOnce() -> T + Send) -> T {
        let space = std::fs::File::open(format!("/var/run/netns/{}", self.space(place)));
        let space = space.expect("it was made");
        std::thread::scope(|scope| {
            let work = scope.spawn(move || {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), network)
                    .expect("root may");
                act()
            });
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for place in PLACES.into_iter().chain(["s"]) {
            ip(&["netns", "del", &self.space(place)]);
        }
    }
}

/// Starts a process of the fleet in a place, as nobody.
fn launch(net: &Net, data: &Path, place: &str, arguments: &[&str]) {
    let log = data.join("log").join(format!("{place}-{}.log", arguments[0]));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
    net.inside(place, || {
        let mut command = Command::new(data.join("bin/evenkeel"));
        command.args(arguments).env("EVENKEEL_DATA", data).uid(NOBODY).gid(NOBODY).current_dir("/");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        drop(command.spawn().expect("it runs"));
    });
}

/// A fleet over a network, with a service that has a standby.
fn fleet(net: &Net, name: &str, plan: &str) -> Fleet {
    let data = new_data(name);
    for dir in ["", "bin", "log", "controller", "hosts", "gateways", "s"] {
        std::fs::create_dir_all(data.join(dir)).expect("made");
        chown(data.join(dir), Some(NOBODY), Some(NOBODY)).expect("root may");
    }
    std::fs::copy(BINARY, data.join("bin/evenkeel")).expect("copied");
    let text = |path: PathBuf| path.display().to_string();
    let file = text(data.join("controller/controller.json"));
    launch(net, &data, "c", &["controller", "--listen", "10.99.0.1:7432"]);
    until(30, "the controller says where it is", || Path::new(&file).exists());
    let place = text(data.join("gateways/g"));
    let gateway = ["gateway", "--name", "g", "--address", "10.99.0.1", "--dir", &place];
    launch(net, &data, "c", &[&gateway[..], &["--controller-file", &file]].concat());
    for (host, zone) in [("h1", "a"), ("h2", "b"), ("h3", "c")] {
        let (dir, sockets) = (text(data.join("hosts").join(host)), text(data.join("s").join(host)));
        let agent = ["agent", "--host", host, "--zone", zone, "--address", address(host)];
        let places = ["--dir", &dir, "--sockets", &sockets, "--controller-file", &file];
        let images = text(images().to_owned());
        launch(
            net,
            &data,
            host,
            &[&agent[..], &places[..], &["--images", &images, "--pool", "0"]].concat(),
        );
    }
    let fleet = Fleet::over(data);
    until(60, "every host is up", || {
        let all = fleet.json(&["host", "list"]);
        all.as_array()
            .is_some_and(|all| all.iter().filter(|host| host["state"] == "up").count() == 3)
    });
    fleet.ok(&["create", "postgres", "pay", "--plan", plan]);
    whole(&fleet);
    fleet
}

fn whole(fleet: &Fleet) {
    until(SOON * 2, "every standby is counted on", || {
        let show = fleet.show("pay");
        show["state"] == "available"
            && show["failover"]["safe_now"] == true
            && show["operation"].is_null()
    });
}

/// The host of the member with a part, and the member.
fn host_of(fleet: &Fleet, role: &str) -> (String, Value) {
    let show = fleet.show("pay");
    let members = show["members"].as_array().cloned().unwrap_or_default();
    let found = members.into_iter().find(|member| member["role"] == role).expect("it is there");
    (found["host"].as_str().expect("placed").to_owned(), found)
}

/// A client whose session is open already, straight to a server, and who goes on writing.
struct Straight {
    stop: Arc<AtomicBool>,
    /// Whether one was acknowledged.
    wrote: Arc<AtomicBool>,
    /// When each of its writes was acknowledged.
    writer: std::thread::JoinHandle<Vec<Instant>>,
}

impl Straight {
    fn to_primary(fleet: &Fleet) -> Self {
        let (host, member) = host_of(fleet, "primary");
        let url = fleet.ok(&["url", "pay"]);
        let (login, _) = url.trim().split_once('@').expect("a login");
        let url = format!("{login}@{}:{}/pay", address(&host), member["port"]);
        let stop = Arc::new(AtomicBool::new(false));
        let wrote = Arc::new(AtomicBool::new(false));
        let (ends, writes) = (Arc::clone(&stop), Arc::clone(&wrote));
        let writer = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(straight(&url, &ends, &writes))
        });
        let client = Self { stop, wrote, writer };
        until(SOON, "it writes", || client.wrote.load(Ordering::Relaxed));
        client
    }

    fn end(self) -> Vec<Instant> {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.join().expect("it ends")
    }
}

async fn straight(url: &str, stop: &AtomicBool, wrote: &AtomicBool) -> Vec<Instant> {
    let (client, connection) =
        tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("open");
    tokio::spawn(connection);
    client.batch_execute("CREATE TABLE IF NOT EXISTS straight (n serial)").await.expect("made");
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let write = client.simple_query("INSERT INTO straight DEFAULT VALUES");
        let limit = tokio::time::timeout(Duration::from_secs(5), write).await;
        match limit {
            Ok(Ok(_)) => {
                acknowledged.push(Instant::now());
                wrote.store(true, Ordering::Relaxed);
            }
            // It waits on for what was asked: nothing else is asked on this session.
            Err(_) => {
                while !stop.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            Ok(Err(_)) => break,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    acknowledged
}

/// Waits for the first write through the gateway from now on; when it was acknowledged.
fn next_write(fleet: &Fleet) -> Instant {
    let url = fleet.ok(&["url", "pay"]);
    until(SOON, "writes are acknowledged", || {
        sql(url.trim(), "CREATE TABLE IF NOT EXISTS x ()").is_ok()
    });
    Instant::now()
}

/// How often a fault is done where its outage is measured; more by `TRIALS`.
fn trials() -> u64 {
    std::env::var("TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

/// A fleet and its network, in the clients' place.
fn over_a_network(test: &str, short: &str, plan: &str, body: impl FnOnce(&Net, &Fleet) + Send) {
    if !software(test) || !root(test) {
        return;
    }
    let Some(net) = Net::new() else {
        println!("1 not run: no network namespaces can be made ({test})");
        return;
    };
    net.inside("d", || {
        let fleet = fleet(&net, short, plan);
        body(&net, &fleet);
        net.mend();
    });
}

#[test]
fn a_primary_cut_off_from_its_controller_alone_is_left_in_peace() {
    let name = "a_primary_cut_off_from_its_controller_alone_is_left_in_peace";
    over_a_network(name, "peace", "ha", |net, fleet| {
        let (host, before) = host_of(fleet, "primary");
        let client = Straight::to_primary(fleet);
        net.cut("c", &host);
        until(SOON, "its host is suspected", || {
            let listed = fleet.json(&["host", "show", &host]);
            listed["state"] != "up"
        });
        // Its standby hears it all the time: that is known, and nothing is done.
        until(SOON, "witnesses were asked and answered", || {
            fleet.ok(&["explain", "pay"]).contains("answered")
        });
        let mark = Instant::now();
        until(SOON, "it goes on for a while", || mark.elapsed() > Duration::from_secs(5));
        assert_eq!(host_of(fleet, "primary").1["id"], before["id"], "nobody else was promoted");
        net.mend();
        whole(fleet);
        let wrote = client.end();
        let longest = wrote.windows(2).map(|pair| pair[1] - pair[0]).max().expect("it wrote");
        println!("its longest pause between two writes: {longest:?}");
        assert!(wrote.last().is_some_and(|last| *last > mark), "it wrote to the end");
        assert_eq!(fleet.show("pay")["term"], 1);
    });
}

#[test]
fn a_primary_cut_off_from_its_standby_goes_on_alone_after_a_pause_and_says_so() {
    let name = "a_primary_cut_off_from_its_standby_goes_on_alone_after_a_pause_and_says_so";
    over_a_network(name, "pair", "ha", |net, fleet| {
        let ledger = Ledger::start(fleet, "pay");
        let (primary, before) = host_of(fleet, "primary");
        let (standby, _) = host_of(fleet, "standby");
        net.cut(&primary, &standby);
        until(SOON, "it is said that nobody could take over", || {
            let show = fleet.show("pay");
            show["failover"]["safe_now"] == false && show["state"] == "available"
        });
        let cut = Instant::now();
        let wrote = next_write(fleet);
        println!("writes went on {:?} after that", wrote - cut);
        assert_eq!(host_of(fleet, "primary").1["id"], before["id"], "nobody else was promoted");
        net.mend();
        whole(fleet);
        ledger.check(fleet, "pay");
        assert_eq!(fleet.show("pay")["term"], 1);
    });
}

#[test]
fn a_primary_cut_off_from_all_but_a_client_acknowledges_nothing_any_more() {
    let name = "a_primary_cut_off_from_all_but_a_client_acknowledges_nothing_any_more";
    over_a_network(name, "alone", "ha", |net, fleet| {
        let mut outages = Vec::new();
        for trial in 0..trials() {
            let one_way = trial % 2 == 1;
            whole(fleet);
            let ledger = Ledger::start(fleet, "pay");
            let client = Straight::to_primary(fleet);
            let (host, before) = host_of(fleet, "primary");
            let began = Instant::now();
            for other in ["c", "h1", "h2", "h3"].into_iter().filter(|other| *other != host) {
                match one_way {
                    // It hears everybody, and nobody hears it.
                    true => net.drop_one_way(&host, other),
                    false => net.cut(&host, other),
                }
            }
            until(SOON, "its standby takes its place", || {
                let show = fleet.show("pay");
                let first = show["members"][0].clone();
                first["id"] != before["id"] && first["state"] == "ready"
            });
            let taken = next_write(fleet);
            outages.push((taken - began).as_secs_f64());
            let wrote = client.end();
            let late = wrote.iter().filter(|at| **at > taken).count();
            assert_eq!(late, 0, "acknowledged by an old primary after the new one's first");
            assert!(wrote.iter().any(|at| *at < began), "it wrote before");
            net.mend();
            whole(fleet);
            ledger.check(fleet, "pay");
        }
        outages.sort_by(f64::total_cmp);
        println!("cut off; seconds to the next write: {outages:.2?}");
    });
}

#[test]
fn a_host_that_vanishes_gives_its_place_and_comes_back_as_a_standby() {
    let name = "a_host_that_vanishes_gives_its_place_and_comes_back_as_a_standby";
    over_a_network(name, "vanish", "ha", |net, fleet| {
        let mut outages = Vec::new();
        for _ in 0..trials() {
            let ledger = Ledger::start(fleet, "pay");
            let (host, before) = host_of(fleet, "primary");
            let began = Instant::now();
            net.vanish(&host);
            let wrote = next_write(fleet);
            outages.push((wrote - began).as_secs_f64());
            assert_ne!(host_of(fleet, "primary").1["id"], before["id"]);
            net.mend();
            whole(fleet);
            ledger.check(fleet, "pay");
        }
        outages.sort_by(f64::total_cmp);
        println!("a host vanished; seconds to the next write: {outages:.2?}");
        let mut predicted = evenkeel_sim::outages("vanish", trials());
        predicted.sort();
        println!("as the simulator has it: {predicted:?}");
    });
}

#[test]
fn a_primary_that_no_commit_waits_for_fences_itself_and_loses_its_tail_only() {
    let name = "a_primary_that_no_commit_waits_for_fences_itself_and_loses_its_tail_only";
    over_a_network(name, "async", "ha-async", |net, fleet| {
        let client = Straight::to_primary(fleet);
        let (host, before) = host_of(fleet, "primary");
        let cost = fleet.show("pay")["failover"]["cost"].clone();
        assert!(cost.is_string(), "what a failover may cost is shown");
        let began = Instant::now();
        for other in ["c", "h1", "h2", "h3"].into_iter().filter(|other| *other != host) {
            net.cut(&host, other);
        }
        until(SOON, "its standby takes its place", || {
            let first = fleet.show("pay")["members"][0].clone();
            first["id"] != before["id"] && first["state"] == "ready"
        });
        let taken = next_write(fleet);
        let wrote = client.end();
        let last = *wrote.last().expect("it wrote");
        println!("the last by the old primary {:?} after the cut", last - began);
        println!("the first by the new one {:?} after it", taken - began);
        assert!(last > began, "nobody told it, and no commit waited for another");
        assert!(last < taken, "acknowledged by an old primary after the new one's first");
        // What is there is the beginning of what was acknowledged: the end alone is lost.
        let count = "SELECT count(*) || '|' || max(n) FROM straight";
        let left = fleet.sql("pay", count).expect("it is there");
        let (rows, newest) = left[0].split_once('|').expect("two numbers");
        assert_eq!(rows, newest, "a hole in what was acknowledged");
        let rows: usize = rows.parse().expect("a number");
        println!("lost {} of {}", wrote.len() - rows, wrote.len());
        assert!(rows < wrote.len(), "this test is about what is lost");
        let sure = wrote.iter().filter(|at| **at + Duration::from_secs(2) < began).count();
        assert!(rows >= sure, "what was written long before the cut had reached the standby");
        net.mend();
        whole(fleet);
        let journal = fleet.ok(&["journal", "--subject", "pay", "--limit", "1000"]);
        assert!(journal.contains("that its primary does not have were set aside"), "{journal}");
        // In order, nothing of it is lost.
        let ledger = Ledger::start(fleet, "pay");
        fleet.ok(&["switchover", "pay"]);
        whole(fleet);
        ledger.check(fleet, "pay");
        fleet.ok(&["drill", "failover", "pay"]);
        whole(fleet);
    });
}
