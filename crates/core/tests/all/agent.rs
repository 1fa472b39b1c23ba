//! The agent's mind against a driver that may fail at any call, in any order.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_core::agent::reconcile::{self, Next};
use evenkeel_core::agent::{Action, Brain, Call, Config, Input, Outcome, Stored};
use evenkeel_core::backup::guard::{Level, Room};
use evenkeel_core::backup::lineage::{Archive, Lineage};
use evenkeel_core::driver::{Answer, Archived, Directory, Error, Process};
use evenkeel_core::goal::{
    Goal, Identity, Password, Refusal, RestartBudget, Role, StopMode, StoreId, Want,
};
use evenkeel_core::id::{HostId, Incarnation, MemberId, Revision, ServiceId, Term};
use evenkeel_core::member::State;
use evenkeel_core::name::ServiceName;
use evenkeel_core::policy::Policy;
use evenkeel_core::report::{FromAgent, Hello, Member, ToAgent};
use evenkeel_core::succession::{self, Succession, seal_of};
use evenkeel_core::time::{Span, Time};

use crate::world::Toy;

const MEMBER: MemberId = MemberId(1);

pub fn config() -> Config {
    Config {
        hello: Hello {
            host: "h1".into(),
            zone: "a".into(),
            rack: None,
            address: "127.0.0.1".into(),
            pid: 1,
            boot: "b".into(),
            release: "0".into(),
            image: None,
            version: None,
            store: None,
            checks: Vec::new(),
            poolers: false,
        },
        data_dirs: "/members/{}/data".into(),
        policy: Policy::default(),
        kinds: &[&Toy],
        host_checks: &[],
    }
}

pub fn goal(revision: u32, want: Want, restarts: u32) -> Goal {
    Goal {
        store: StoreId("s".into()),
        succeeds: Vec::new(),
        identity: Identity {
            service: ServiceId(1),
            name: ServiceName::new("orders").expect("a good name"),
            kind: "toy".into(),
            plan: "dev".into(),
            endpoint_port: 21000,
            members: Vec::new(),
            key: "k".into(),
        }
        .into(),
        member: MEMBER,
        incarnation: Incarnation(1),
        term: Term(1),
        revision: Revision(revision),
        want,
        role: Role::alone(),
        image: String::new(),
        address: "127.0.0.1".into(),
        port: 21001,
        settings: Arc::default(),
        logins: Vec::new(),
        restarts,
        stop: StopMode::Fast,
        ends_soon: false,
        fence: None,
        budget: RestartBudget { tries_max: 2, window: Span::mins(10), backoff: Span::secs(1) },
        archive: None,
        flush: 0,
        seed: None,
        import: None,
        job: None,
        script: None,
    }
}

/// One host's disk and process table, and the mind over it.
#[derive(Clone)]
struct Host {
    brain: Brain,
    now: Time,
    disk: Directory,
    process: Process,
    pid: u32,
    disk_of_agent: Option<Stored>,
    pending: Vec<Call>,
    sent: Vec<FromAgent>,
    looked_empty: bool,
    revision: u32,
    want: Want,
    /// Whether its goal was given to the agent that runs now.
    given: bool,
    restarts: u32,
    /// Starts since the newest goal.
    starts: u32,
}

impl Host {
    fn new() -> Self {
        let mut host = Self {
            brain: Brain::new(config(), Vec::new(), Vec::new(), None),
            now: Time(1_000_000),
            disk: Directory::Absent,
            process: Process::None,
            pid: 100,
            disk_of_agent: None,
            pending: Vec::new(),
            sent: Vec::new(),
            looked_empty: false,
            revision: 0,
            want: Want::Running,
            given: false,
            restarts: 0,
            starts: 0,
        };
        host.connect();
        host
    }

    fn connect(&mut self) {
        self.turn(&[Input::Opened]);
        let store = (StoreId("s".into()), 1);
        let welcome = ToAgent::Welcome {
            checks: Box::default(),
            starts_max: None,
            host: HostId(1),
            store,
            beat: Span::secs(1),
            seal: None,
            succession: None,
        };
        self.turn(&[Input::Message(welcome)]);
    }

