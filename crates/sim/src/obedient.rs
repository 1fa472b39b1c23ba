//! Cells full of services whose agents do at once what they are told: what the engine costs is
//! measured on them.
//!
//! The fleet is made through cells' own inboxes, as agents would make it. Ports are unique within a
//! cell, so many services are many cells, as in production. Time is the caller's: nothing happens
//! between two calls.
//!
//! ```
//! use evenkeel_core::time::Span;
//! use evenkeel_sim::obedient::{Obedient, Shape};
//! let mut fleet = Obedient::new(0, Shape { services: 6, hosts: 3, archives: false });
//! fleet.rest();
//! fleet.quiet_turn(Span::secs(1));
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use evenkeel_core::backup::engine::Engine;
use evenkeel_core::backup::job::{self, Backup, Done, Job, Proof};
use evenkeel_core::backup::lineage::{BackupId, Location, Repository};
use evenkeel_core::cell::{Beat, Cell, Entry, Link, Send, Setup, Turn};
use evenkeel_core::check;
use evenkeel_core::digest::Digest;
use evenkeel_core::goal::{Goal, Password, StoreId};
use evenkeel_core::id::{CellId, MemberId};
use evenkeel_core::member::State;
use evenkeel_core::moment::Moment;
use evenkeel_core::order::{Keys, Order};
use evenkeel_core::policy::Policy;
use evenkeel_core::promise::Position;
use evenkeel_core::remedy::Remedies;
use evenkeel_core::report::{self, FromAgent, Hello, Mark, Member, ToAgent};
use evenkeel_core::route::{FromGateway, ToGateway};
use evenkeel_core::row::{Key, Writes};
use evenkeel_core::time::{Span, Time};

/// Services created in one turn.
const BATCH: usize = 50;
/// Seconds after which nothing of an install is pending any more.
const QUIET_AFTER_S: u32 = 1200;
/// The same with archives, whose first backups and proofs come one after another.
const QUIET_AFTER_ARCHIVES_S: u32 = 7200;

/// One for all cells of a process, as in production.
static REMEDIES: LazyLock<Arc<Remedies>> =
    LazyLock::new(|| Arc::new(evenkeel_kinds::remedies::bundled()));

/// How large a cell is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Services.
    pub services: u32,
    /// Hosts.
    pub hosts: u32,
    /// Whether there is a repository: services then have backups.
    pub archives: bool,
}

/// What was recorded, while it is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorded {
    /// Turns.
    pub turns: u64,
    /// Entries of the journal.
    pub entries: u64,
    /// Rows written.
    pub rows: u64,
    /// Bytes of those.
    pub row_bytes: u64,
}

/// One cell, and what its agents need to answer it.
pub struct Obedient {
    /// The cell.
    pub cell: Cell,
    /// Its clock.
    pub now: Time,
    /// What was recorded so far.
    pub recorded: Recorded,
    number: u32,
    archives: bool,
    digests: Vec<Digest>,
    marks: Vec<BTreeMap<MemberId, Mark>>,
    beats: u64,
    kept: Option<Kept>,
}

/// What a cell's rows and agents would have, for those who ask.
#[derive(Default)]
struct Kept {
    rows: BTreeMap<Key, Vec<u8>>,
    reports: BTreeMap<Link, BTreeMap<MemberId, Member>>,
}

impl Obedient {
    /// A cell with its services, each installed and serving.
    #[must_use]
    pub fn new(number: u32, shape: Shape) -> Self {
        Self::made(number, shape, false)
    }

    /// The same, whose rows are kept, and its agents' reports.
    #[must_use]
    pub fn keeping(number: u32, shape: Shape) -> Self {
        Self::made(number, shape, true)
    }

    fn made(number: u32, shape: Shape, keeps: bool) -> Self {
        Self::install(setup(number), 0, Time(1), shape, keeps)
    }

