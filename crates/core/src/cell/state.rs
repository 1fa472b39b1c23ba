//! A cell's working state: the rows, and the soft state around them.
//!
//! Laid out so that a quiet service is small: what is rare hangs behind an `Option<Box<_>>`, equal
//! lists of failing checks are kept once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::compact::{self, Keyed, Name, Ports, Sorted, Stretch};
use super::timers::{Again, Timers};
use super::{Link, incidents, recovery, rows};
use crate::act::Act;
use crate::agent::Begun;
use crate::check;
use crate::claim;
use crate::digest::Digest;
use crate::goal::Refusal;
use crate::host;
use crate::id::{HostId, Incarnation, MemberId, OperationId, Revision, ServiceId, Term};
use crate::import;
use crate::knowing::Doubt;
use crate::member;
use crate::pooler;
use crate::procedure::Procedure;
use crate::promise::{self, Copy, Promise};
use crate::report::{self, Hello};
use crate::time::Time;
use crate::toil::Ledger;

/// Different lists of failing checks that are never too many to keep.
const CHECKS_MIN: usize = 64;
/// Different reports of archives that are looked through for one alike.
const ARCHIVES_MAX: usize = 8;

/// Everything a cell knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The cell's own row.
    pub row: rows::Cell,
    /// When this controller began.
    pub began: Time,
    /// When a host was last heard that had not been heard since then.
    #[serde(default)]
    pub dialled: Time,
    /// The newest time it was told.
    pub now: Time,
    /// Hosts.
    pub hosts: Stretch<Host>,
    /// Those of them that were not heard yet, or are uncertain.
    #[serde(default)]
    pub unsure: BTreeSet<HostId>,
    /// Services, side by side in one stretch: one of them alone has nothing else on the heap.
    pub services: Stretch<Service>,
    /// Services in order of name.
    pub by_name: Vec<ServiceId>,
    /// Which service a member belongs to.
    pub of_member: Sorted<MemberId, ServiceId>,
    /// Ports taken by endpoints and members.
    pub ports: Ports,
    /// Agents' streams.
    pub links: BTreeMap<Link, HostId>,
    /// Gateways' streams.
    pub gateways: BTreeMap<Link, Gateway>,
    /// Hosts that keep poolers, and those of them that do not simply serve.
    pub poolers: BTreeMap<HostId, BTreeMap<ServiceId, pooler::News>>,
    /// When something is due again, in order.
    pub timers: Timers,
    /// Services with an operation under way.
    pub busy: BTreeSet<ServiceId>,
    /// Services that are made from another's archive, until they serve.
    #[serde(default)]
    pub forks: BTreeSet<ServiceId>,
    /// Claims that are held.
    #[serde(default)]
    pub claims: claim::Ledger,
    /// Kinds and plans in use, each kept once.
    pub offers: BTreeSet<Arc<rows::Offer>>,
    /// Names of checks that did not pass, each kept once.
    #[serde(default)]
    pub names: BTreeSet<Name>,
    /// Lists of failing checks, each kept once.
    pub checks: BTreeSet<Arc<Vec<check::Result>>>,
    /// With so many of them, those that nobody has any more go.
    #[serde(default)]
    pub checks_max: usize,
    /// The newest different reports of archives.
    #[serde(default)]
    pub archives: Vec<Arc<report::Archive>>,
    /// Services with a job under way, and the host that does it.
    #[serde(default)]
    pub working: BTreeMap<ServiceId, HostId>,
    /// Services whose job waits for others'.
    #[serde(default)]
    pub idle_jobs: BTreeSet<ServiceId>,
    /// Services whose log does not get to its archive.
    #[serde(default)]
    pub behind: BTreeSet<ServiceId>,
    /// How many services have an archive, and servers that bring it their log.
    #[serde(default)]
    pub archiving: usize,
    /// Procedures, by name.
    #[serde(default)]
    pub procedures: BTreeMap<String, Procedure>,
    /// Acts that are kept.
    #[serde(default)]
    pub acts: BTreeMap<u32, Act>,
    /// Services with an act under way.
    #[serde(default)]
    pub open_acts: BTreeMap<ServiceId, u32>,
    /// The last question asked of a witness.
    pub questions: u64,
    /// An agent has seen a later sequence of this store than it holds: it was put back.
    pub restored: bool,
    /// What is known of the stores before this one, or after it.
    #[serde(default)]
    pub recovery: recovery::Soft,
    /// Services with windows, planned work or drills of their own.
    #[serde(default)]
    pub upkept: BTreeSet<ServiceId>,
    /// The toil ledger.
    #[serde(default)]
    pub toil: Ledger,
    /// What is known of incidents.
    #[serde(default)]
    pub incidents: incidents::Soft,
    /// Remedies whose guard gave no answer when it was asked last: of which service, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failing: BTreeMap<Box<str>, (ServiceId, String)>,
}