    fn order(&mut self, want: Want, restart: bool) {
        // Nothing is wanted of what was removed.
        if self.want == Want::Removed {
            return;
        }
        self.revision += 1;
        self.want = want;
        self.restarts += u32::from(restart);
        self.starts = 0;
        self.give();
    }

    /// The newest goal is given, maybe once more.
    fn give(&mut self) {
        self.given = true;
        let goals = vec![goal(self.revision, self.want, self.restarts).into()];
        self.turn(&[Input::Message(ToAgent::Goals { whole: false, goals })]);
    }

    fn turn(&mut self, inputs: &[Input]) {
        let out = self.brain.turn(self.now, inputs);
        for (_, stored) in out.save {
            self.disk_of_agent = Some(stored);
        }
        for call in out.calls {
            let saved = self.disk_of_agent.as_ref().expect("a call has its goal on disk first");
            assert_eq!(saved.applied.goal, call.goal, "record, then act");
            if call.action == Action::Start {
                assert_eq!(saved.restarts, call.goal.restarts, "a restart done is on disk first");
            }
            self.pending.push(call);
        }
        assert!(self.pending.len() <= 1, "one call at a time");
        self.sent.extend(out.send);
    }

    /// The call under way happens, well or not.
    fn happen(&mut self, well: bool) {
        let Some(call) = self.pending.pop() else { return };
        let outcome = if well { self.perform(&call) } else { failure(&call) };
        let number = call.number;
        self.turn(&[Input::Outcome { member: MEMBER, number, outcome }]);
    }

    fn perform(&mut self, call: &Call) -> Outcome {
        let incarnation = Incarnation(1);
        match call.action {
            Action::Look => {
                self.looked_empty = self.process == Process::None;
                return Outcome::Looked(self.disk.clone(), self.process);
            }
            Action::Initialize if self.disk != Directory::Absent => return failure(call),
            Action::Initialize => {
                self.disk = Directory::Complete { incarnation };
            }
            Action::Rejoin
            | Action::Replication
            | Action::EndOfLog
            | Action::Promote
            | Action::Checkpoint
            | Action::Archived
            | Action::Flush
            | Action::Guard(_)
            | Action::Open
            | Action::Confirm => unreachable!("it has no siblings, and no archive"),
            Action::Discard => {
                assert_eq!(self.disk, Directory::Partial);
                self.disk = Directory::Absent;
            }
            Action::Start => {
                assert_eq!(self.disk, Directory::Complete { incarnation });
                assert_eq!(self.process, Process::None, "never two servers on one directory");
                assert!(self.looked_empty, "nothing is started unlooked");
                assert_eq!(call.goal.want, Want::Running, "what is to rest is not started");
                self.pid += 1;
                self.starts += 1;
                self.process = Process::Running { pid: self.pid };
                self.looked_empty = false;
                return Outcome::Started(self.pid);
            }
            Action::Probe { write } => {
                return Outcome::Answered(match self.process {
                    Process::Running { .. } if write => Answer::Writing,
                    Process::Running { .. } => Answer::Accepting,
                    Process::Frozen { .. } => Answer::Silent,
                    _ => Answer::NotYet,
                });
            }
            Action::Check(_) => return Outcome::Read(Vec::new()),
            Action::Stop(_) => match self.process {
                Process::Frozen { .. } => return failure(call),
                _ => self.process = Process::None,
            },
            Action::Kill => self.process = Process::None,
            Action::Seal(sealed) => {
                assert_eq!(self.process, Process::None);
                self.disk = match sealed {
                    true => Directory::Sealed { incarnation },
                    false => Directory::Complete { incarnation },
                };
            }
            Action::Remove => {
                assert_eq!(self.want, Want::Removed, "nothing is removed without an order");
                let there = self.disk != Directory::Absent;
                assert!(self.given || !there, "nothing is removed by a goal that was only kept");
                assert_eq!(self.process, Process::None);
                self.disk = Directory::Absent;
            }
            Action::Configure | Action::Prepare => {}
        }
        Outcome::Done
    }