    /// One of a fleet's cells, whose rows are kept: hosts' names go on from those of the cells before it.
    #[must_use]
    pub fn of_fleet(setup: Setup, first_host: u64, now: Time, shape: Shape) -> Self {
        Self::install(setup, first_host, now, shape, true)
    }

    fn install(setup: Setup, first_host: u64, now: Time, shape: Shape, keeps: bool) -> Self {
        let hosts = usize::try_from(shape.hosts).unwrap_or(usize::MAX);
        let number = setup.cell.0;
        let mut fleet = Self {
            cell: Cell::new(setup),
            now,
            recorded: Recorded::default(),
            number,
            archives: shape.archives,
            digests: Vec::new(),
            marks: (0..hosts).map(|_| BTreeMap::new()).collect(),
            beats: 0,
            kept: keeps.then(Kept::default),
        };
        let named = |host| hello(Link(host), first_host + host);
        fleet.settle((1..=u64::from(shape.hosts)).flat_map(named).collect());
        fleet.settle(vec![gateway()]);
        if shape.archives {
            fleet.settle(vec![repository()]);
        }
        fleet.add(shape.services);
        fleet
    }

    fn add(&mut self, services: u32) {
        // One for all: its bytes do not matter here, and making them would take minutes.
        let secret = [7; 80];
        // In batches, as an import would be: what a turn needs for itself is not measured with it.
        let numbers: Vec<u32> = (0..services).collect();
        for batch in numbers.chunks(BATCH) {
            let create = |n: &u32| self.create(*n, &secret);
            let inbox = batch.iter().map(create).collect();
            self.settle(inbox);
        }
        self.note_digests();
    }

    /// Lets time pass until nothing of installs is pending any more, and forgets what only making
    /// the cell needed.
    pub fn rest(&mut self) {
        let seconds = if self.archives { QUIET_AFTER_ARCHIVES_S } else { QUIET_AFTER_S };
        (0..seconds).for_each(|_| self.pass(Span::secs(1)));
        self.marks = Vec::new();
    }

    /// A window's beats, and whatever is due.
    pub fn pass(&mut self, later: Span) {
        let beats = self.beats(later);
        let marked = self.recorded.turns;
        self.settle(vec![beats]);
        if self.archives && self.recorded.turns > marked + 1 {
            self.note_digests();
        }
    }

    /// A window's beats, and nothing else.
    ///
    /// # Panics
    /// When the cell has anything to say.
    pub fn quiet_turn(&mut self, later: Span) {
        let beats = self.beats(later);
        let turn = self.cell.turn(self.now, &[beats]);
        assert!(turn.writes.is_empty() && turn.sends.is_empty(), "a quiet turn says nothing");
    }

    /// Rows as a store would have them.
    #[must_use]
    pub fn rows(&self) -> Vec<(Key, Vec<u8>)> {
        let rows = self.kept.iter().flat_map(|kept| &kept.rows);
        rows.map(|(key, body)| (*key, body.clone())).collect()
    }

    /// Every agent's report of its members, as they are after a change: entries by host.
    #[must_use]
    pub fn reports(&self, change: impl Fn(&mut Member)) -> Vec<Entry> {
        let all = self.kept.iter().flat_map(|kept| &kept.reports);
        let entry = |(link, reports): (&Link, &BTreeMap<MemberId, Member>)| {
            let members = reports.values().cloned().map(|mut member| {
                change(&mut member);
                member
            });
            let message = FromAgent::members(false, members.collect());
            Entry::Agent { link: *link, message }
        };
        all.map(entry).collect()
    }

    /// One turn, whose sends nobody answers.
    pub fn turn(&mut self, later: Span, inbox: &[Entry]) -> Turn {
        self.now = self.now + later;
        let turn = self.cell.turn(self.now, inbox);
        self.record(&turn.writes);
        turn
    }