/// A host as the cell knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// What is stored.
    pub row: rows::Host,
    /// What is known of it.
    pub state: host::State,
    /// Its agent's stream.
    pub link: Option<Link>,
    /// What its agent said on its newest stream.
    pub hello: Option<Box<Hello>>,
    /// When it was heard last.
    pub heard: Option<Time>,
    /// Since when it is heard on one stream, without a silence.
    #[serde(default)]
    pub heard_since: Time,
    /// Its agent said that it would be away until then.
    pub absent_until: Option<Time>,
    /// When its agent's stream was ended in order while it was heard: the host was there to do that.
    #[serde(default)]
    pub left: Option<Time>,
    /// Its newest report of every member, strays too, as marks.
    pub marks: Sorted<MemberId, report::Mark>,
    /// The digest over those, until one of them changes.
    pub digest: Option<Digest>,
    /// Beats in a row whose digest did not fit.
    pub misfits: u8,
    /// Whether its members came whole on this stream.
    pub whole: bool,
    /// Members placed on it, in order of id.
    pub members: Vec<MemberId>,
    /// Members it reports that this cell does not know.
    pub strays: Vec<MemberId>,
    /// Where members' files are, with `{}` for the member's number.
    pub data_dirs: Option<String>,
    /// Services whose operation waits for a claim on it.
    pub waiting: BTreeSet<ServiceId>,
}

/// A service as the cell knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// What is stored.
    pub row: rows::Service,
    /// What was reported of its members, in the order of the row.
    pub seen: SmallVec<[Option<Seen>; 1]>,
    /// What is known while its primary's own news is missing or bad.
    pub doubt: Option<Box<Doubt>>,
    /// Its primary takes no clients, by its agent's word: gateways hold new connections.
    #[serde(default)]
    pub holds: bool,
    /// Whether it is counted among [`State::archiving`].
    #[serde(default)]
    pub archiving: bool,
    /// Since when its set lacks standbys, or members are missing, by [`super::redundancy`].
    #[serde(default)]
    pub lacks: Option<Box<Lacks>>,
    /// What was decided last, as a number, so that the journal tells of changes only.
    pub decided: u16,
    /// When it is looked at again, though nothing is heard of it.
    #[serde(default)]
    pub again: Again,
}

/// What a service with standbys lacks, since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacks {
    /// Fewer than acknowledge are there: commits wait.
    pub acks: Option<Time>,
    /// A standby that is counted on is not there.
    pub counted: Option<Time>,
    /// A member does not follow.
    pub member: Option<Time>,
    /// The primary was given up, and no standby is in contact with it any more.
    pub contact: Option<Time>,
    /// When commits were let go without a standby last, and how often of late.
    #[serde(default)]
    pub let_go: Option<(Time, u8)>,
}