    fn state(&self) -> State {
        self.brain.members().next().map_or(State::Absent, |m| m.state)
    }

    /// Everything works from here on, for so long.
    fn heal(&mut self, span: Span) {
        let end = self.now + span;
        while self.now < end {
            for _ in 0..20 {
                self.happen(true);
            }
            self.now = self.now + Span::millis(250);
            self.turn(&[]);
        }
    }

    /// Whether all comes to what is wanted once everything works.
    fn reaches_its_goal(&mut self) -> bool {
        self.give();
        for minutes in [2, 4] {
            // Most need seconds; nobody waits longer than back-offs and time-outs make it.
            self.heal(Span::secs(3));
            if !self.is_there() {
                self.heal(Span::mins(minutes));
            }
            // A crash loop and a frozen server wait for an order, as they should.
            let frozen = matches!(self.process, Process::Frozen { .. });
            match self.state() {
                State::CrashLooping => self.order(Want::Running, true),
                State::Hung | State::Ready if frozen => self.order(Want::Running, true),
                _ => break,
            }
        }
        self.is_there()
    }

    fn is_there(&self) -> bool {
        let runs = matches!(self.process, Process::Running { .. });
        match (self.want, self.state()) {
            (Want::Running, state) => state == State::Ready && runs,
            _ if self.process != Process::None => false,
            (_, State::Absent) => self.disk == Directory::Absent && self.want != Want::Removed,
            (Want::Stopped, state) => matches!(state, State::Stopped | State::Sealed),
            (Want::Sealed, state) => state == State::Sealed,
            (Want::Removed, state) => state == State::Gone && self.disk == Directory::Absent,
        }
    }

    /// The agent's process ends and another begins, with what was on disk.
    fn restart_agent(&mut self) {
        self.given = false;
        self.pending.clear();
        let stored = self.disk_of_agent.clone().into_iter().collect();
        self.brain =
            Brain::new(config(), stored, Vec::new(), Some((StoreId("s".into()), 1).into()));
        self.connect();
    }

    /// One thing of many that the world may do.
    fn fate(&mut self, dice: u32) {
        let running = matches!(self.process, Process::Running { .. } | Process::Frozen { .. });
        match dice % 20 {
            0..=6 => self.happen(true),
            7 | 8 => self.happen(false),
            9 if running => {
                self.process = match dice % 3 {
                    0 => Process::Leftovers { count: 2 },
                    _ => Process::None,
                };
                self.turn(&[Input::Died { member: MEMBER }]);
            }
            10 if running => self.process = Process::Frozen { pid: self.pid },
            11 if running => self.process = Process::Running { pid: self.pid },
            12 => self.order(Want::Running, false),
            13 => self.order(Want::Running, true),
            14 => self.order(Want::Stopped, false),
            15 => self.order(Want::Sealed, false),
            16 if dice.is_multiple_of(7) => self.order(Want::Removed, false),
            17 => self.restart_agent(),
            18 if self.pending.is_empty()
                && self.disk == Directory::Absent
                && self.want != Want::Removed =>
            {
                self.disk = Directory::Partial;
            }
            _ => {
                self.now = self.now + Span::millis(u64::from(dice % 9) * 700);
                self.turn(&[]);
            }
        }
    }
}

fn failure(call: &Call) -> Outcome {
    Outcome::Failed(match call.action {
        Action::Start => Error::PortTaken { port: 21001 },
        Action::Stop(_) => Error::Deadline { what: "stop".into(), limit_ms: 1 },
        _ => Error::Failed("it did not work".into()),
    })
}

/// A small generator: the same seed, the same fate.
fn next(seed: &mut u64) -> u32 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    u32::try_from(*seed >> 33).expect("31 bits")
}

#[test]
fn whatever_happens_the_goal_is_reached_once_everything_works() {
    for walk in 0..4_000_u64 {
        let mut seed = walk;
        let mut host = Host::new();
        host.order(Want::Running, false);
        for _ in 0..60 {
            host.fate(next(&mut seed));
        }
        assert!(host.reaches_its_goal(), "walk {walk}: {:?}, not {:?}", host.state(), host.want);
    }
}

