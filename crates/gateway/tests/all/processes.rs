//! A gateway as a process of its own: killed at any moment, and short of descriptors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

use crate::support::{
    Place, SPAWNING, Server, assert_echo, connect, free_port, letter, options, route, soon,
};

/// Tells this very binary, started again, where to be a gateway.
const STATE: &str = "EVENKEEL_TEST_GATEWAY_STATE";
const CONTROLLER_FILE: &str = "EVENKEEL_TEST_GATEWAY_CONTROLLER_FILE";
/// File that, while it is there, makes the process use up every descriptor.
const GREED: &str = "EVENKEEL_TEST_GATEWAY_GREED";

/// Descriptors of a greedy process: more than a gateway sets aside for itself.
const GREEDY_OPEN_FILES: u64 = 320;

/// A gateway in a process that dies with this value.
struct Process(Child);

impl Process {
    fn start(place: &Place, greed: Option<&Path>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("runs from a file"));
        command.args(["--exact", "processes::a_gateway_of_its_own", "--ignored"]);
        command.env(STATE, place.state()).env(CONTROLLER_FILE, place.controller_file());
        if let Some(greed) = greed {
            command.env(GREED, greed);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _spawning = SPAWNING.lock().expect("nobody panics with it");
        Self(child.spawn().expect("starts"))
    }

    fn kill(&mut self) {
        self.0.kill().expect("is killed");
        self.0.wait().expect("is gone");
    }

    /// Clock ticks of processor time used, from the fields 14 and 15 of proc(5)'s `stat`.
    fn ticks(&self) -> u64 {
        self.stat(14) + self.stat(15)
    }

    fn stat(&self, field: usize) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("is there");
        let (_, rest) = stat.rsplit_once(')').expect("has a command");
        let value = rest.split_whitespace().nth(field - 3).expect("has the field");
        value.parse().expect("is a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test]
#[ignore = "not a test: the process that the others start and kill"]
async fn a_gateway_of_its_own() {
    let Some(state) = std::env::var_os(STATE) else { return };
    let file = std::env::var_os(CONTROLLER_FILE).expect("comes with the state");
    let maximum = getrlimit(Resource::Nofile).maximum;
    let usual = Rlimit { current: Some(1024), maximum };
    setrlimit(Resource::Nofile, usual).expect("may be set");
    if let Some(greed) = std::env::var_os(GREED) {
        let few = Some(GREEDY_OPEN_FILES);
        setrlimit(Resource::Nofile, Rlimit { current: few, maximum: few }).expect("is lower");
        tokio::spawn(be_greedy(greed.into()));
    }
    let options = options(Path::new(&state), Path::new(&file));
    evenkeel_gateway::run(options, std::future::pending()).await.unwrap();
}

/// Holds every descriptor there is while the file is there; says so in a file beside it.
async fn be_greedy(file: PathBuf) {
    let every = Duration::from_millis(5);
    while !file.exists() {
        sleep(every).await;
    }
    fs::write(file.with_extension("ready"), "").expect("writes");
    let mut held = Vec::new();
    while let Ok(null) = fs::File::open("/dev/null") {
        held.push(null);
    }
    // `exists` needs no descriptor.
    while file.exists() {
        sleep(every).await;
    }
}

#[tokio::test]
async fn killed_at_any_moment_it_starts_with_routes_it_was_sent() {
    let place = Place::new().await;
    let port = free_port();
    let servers = [Server::start(b'a'), Server::start(b'b')];
    // A name this long makes storing take a while, so that kills meet it halfway.
    let routes_of = |routes: u64| {
        let which = usize::from(routes % 2 == 1);
        let member = u32::try_from(which).unwrap();
        let mut route =
            route(port, u32::try_from(routes).expect("few"), Some((member, servers[which].port)));
        route.name = "n".repeat(1 << 20);
        vec![route]
    };
    let mut taken = 0;
    for round in 0..20_u64 {
        let mut process = Process::start(&place, None);
        if taken > 0 {
            // Before it has heard of any controller.
            let served = letter(&mut connect(port).await).await;
            assert!(served == b'a' || served == b'b', "round {round}");
        }
        let mut session = place.controller.accept().await;
        assert!(session.held >= taken, "round {round}: {} after {taken}", session.held);
        if session.held > 0 {
            let expected = if session.held % 2 == 1 { b'b' } else { b'a' };
            assert_eq!(letter(&mut connect(port).await).await, expected, "round {round}");
        }
        let mut next = session.held;
        // From within the first write to some writes later, in steps that are prime to their length.
        let moment = sleep(Duration::from_micros(round * 3_700 % 61_000));
        let flood = async {
            loop {
                next += 1;
                if !session.send(next, routes_of(next)).await {
                    return;
                }
            }
        };
        tokio::select! {
            () = moment => {}
            () = flood => panic!("round {round}: the stream ended"),
        }
        process.kill();
        taken = session.last_took().await;
        let aside = place.state().join("routes.json.bad");
        assert!(!aside.exists(), "round {round}: routes were damaged");
    }
    assert!(taken > 0, "no kill came after a write");
}

#[tokio::test]
async fn its_identity_is_written_for_whoever_stops_it() {
    let place = Place::new().await;
    let process = Process::start(&place, None);
    let _session = place.controller.accept().await;
    let identity = fs::read_to_string(place.state().join("pid.json")).unwrap();
    let (pid, start_ticks) = (process.0.id(), process.stat(22));
    assert_eq!(identity, format!(r#"{{"pid":{pid},"start_ticks":{start_ticks}}}"#));
}

#[tokio::test]
async fn without_descriptors_it_waits_and_does_not_spin() {
    let place = Place::new().await;
    let greed = place.state().with_extension("greed");
    let process = Process::start(&place, Some(&greed));
    let mut session = place.controller.accept().await;
    let (port, server) = (free_port(), Server::start(b'a'));
    session.order(1, vec![route(port, 1, Some((1, server.port)))]).await;
    let mut open = connect(port).await;
    assert_eq!(letter(&mut open).await, b'a');

    fs::write(&greed, "").unwrap();
    soon("greed", async {
        while !greed.with_extension("ready").exists() {
            sleep(Duration::from_millis(5)).await;
        }
        // The limit is reached when the directory has that many entries.
        let held = format!("/proc/{}/fd", process.0.id());
        while fs::read_dir(&held).unwrap().count() < usize::try_from(GREEDY_OPEN_FILES).unwrap() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let before = process.ticks();
    let mut waiting = connect(port).await;
    let second = Duration::from_secs(1);
    assert!(timeout(second, waiting.read_u8()).await.is_err(), "it cannot be accepted");
    let used = process.ticks() - before;
    assert!(used < 30, "{used} of 100 ticks in a second");
    assert_echo(&mut open, b"those open go on").await;

    fs::remove_file(&greed).unwrap();
    assert_eq!(letter(&mut waiting).await, b'a');
}

#[tokio::test]
async fn the_soft_limit_of_open_files_is_raised() {
    let place = Place::new().await;
    let process = Process::start(&place, None);
    let _session = place.controller.accept().await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.0.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    let hard = getrlimit(Resource::Nofile).maximum;
    assert_eq!(words[3], words[4], "{line}");
    assert_eq!(words[4].parse().ok(), hard, "{line}");
}