    /// Turns until everything is answered.
    fn settle(&mut self, mut inbox: Vec<Entry>) {
        while !inbox.is_empty() {
            let turn = self.cell.turn(self.now, &inbox);
            self.record(&turn.writes);
            inbox = self.answers(turn.sends);
        }
    }

    fn record(&mut self, writes: &Writes) {
        let length = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        self.recorded.turns += 1;
        self.recorded.entries += length(writes.journal.len());
        self.recorded.rows += length(writes.rows.len());
        let bodies = writes.rows.iter().filter_map(|row| row.body.as_ref());
        self.recorded.row_bytes += bodies.map(|body| length(body.len())).sum::<u64>();
        let Some(kept) = &mut self.kept else { return };
        for row in &writes.rows {
            match &row.body {
                Some(body) => drop(kept.rows.insert(row.key, body.clone())),
                None => drop(kept.rows.remove(&row.key)),
            }
        }
    }

    /// What obedient agents and a gateway answer.
    fn answers(&mut self, sends: Vec<Send>) -> Vec<Entry> {
        let mut inbox = Vec::new();
        for send in sends {
            match send {
                Send::Agent { link, message: ToAgent::Goals { goals, .. } } => {
                    let reports: Vec<Member> =
                        goals.iter().map(|goal| ready(goal, self.now)).collect();
                    let host = usize::try_from(link.0 - 1).unwrap_or(0);
                    if let Some(marks) = self.marks.get_mut(host) {
                        marks.extend(reports.iter().map(|m| (m.member, report::mark(m))));
                    }
                    if let Some(kept) = &mut self.kept {
                        let known = kept.reports.entry(link).or_default();
                        known.extend(reports.iter().map(|m| (m.member, m.clone())));
                    }
                    if !reports.is_empty() {
                        let message = FromAgent::members(false, reports);
                        inbox.push(Entry::Agent { link, message });
                    }
                }
                Send::Gateway { link, message: ToGateway::Routes { routes, .. } } => {
                    let message = FromGateway::Took { routes, failed: Vec::new() };
                    inbox.push(Entry::Gateway { link, message });
                }
                _ => {}
            }
        }
        inbox
    }

    fn beats(&mut self, later: Span) -> Entry {
        self.beats += 1;
        self.now = self.now + later;
        let beat = |(host, digest): (u64, &Digest)| Beat {
            link: Link(host),
            number: self.beats,
            digest: *digest,
            answer: false,
        };
        Entry::Beats((1..).zip(&self.digests).map(beat).collect())
    }

    fn note_digests(&mut self) {
        let of = |marks: &BTreeMap<MemberId, Mark>| report::digest_of(marks.values().copied());
        self.digests = self.marks.iter().map(of).collect();
    }

    fn create(&self, number: u32, secret: &[u8]) -> Entry {
        let kind = evenkeel_kinds::KINDS[0];
        let mut secret = secret.to_vec();
        secret[..4].copy_from_slice(&number.to_be_bytes());
        secret[4..8].copy_from_slice(&self.number.to_be_bytes());
        let keys = Keys {
            key: Password("0123456789abcdef".repeat(4)),
            wrapped: "fedcba9876543210".repeat(8),
            engine: Engine::default(),
        };
        order(Order::Create {
            name: format!("customer-{}-{number}", self.number),
            kind: kind.name().to_owned(),
            plan: None,
            secret,
            keys: self.archives.then_some(keys),
        })
    }
}

/// What a measured cell is made with.
#[must_use]
pub fn setup(number: u32) -> Setup {
    Setup {
        cell: CellId(number),
        store: StoreId("bench".to_owned()),
        policy: Policy { backup_repository_max: 1000, ..Policy::default() },
        kinds: evenkeel_kinds::KINDS,
        remedies: Arc::clone(&REMEDIES),
    }
}

fn order(order: Order) -> Entry {
    Entry::Order { ticket: 0, by: "bench".to_owned(), order }
}