/// Every order of six things the world may do, from a fresh host and from a working one.
#[test]
fn every_state_has_an_exit_in_a_small_world_explored_exhaustively() {
    fn explore(host: &Host, depth: u8, trail: &mut Vec<u32>, count: &mut u32) {
        if depth == 0 {
            *count += 1;
            let mut end = host.clone();
            assert!(end.reaches_its_goal(), "{trail:?}: {:?}, not {:?}", end.state(), end.want);
            return;
        }
        // Numbers of `Host::fate`: well, badly, death, freeze, restart ordered, stop, agent, time.
        for fate in [0, 7, 9, 10, 13, 14, 17, 39] {
            let mut next = host.clone();
            next.fate(fate);
            trail.push(fate);
            explore(&next, depth - 1, trail, count);
            trail.pop();
        }
    }
    let mut fresh = Host::new();
    fresh.order(Want::Running, false);
    let mut count = 0;
    explore(&fresh, 5, &mut Vec::new(), &mut count);
    explore(&ready(), 5, &mut Vec::new(), &mut count);
    assert_eq!(count, 2 * 8_u32.pow(5));
}

fn ready() -> Host {
    let mut host = Host::new();
    host.order(Want::Running, false);
    host.heal(Span::secs(2));
    assert_eq!(host.state(), State::Ready);
    host
}

#[test]
fn a_death_is_answered_in_the_same_moment_and_a_loop_is_ended() {
    let mut host = ready();
    let before = host.now;
    host.process = Process::None;
    host.turn(&[Input::Died { member: MEMBER }]);
    (0..8).for_each(|_| host.happen(true));
    assert_eq!((host.starts, host.now), (2, before), "no time passed before the restart");
    for _ in 0..3 {
        host.heal(Span::secs(10));
        host.process = Process::None;
        host.turn(&[Input::Died { member: MEMBER }]);
    }
    host.heal(Span::mins(5));
    assert_eq!(host.state(), State::CrashLooping);
    let starts = host.starts;
    host.heal(Span::mins(30));
    assert_eq!(host.starts, starts, "nobody starts it until an operation says so");
    host.order(Want::Running, true);
    host.heal(Span::secs(5));
    assert_eq!(host.state(), State::Ready);
}

#[test]
fn an_ordered_restart_is_done_once_also_over_a_restart_of_the_agent() {
    let mut host = ready();
    host.order(Want::Running, true);
    host.heal(Span::secs(5));
    assert_eq!(host.starts, 1);
    host.restart_agent();
    host.heal(Span::secs(5));
    assert_eq!((host.starts, host.state()), (1, State::Ready));
}

#[test]
fn a_running_server_is_adopted_and_not_touched() {
    let mut host = ready();
    let pid = host.pid;
    host.restart_agent();
    host.heal(Span::secs(5));
    assert_eq!((host.process, host.state()), (Process::Running { pid }, State::Ready));
}

#[test]
fn a_frozen_server_is_hung_after_five_seconds_of_no_answer() {
    let mut host = ready();
    host.process = Process::Frozen { pid: host.pid };
    host.heal(Span::secs(4));
    assert_ne!(host.state(), State::Hung);
    host.heal(Span::secs(8));
    assert_eq!(host.state(), State::Hung);
    host.order(Want::Running, true);
    host.heal(Span::secs(5));
    assert_eq!(host.state(), State::Ready);
}