/// A member as its agent reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What it is doing.
    pub state: member::State,
    /// Whether a write was acknowledged since its process started.
    pub write_proven: bool,
    /// Its port is held by somebody else.
    pub port_taken: bool,
    /// Its directory.
    pub incarnation: Incarnation,
    /// Its process; 0 for none.
    pub pid: u32,
    /// Ordered restarts done.
    pub restarts: u32,
    /// Deaths without an order.
    pub deaths: u32,
    /// The goal it applied.
    pub applied: (Term, Revision),
    /// Since when its state is what it is.
    pub since: Time,
    /// Checks that do not pass.
    pub checks: Option<Arc<Vec<check::Result>>>,
    /// What is rare.
    pub rare: Option<Box<Rare>>,
    /// Its part in replication.
    pub replication: Option<Box<report::Replication>>,
    /// Its archive.
    pub archive: Option<Arc<report::Archive>>,
}

impl Seen {
    /// Whether it is what was seen before, but for its archive.
    pub fn is_but_for_archive(&self, before: &Self) -> bool {
        // Each field by name: one that is new is not forgotten here.
        let Self {
            state,
            write_proven,
            port_taken,
            incarnation,
            pid,
            restarts,
            deaths,
            applied,
            since,
            checks,
            rare,
            replication,
            archive: _,
        } = self;
        (*state, *write_proven, *port_taken, *incarnation)
            == (before.state, before.write_proven, before.port_taken, before.incarnation)
            && (*pid, *restarts, *deaths) == (before.pid, before.restarts, before.deaths)
            && (*applied, *since) == (before.applied, before.since)
            && (checks, rare, replication) == (&before.checks, &before.rare, &before.replication)
    }
}

/// What few members have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rare {
    /// The last failure in words.
    pub trouble: Option<String>,
    /// The newest goal refused.
    pub refused: Option<Refusal>,
    /// Its directory, where it is not where its host's others are.
    pub data_dir: Option<String>,
    /// Where its import is.
    pub import: Option<Box<import::Told>>,
    /// The script beside it.
    #[serde(default)]
    pub script: Option<Box<Begun>>,
    /// Checks that were not read.
    #[serde(default)]
    pub unread: check::Unread,
}

/// A gateway on its stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Address it listens on.
    pub address: String,
    /// Its process.
    pub pid: u32,
    /// The newest routes it took.
    pub took: u64,
    /// The newest routes sent to it.
    pub sent: u64,
    /// Ports it does not listen on, and why.
    pub failed: Vec<(u16, String)>,
    /// Client connections open.
    pub open: u64,
    /// When it was heard last.
    pub heard: Time,
}

impl Host {
    /// A host as it is before its agent was heard.
    pub fn joining(row: rows::Host) -> Self {
        Self {
            row,
            state: host::State::Joining,
            link: None,
            hello: None,
            heard: None,
            heard_since: Time(0),
            absent_until: None,
            left: None,
            marks: Sorted::default(),
            digest: None,
            misfits: 0,
            whole: false,
            members: Vec::new(),
            strays: Vec::new(),
            data_dirs: None,
            waiting: BTreeSet::new(),
        }
    }

    /// Whether its agent's word about its members can be taken for now.
    pub fn speaks(&self) -> bool {
        self.state == host::State::Up && self.whole
    }
}

impl Keyed for Host {
    type Key = HostId;
    fn key(&self) -> HostId {
        self.row.id
    }
}

impl Keyed for Service {
    type Key = ServiceId;
    fn key(&self) -> ServiceId {
        self.row.id
    }
}

impl Service {
    /// A service nothing was seen of yet.
    pub fn of(row: rows::Service) -> Self {
        let seen = row.members.iter().map(|_| None).collect();
        let again = Again::default();
        Self {
            row,
            seen,
            doubt: None,
            holds: false,
            archiving: false,
            lacks: None,
            decided: 0,
            again,
        }
    }
}

impl Service {
    /// Whether all it does is serve: nothing is under way with it, nobody was told of it or asked about it,
    /// and nothing is planned. What it needs next, its hosts say.
    pub fn is_quiet(&self) -> bool {
        let row = &self.row;
        let steady = |promise: &Promise| promise.phase == promise::Phase::Steady;
        row.needs_nobody()
            && row.operation.is_none()
            && !row.paged
            && !row.failed_over
            && row.incident.is_none()
            && row.people().is_none()
            && row.upkeep().is_none()
            && row.promise.as_deref().is_none_or(steady)
            && row.archive.as_ref().is_none_or(|archive| archive.job.is_none() && !archive.bare)
            && self.doubt.is_none()
    }
}