/// The beginning of a gateway's stream.
#[must_use]
pub fn gateway() -> Entry {
    let message = FromGateway::Hello {
        gateway: "g".to_owned(),
        address: "127.0.0.1".to_owned(),
        pid: 1,
        routes: 0,
    };
    Entry::Gateway { link: Link(0), message }
}

fn repository() -> Entry {
    let location = Location::Directory { path: "/var/lib/evenkeel/repository".to_owned() };
    order(Order::AddRepository { repository: Repository { name: "r".to_owned(), location } })
}

/// The beginning of a host's stream.
#[must_use]
pub fn hello(link: Link, host: u64) -> [Entry; 2] {
    let none = FromAgent::members(true, Vec::new());
    let hello = FromAgent::Hello(host_hello(host));
    [Entry::Agent { link, message: hello }, Entry::Agent { link, message: none }]
}

/// What a host says of itself.
#[must_use]
pub fn host_hello(host: u64) -> Hello {
    Hello {
        host: format!("h{host}"),
        zone: ["a", "b", "c"][usize::try_from(host % 3).unwrap_or(0)].to_owned(),
        rack: None,
        address: "127.0.0.1".to_owned(),
        pid: 1,
        boot: "b".to_owned(),
        release: "bench".to_owned(),
        image: Some("0".repeat(64)),
        version: None,
        store: None,
        checks: Vec::new(),
        poolers: false,
    }
}

/// A member that serves; without an archive with the finding every service of the plan has then.
#[must_use]
pub fn ready(goal: &Goal, now: Time) -> Member {
    let bare = || check::Result {
        check: "archive-configured".to_owned(),
        severity: check::Severity::Note,
        evidence: "no archive is configured: the data is nowhere else".to_owned(),
        items: Vec::new(),
    };
    let archive = report::Archive {
        flushed: goal.flush,
        job: goal.job.as_ref().map(|job| done(job, goal, now)),
        ..report::Archive::default()
    };
    Member {
        member: goal.member,
        incarnation: goal.incarnation,
        pledged: goal.term,
        applied: (goal.term, goal.revision),
        state: State::Ready,
        pid: Some(1000 + goal.member.0),
        restarts: goal.restarts,
        deaths: 0,
        write_proven: true,
        trouble: None,
        refused: None,
        port_taken: false,
        data_dir: format!("/var/lib/evenkeel/hosts/h/members/{}/data", goal.member.0),
        checks: goal.archive.is_none().then(bare).into_iter().collect(),
        unread: check::Unread::default(),
        identity: goal.identity.clone(),
        replication: None,
        archive: goal.archive.is_some().then(|| Box::new(archive)),
        import: None,
        script: None,
    }
}

/// A job that went well.
fn done(job: &Job, goal: &Goal, now: Time) -> job::Told {
    let moment = Moment::of_millis(now.0);
    let outcome = match &job.what {
        job::What::Prove(seed) | job::What::Last(seed) => Done::Proof(Proof {
            backup: seed.backup.unwrap_or_default(),
            begun: moment,
            restore_ms: 1000,
            canary: Some(moment),
            relations: 10,
            wrong: Vec::new(),
        }),
        job::What::Expire { .. } => Done::Expired { objects: 1 },
        job::What::Even => Done::Evened { objects: 0 },
        job::What::GiveUp => Done::GaveUp { bytes: 0 },
        job::What::Backup { .. } => {
            let archive = goal.archive.iter().flat_map(|archive| &archive.repositories);
            Done::Backup(Backup {
                id: BackupId(job.id),
                begun: moment,
                ended: moment,
                from: Position(1 << 24),
                to: Position(1 << 25),
                timeline: 1,
                bytes: 40 << 20,
                stored: 4 << 20,
                repositories: archive.map(|repository| repository.name.clone()).collect(),
            })
        }
    };
    job::Told { id: job.id, outcome: Ok(outcome) }
}