/// Every combination of what is wanted, what is on disk, what runs and where the machine is.
#[test]
fn the_reconcilers_table_never_orders_what_must_not_be() {
    use evenkeel_core::machine::Machine as _;
    let ours = Incarnation(1);
    let directories = [
        Directory::Absent,
        Directory::Partial,
        Directory::Complete { incarnation: ours },
        Directory::Complete { incarnation: Incarnation(2) },
        Directory::Sealed { incarnation: ours },
        Directory::Sealed { incarnation: Incarnation(2) },
        Directory::Foreign { why: "another marker".into() },
    ];
    let processes = [
        Process::None,
        Process::Running { pid: 7 },
        Process::Frozen { pid: 7 },
        Process::Leftovers { count: 2 },
    ];
    let wants = [Want::Running, Want::Stopped, Want::Sealed, Want::Removed];
    let now = Time(1_000_000);
    let mut rows = 0;
    for (want, made) in wants.into_iter().flat_map(|want| [(want, false), (want, true)]) {
        for (directory, process) in
            directories.iter().flat_map(|d| processes.iter().map(move |p| (d, *p)))
        {
            for &state in evenkeel_core::member::Machine::STATES {
                let seen = seen(state, directory.clone(), process, made, now);
                let next = reconcile::next(&goal(1, want, 0), &seen, now);
                let at = format!("{want:?} {directory:?} {process:?} {state:?} made {made}");
                allowed(want, directory, process, made, &next).unwrap_or_else(|why| {
                    panic!("{at}: {next:?}: {why}");
                });
                rows += 1;
            }
        }
    }
    assert_eq!(rows, 4 * 2 * 7 * 4 * 13);
}

pub fn seen(
    state: State,
    directory: Directory,
    process: Process,
    made: bool,
    now: Time,
) -> reconcile::Seen {
    reconcile::Seen {
        given: true,
        state,
        directory: Some(directory),
        process: Some(process),
        looked: now,
        answer: Answer::Unasked,
        probed: now,
        wrote: now,
        write_proven: false,
        made,
        started: now,
        due: evenkeel_core::agent::reconcile::Rounds {
            often: Time(u64::MAX),
            rarely: Time(u64::MAX),
            ..Default::default()
        },
        configured: Some((Term(1), Revision(1))),
        prepared: None,
        part: Default::default(),
        archiving: Default::default(),
        importing: Default::default(),
        restarts: 0,
        stop_failed: false,
        not_before: Time(0),
        look_after: Time(0),
    }
}

/// What no row of the table may order, whatever the machine's state.
fn allowed(
    want: Want,
    directory: &Directory,
    process: Process,
    made: bool,
    next: &Next,
) -> Result<(), &'static str> {
    let Next::Do(action) = next else { return Ok(()) };
    let ours = matches!(
        directory,
        Directory::Complete { incarnation: Incarnation(1) }
            | Directory::Sealed { incarnation: Incarnation(1) }
    );
    let theirs = !ours && !matches!(directory, Directory::Absent | Directory::Partial);
    let must = |holds: bool, why| if holds { Ok(()) } else { Err(why) };
    must(!theirs || *action == Action::Look, "somebody else's is only looked at")?;
    let quiet = process == Process::None;
    match action {
        Action::Look => Ok(()),
        Action::Initialize => {
            must(want == Want::Running && quiet && !made, "only what never was is made")
        }
        Action::Rejoin
        | Action::Replication
        | Action::EndOfLog
        | Action::Promote
        | Action::Checkpoint
        | Action::Archived
        | Action::Flush
        | Action::Guard(_)
        | Action::Open
        | Action::Confirm => Err("it has no siblings, and no archive"),
        Action::Start => must(
            want == Want::Running && quiet && matches!(directory, Directory::Complete { .. }),
            "only a complete directory that should run and does not is started",
        ),
        Action::Discard => must(
            quiet && *directory == Directory::Partial && (!made || want == Want::Removed),
            "only what is half made, or half removed, is discarded",
        ),
        Action::Remove => must(want == Want::Removed && quiet, "removed by order and at rest"),
        Action::Seal(sealed) => must(quiet && *sealed == (want == Want::Sealed), "sealed at rest"),
        Action::Stop(_) | Action::Kill => must(!quiet, "there is nothing to stop"),
        Action::Configure | Action::Prepare | Action::Probe { .. } | Action::Check(_) => {
            must(want == Want::Running && ours, "only what should run is worked on")
        }
    }
}

#[test]
fn a_server_that_hung_and_thaws_is_ready_again_after_a_write() {
    let mut host = ready();
    host.process = Process::Frozen { pid: host.pid };
    host.heal(Span::secs(10));
    assert_eq!(host.state(), State::Hung);
    host.process = Process::Running { pid: host.pid };
    host.heal(Span::secs(3));
    assert_eq!((host.state(), host.starts), (State::Ready, 1));
}