impl Service {
    /// How far a standby is behind, by its primary's word.
    pub fn lag(&self, copy: Copy) -> Option<u64> {
        let senders = &self.seen.first()?.as_ref()?.replication.as_ref()?.senders;
        senders.iter().find(|sender| sender.copy == copy).map(|sender| sender.lag_bytes)
    }
}

impl State {
    /// A host is known from now on, and was not heard yet.
    pub fn add_host(&mut self, row: rows::Host) {
        self.unsure.insert(row.id);
        self.hosts.insert(Host::joining(row));
    }

    /// A host is known no more.
    pub fn remove_host(&mut self, id: HostId) {
        self.unsure.remove(&id);
        self.hosts.remove(&id);
    }

    /// A host is in another state.
    pub fn move_host(&mut self, id: HostId, to: host::State) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        host.state = to;
        match to {
            host::State::Joining | host::State::Uncertain => self.unsure.insert(id),
            _ => self.unsure.remove(&id),
        };
    }

    /// Whether [`State::unsure`] is what going through all hosts would find.
    pub fn knows_the_unsure(&self) -> bool {
        let is = |host: &&Host| matches!(host.state, host::State::Joining | host::State::Uncertain);
        self.hosts.values().filter(is).map(|host| host.row.id).eq(self.unsure.iter().copied())
    }

    /// A service by name.
    pub fn named(&self, name: &str) -> Option<&Service> {
        let at = self.search(name).ok()?;
        self.services.get(&self.by_name[at])
    }

    /// Where a name is, or would be, among [`State::by_name`].
    pub fn search(&self, name: &str) -> Result<usize, usize> {
        self.by_name.binary_search_by(|id| {
            let service = self.services.get(id).expect("names are of services there are");
            service.row.name.as_str().cmp(name)
        })
    }

    /// A host by name. Hosts are few.
    pub fn host_named(&self, name: &str) -> Option<&Host> {
        self.hosts.values().find(|host| host.row.name == name)
    }

    /// A host's name, for people.
    pub fn host_name(&self, id: HostId) -> &str {
        self.hosts.get(&id).map_or("a host that is gone", |host| &host.row.name)
    }

    /// A new operation's id.
    pub fn draw_operation(&mut self) -> OperationId {
        self.row.operations = self.row.operations.next();
        self.row.operations
    }

    /// One list for all who have these checks.
    pub fn shared(&mut self, checks: Vec<check::Result>) -> Option<Arc<Vec<check::Result>>> {
        if checks.is_empty() {
            return None;
        }
        if let Some(known) = self.checks.get(&checks) {
            return Some(Arc::clone(known));
        }
        // What nobody has any more goes, whenever there is twice of what was needed.
        if self.checks.len() >= self.checks_max.max(CHECKS_MIN) {
            self.checks.retain(|list| Arc::strong_count(list) > 1);
            self.checks_max = self.checks.len() * 2;
        }
        let new = Arc::new(checks);
        self.checks.insert(Arc::clone(&new));
        Some(new)
    }

    /// One for all whose archives are alike: most have nothing to say. Only the newest few are kept here, so
    /// that what is nobody else's is not looked for among many.
    pub fn alike(&mut self, archive: Option<&report::Archive>) -> Option<Arc<report::Archive>> {
        let archive = archive?;
        if let Some(at) = self.archives.iter().position(|known| **known == *archive) {
            // What is asked for often stays.
            let known = Arc::clone(&self.archives[at]);
            self.archives.swap(at, at / 2);
            return Some(known);
        }
        let new = Arc::new(archive.clone());
        // Whose job has just ended says so to nobody else.
        if archive.job.is_none() {
            self.archives.truncate(ARCHIVES_MAX - 1);
            self.archives.push(Arc::clone(&new));
        }
        Some(new)
    }

    /// Puts a service where it is found by id, name, member and port.
    pub fn insert(&mut self, mut service: Service) {
        let known = self.offers.get(&service.row.offer).map(Arc::clone);
        match known {
            Some(known) => service.row.offer = known,
            None => drop(self.offers.insert(Arc::clone(&service.row.offer))),
        }
        for began in &mut service.row.findings {
            began.check = super::findings::named(&mut self.names, &began.check);
        }
        let row = &service.row;
        let (id, name) = (row.id, row.name.clone());
        self.ports.insert(row.endpoint_port);
        if row.pooled_port != 0 {
            self.ports.insert(row.pooled_port);
        }
        // What is archived is on no host.
        let members = row.members.iter().filter(|_| !row.is_bare());
        for member in members {
            self.of_member.insert(member.id, id);
            self.ports.insert(member.port);
            if let Some(host) = self.hosts.get_mut(&member.host) {
                compact::insert(&mut host.members, member.id);
            }
        }
        if row.operation.is_some() {
            self.busy.insert(id);
        }
        if row.archive.as_ref().is_some_and(|archive| archive.origin.is_some()) {
            self.forks.insert(id);
        }
        if row.upkeep().is_some() {
            self.upkept.insert(id);
        }
        if let Some(running) = row.archive.as_ref().and_then(|archive| archive.job.as_ref())
            && let Some(member) = row.members.iter().find(|member| member.id == running.member)
        {
            self.working.insert(id, member.host);
        }
        if let Err(at) = self.search(name.as_str()) {
            compact::grow(&mut self.by_name);
            self.by_name.insert(at, id);
        }
        self.services.insert(service);
        self.note_archiving(id);
    }

    /// Gives a service one member more.
    pub fn add_member(&mut self, id: ServiceId, member: rows::Member) {
        self.of_member.insert(member.id, id);
        if let Some(host) = self.hosts.get_mut(&member.host) {
            compact::insert(&mut host.members, member.id);
        }
        if let Some(service) = self.services.get_mut(&id) {
            if let Some(promise) = service.row.promise.as_mut() {
                promise.admit(member.copy());
            }
            service.row.members.push(member);
            service.seen.push(None);
        }
    }

    /// Takes a member out of its service.
    pub fn remove_member(&mut self, id: ServiceId, at: usize) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let member = service.row.members.remove(at);
        service.seen.remove(at);
        if let Some(promise) = service.row.promise.as_mut() {
            promise.dismiss(member.id);
        }
        self.of_member.remove(&member.id);
        self.ports.remove(member.port);
        if let Some(host) = self.hosts.get_mut(&member.host) {
            compact::remove(&mut host.members, &member.id);
        }
    }

    /// Takes a service out of everything it is found by.
    pub fn remove(&mut self, id: ServiceId) -> Option<Service> {
        if let Some(name) = self.services.get(&id).map(|s| s.row.name.clone())
            && let Ok(at) = self.search(name.as_str())
        {
            self.by_name.remove(at);
        }
        let mut service = self.services.remove(&id)?;
        if std::mem::take(&mut service.archiving) {
            self.archiving -= 1;
        }
        self.timers.void(id, &mut service.again);
        self.ports.remove(service.row.endpoint_port);
        self.ports.remove(service.row.pooled_port);
        self.busy.remove(&id);
        self.forks.remove(&id);
        self.working.remove(&id);
        self.idle_jobs.remove(&id);
        self.behind.remove(&id);
        self.incidents.failing.remove(&id);
        self.upkept.remove(&id);
        for member in service.row.members.iter().filter(|_| !service.row.is_bare()) {
            self.of_member.remove(&member.id);
            self.ports.remove(member.port);
            if let Some(host) = self.hosts.get_mut(&member.host) {
                compact::remove(&mut host.members, &member.id);
            }
        }
        Some(service)
    }
}