#[test]
fn a_directory_that_was_complete_and_is_gone_is_never_made_anew() {
    for restart in [false, true] {
        let mut host = ready();
        let disk = std::mem::replace(&mut host.disk, Directory::Absent);
        host.process = Process::None;
        host.turn(&[Input::Died { member: MEMBER }]);
        if restart {
            host.restart_agent();
        }
        host.heal(Span::mins(5));
        assert_eq!(host.disk, Directory::Absent, "no empty database in its place");
        let report = host.brain.members().next().expect("reported");
        assert!(report.trouble.expect("said").contains("is its disk mounted?"));
        host.disk = disk;
        host.heal(Span::mins(1));
        assert_eq!(host.state(), State::Ready, "the disk was mounted again");
    }
}

#[test]
fn a_directory_of_another_incarnation_is_left_alone() {
    let mut host = ready();
    let other = Directory::Complete { incarnation: Incarnation(2) };
    host.disk = other.clone();
    host.restart_agent();
    let before = host.process;
    for want in [Want::Running, Want::Stopped, Want::Removed] {
        host.order(want, false);
        host.heal(Span::mins(1));
        assert_eq!((&host.disk, host.process), (&other, before));
    }
}

#[test]
fn what_goes_on_failing_is_tried_ever_more_seldom() {
    let mut host = Host::new();
    host.order(Want::Running, false);
    let mut tries = Vec::new();
    let end = host.now + Span::mins(5);
    while host.now < end {
        while let Some(call) = host.pending.last() {
            let start = call.action == Action::Start;
            if start {
                tries.push(host.now);
            }
            host.happen(!start);
        }
        host.now = host.now + Span::millis(50);
        host.turn(&[]);
    }
    let gaps: Vec<u64> = tries.windows(2).map(|pair| pair[1].since(pair[0]).0 / 1000).collect();
    assert_eq!(gaps[..6], [1, 2, 4, 8, 16, 30], "{gaps:?}");
    let report = host.brain.members().next().expect("reported");
    assert!(report.port_taken && report.trouble.expect("said").contains("port 21001"));
    host.order(Want::Running, true);
    host.heal(Span::secs(2));
    assert_eq!(host.state(), State::Ready, "an order is tried at once");
}

#[test]
fn a_disk_that_cannot_be_read_is_not_asked_in_a_loop() {
    let mut host = ready();
    host.process = Process::None;
    host.turn(&[Input::Died { member: MEMBER }]);
    let mut looks = 0;
    let end = host.now + Span::secs(60);
    while host.now < end {
        while let Some(call) = host.pending.last() {
            assert_eq!(call.action, Action::Look, "nothing is done unlooked");
            looks += 1;
            assert!(looks < 100, "asked in a loop");
            host.happen(false);
        }
        host.now = host.now + Span::millis(50);
        host.turn(&[]);
    }
    assert!((5..8).contains(&looks), "{looks} looks in a minute");
    host.heal(Span::mins(1));
    assert_eq!(host.state(), State::Ready);
}

#[test]
fn a_crash_loop_outlasts_the_agent() {
    let mut host = ready();
    for _ in 0..4 {
        host.process = Process::None;
        host.turn(&[Input::Died { member: MEMBER }]);
        host.heal(Span::secs(10));
    }
    assert_eq!(host.state(), State::CrashLooping);
    let starts = host.starts;
    host.restart_agent();
    host.heal(Span::mins(5));
    assert_eq!((host.state(), host.starts), (State::CrashLooping, starts));
}

#[test]
fn an_old_goal_is_refused_and_said() {
    let mut host = ready();
    host.order(Want::Stopped, false);
    host.heal(Span::secs(5));
    let goals = vec![goal(1, Want::Running, 0).into()];
    host.turn(&[Input::Message(ToAgent::Goals { whole: false, goals })]);
    host.heal(Span::secs(5));
    assert_eq!((host.state(), host.process), (State::Stopped, Process::None));
    let refused = host.brain.members().next().expect("reported").refused;
    assert!(matches!(refused, Some(Refusal::Stale { .. })), "{refused:?}");
}

#[test]
fn an_idle_member_is_written_to_once_a_minute() {
    let mut host = ready();
    let mut writes = 0;
    let end = host.now + Span::mins(10);
    while host.now < end {
        while let Some(call) = host.pending.last() {
            writes += u32::from(call.action == Action::Probe { write: true });
            host.happen(true);
        }
        host.now = host.now + Span::millis(250);
        host.turn(&[]);
    }
    assert!((9..=10).contains(&writes), "{writes} writes in ten minutes");
}

#[test]
fn a_guard_that_cannot_be_told_keeps_a_server_from_nothing_else() {
    let mut host = ready();
    host.revision += 1;
    let archive = Archive {
        lineage: Lineage("s/1-1".into()),
        engine: evenkeel_core::backup::engine::Engine::Native,
        key: Password("k".into()),
        wrapped: String::new(),
        repositories: Vec::new(),
    };
    let archive = Some(Box::new(archive));
    let goals = vec![Goal { archive, ..goal(host.revision, Want::Running, 0) }.into()];
    host.turn(&[Input::Message(ToAgent::Goals { whole: false, goals })]);
    let (mut guards, mut probed, mut longest) = (0, host.now, Span(0));
    let end = host.now + Span::mins(5);
    while host.now < end {
        while let Some(call) = host.pending.pop() {
            let outcome = match call.action {
                Action::Archived => {
                    let room = Some(Room { total: 100 << 30, free: 0 });
                    Outcome::Archived(Archived { room, ..Archived::default() })
                }
                Action::Guard(level) => {
                    guards += u32::from(level == Level::ReadOnly);
                    failure(&call)
                }
                Action::Probe { .. } => {
                    longest = longest.max(host.now.since(probed));
                    probed = host.now;
                    host.perform(&call)
                }
                _ => host.perform(&call),
            };
            host.turn(&[Input::Outcome { member: MEMBER, number: call.number, outcome }]);
        }
        host.now = host.now + Span::millis(250);
        host.turn(&[]);
    }
    assert!(guards >= 50, "tried {guards} times in five minutes");
    assert!(longest <= Span::secs(3), "its server was not asked for {longest}");
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let story = |seed: u64| {
        let (mut seed, mut host) = (seed, Host::new());
        host.order(Want::Running, false);
        (0..200).for_each(|_| host.fate(next(&mut seed)));
        (host.sent, host.disk_of_agent, host.now)
    };
    for seed in 0..20 {
        assert_eq!(story(seed), story(seed));
    }
}

#[test]
fn goals_are_enforced_alone_and_of_one_store_only() {
    let mut host = ready();
    host.turn(&[Input::Closed]);
    host.process = Process::None;
    host.turn(&[Input::Died { member: MEMBER }]);
    host.heal(Span::secs(5));
    assert_eq!(host.state(), State::Ready, "no controller was needed");
    host.turn(&[Input::Opened]);
    let store = (StoreId("another".into()), 9);
    let welcome = ToAgent::Welcome {
        checks: Box::default(),
        starts_max: None,
        host: HostId(1),
        store,
        beat: Span::secs(1),
        seal: None,
        succession: None,
    };
    let goals = vec![goal(99, Want::Removed, 0).into()];
    let messages = [welcome, ToAgent::Goals { whole: true, goals }];
    host.turn(&messages.map(Input::Message));
    host.heal(Span::secs(5));
    assert_eq!(host.state(), State::Ready);
}

#[test]
fn a_successor_is_shown_what_is_kept_and_obeyed_for_good() {
    let fleet = Password("the fleet's".into());
    let (first, second) = (StoreId("s".into()), StoreId("t".into()));
    let seal = Some(seal_of(&fleet, "h1"));
    let welcome = |store: &StoreId, succession: Option<Succession>| ToAgent::Welcome {
        checks: Box::default(),
        starts_max: None,
        host: HostId(3),
        store: (store.clone(), 5),
        beat: Span::secs(1),
        seal: seal.clone(),
        succession,
    };
    let prove = |fleet: &Password| {
        let seal = seal_of(fleet, "h1");
        succession::prove(&seal, &second, std::slice::from_ref(&first))
    };
    let mut host = ready();
    host.turn(&[Input::Message(welcome(&first, None)), Input::Closed, Input::Opened]);
    let wrong = prove(&Password("another's".into()));
    host.sent.clear();
    for (succession, believed) in [(wrong, false), (prove(&fleet), true)] {
        let show = ToAgent::Show { store: second.clone(), succession };
        host.turn(&[Input::Message(show)]);
        match host.sent.pop().expect("it answers") {
            FromAgent::Kept(kept) => {
                assert!(believed);
                assert_eq!((kept.store, kept.host), (first.clone(), Some(HostId(3))));
                assert_eq!(kept.members.len(), 1);
                assert_eq!(kept.members[0].applied.goal, goal(1, Want::Running, 0).into());
            }
            FromAgent::Unconvinced { reason } => assert!(!believed, "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    // It obeys nobody yet: to show is not to follow.
    let order = |revision, want| ToAgent::Goals {
        whole: false,
        goals: vec![goal(revision, want, 0).into()],
    };
    host.turn(&[Input::Message(order(2, Want::Stopped))]);
    host.heal(Span::secs(5));
    assert_eq!(host.state(), State::Ready);
    host.turn(&[Input::Message(welcome(&second, Some(prove(&fleet))))]);
    host.turn(&[Input::Message(order(2, Want::Stopped))]);
    host.want = Want::Stopped;
    host.heal(Span::secs(5));
    assert_eq!(host.state(), State::Stopped);
    // Nothing leads back.
    let back = succession::prove(&seal_of(&fleet, "h1"), &first, &[second]);
    for input in [Input::Closed, Input::Opened, Input::Message(welcome(&first, Some(back)))] {
        host.turn(&[input]);
    }
    host.turn(&[Input::Message(order(3, Want::Running))]);
    host.heal(Span::secs(5));
    assert_eq!(host.state(), State::Stopped);
}

#[test]
fn somebody_elses_directory_is_left_alone() {
    let mut host = Host::new();
    host.disk = Directory::Foreign { why: "another marker".into() };
    host.order(Want::Running, false);
    host.heal(Span::secs(60));
    host.order(Want::Removed, false);
    host.heal(Span::secs(60));
    assert!(matches!(host.disk, Directory::Foreign { .. }));
    let report = host.brain.members().next().expect("reported");
    assert!(report.trouble.expect("said").contains("somebody else's"));
}

#[test]
fn what_is_gone_and_not_wanted_is_forgotten_and_strays_are_kept() {
    let mut host = ready();
    let goals = Vec::new();
    host.turn(&[Input::Message(ToAgent::Goals { whole: true, goals: goals.clone() })]);
    assert_eq!(host.brain.members().count(), 1, "a stray is left as it is");
    host.order(Want::Removed, false);
    host.heal(Span::secs(5));
    host.turn(&[Input::Message(ToAgent::Goals { whole: true, goals })]);
    assert_eq!(host.brain.members().count(), 0);
}

#[test]
fn beats_carry_the_digest_of_what_was_reported() {
    let mut host = ready();
    host.sent.clear();
    host.process = Process::None;
    host.turn(&[Input::Died { member: MEMBER }]);
    host.heal(Span::secs(3));
    let mut known: BTreeMap<MemberId, Member> = BTreeMap::new();
    let mut beats = 0;
    for message in &host.sent {
        match message {
            FromAgent::Members { members, .. } => {
                known.extend(members.iter().map(|m| (m.member, m.clone())));
            }
            FromAgent::Beat { digest, .. } => {
                beats += 1;
                let expected = evenkeel_core::report::digest(known.values());
                assert!(known.is_empty() || *digest == expected);
            }
            _ => {}
        }
    }
    assert!(beats >= 2, "{beats} beats in three seconds");
}
