//! Agents: the real mind for members that are not quiet, and what it would say of those that are.
//!
//! A member falls asleep when its mind has had nothing to say for a while: what it keeps on disk stays. It is
//! woken by a goal that asks for more than a job, by the death of its server, and with its host. A mind that is
//! woken looks at its members first, as after a restart of its agent, before it is told what happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_core::agent::{Brain, Config, Input, JobCall, Output, Stored};
use evenkeel_core::backup::job::{self, Backup, Done, Proof, What};
use evenkeel_core::backup::lineage::BackupId;
use evenkeel_core::cell::Entry;
use evenkeel_core::driver::Process;
use evenkeel_core::goal::{Goal, Role, Want};
use evenkeel_core::id::MemberId;
use evenkeel_core::member::State;
use evenkeel_core::moment::Moment;
use evenkeel_core::promise::Position;
use evenkeel_core::report::{self, FromAgent, Mark, ToAgent};
use evenkeel_core::time::{Span, Time};

use super::calls::only_looks;
use super::clocks::moment;
use super::events::Event;
use super::host::{Awake, Host, Member, Slot};
use super::ledger::{Ledger, Service};
use super::seat::{Seat, place};
use super::server::Server;
use super::{REPOSITORY, UNREACHABLE};

/// A mind that has had nothing to say for so long falls asleep.
const CALM: Span = Span::secs(6);
/// Looks of a mind that is woken for what happens now were taken in the time before.
const BEFORE: Span = Span::secs(2);
const BEFORE_STEP: Span = Span::millis(20);
/// How long a backup takes at least, and by how much longer than that at most.
const BACKUP: Span = Span::secs(20);
const BACKUP_MORE: Span = Span::secs(100);
/// Until a job has found that storage gives no answer.
const GIVES_UP: Span = Span::secs(15);
/// Bytes of a database.
const BYTES: u64 = 64 << 20;

/// Whether a goal asks for no more than the one before it but another job.
fn only_job(old: &Goal, new: &Goal) -> bool {
    old.term == new.term
        && old.want == new.want
        && old.role == new.role
        && old.incarnation == new.incarnation
        && old.restarts == new.restarts
        && old.port == new.port
        && old.image == new.image
        && old.flush == new.flush
        && old.ends_soon == new.ends_soon
        && old.fence == new.fence
        && old.seed == new.seed
        && old.import == new.import
        && old.script == new.script
        && old.stop == new.stop
        && old.archive == new.archive
        && old.identity == new.identity
        && old.settings == new.settings
}

impl Seat {
    fn config(&self, host: &Host) -> Config {
        Config {
            hello: super::seat::hello(host, self.number),
            data_dirs: "/members/{}/data".to_owned(),
            policy: self.setup.policy.clone(),
            kinds: crate::kinds::KINDS,
            host_checks: &[],
        }
    }

    /// Goals arrive at a host.
    pub fn take_goals(&mut self, n: usize, whole: bool, goals: Vec<Arc<Goal>>) {
        if whole {
            self.forget_others(n, &goals);
        }
        let mut quiet = Vec::new();
        let mut awake: BTreeMap<Slot, Vec<Arc<Goal>>> = BTreeMap::new();
        let mut woken = Vec::new();
        for goal in goals {
            self.note_service(&goal);
            let Some(member) = self.member(goal.member) else {
                match self.making && is_plain(&goal) {
                    true => quiet.push(self.move_in(n, goal)),
                    false => woken.push(goal),
                }
                continue;
            };
            let old = &member.stored.applied.goal;
            let version = (old.term, old.revision);
            let same = only_job(old, &goal) && old.job == goal.job;
            match (member.mind, only_job(old, &goal)) {
                (Some(slot), _) => awake.entry(slot).or_default().push(goal),
                (None, true) => {
                    self.hold_to_goal(&goal, version, same);
                    quiet.push(self.take_quietly(goal));
                }
                (None, false) => woken.push(goal),
            }
        }
        self.report(n, &quiet);
        for (slot, goals) in awake {
            self.think(n, slot, &[Input::Message(ToAgent::Goals { whole: false, goals })]);
        }
        if !woken.is_empty() {
            let ids: Vec<MemberId> = woken.iter().map(|goal| goal.member).collect();
            for goal in &woken {
                if self.member(goal.member).is_none() {
                    self.enroll(n, Arc::clone(goal), Server::default());
                }
            }
            let slot = self.wake(n, &ids, true);
            let message = ToAgent::Goals { whole: false, goals: woken };
            self.think(n, slot, &[Input::Message(message)]);
        }
    }

    /// What is gone and not wanted is forgotten.
    fn forget_others(&mut self, n: usize, goals: &[Arc<Goal>]) {
        let named = |id: &MemberId| goals.iter().any(|goal| goal.member == *id);
        let gone = |id: &MemberId| {
            self.member(*id).is_some_and(|member| {
                member.mind.is_none() && member.stored.applied.goal.want == Want::Removed
            })
        };
        let over: Vec<MemberId> =
            self.hosts[n].members.iter().copied().filter(|id| !named(id) && gone(id)).collect();
        for id in over {
            self.members[place(id.0)] = None;
            let host = &mut self.hosts[n];
            host.members.retain(|member| *member != id);
            host.marks.remove(&id);
            host.digest = None;
        }
        self.settle_disk(n);
    }

    /// Notes which members a service has.
    fn note_service(&mut self, goal: &Goal) {
        let id = place(goal.identity.service.0);
        if self.services.len() <= id {
            self.services.resize_with(id + 1, || None);
        }
        let now = self.now;
        let new = || Service { members: Vec::new(), down: None, served: false, ledger: None };
        let service = self.services[id].get_or_insert_with(new);
        service.members = goal.identity.members.iter().map(|(member, _)| *member).collect();
        if goal.has_siblings() && service.ledger.is_none() {
            let identity = &goal.identity;
            let loss = crate::kinds::loss_of(&identity.kind, &identity.plan);
            service.ledger = Some(Box::new(Ledger::new(now, loss)));
        }
    }

    fn enroll(&mut self, n: usize, goal: Arc<Goal>, server: Server) {
        let (id, port) = (goal.member, goal.port);
        let stored = Stored::first(goal);
        let member = Member {
            host: n,
            stored,
            server,
            job: None,
            replication: None,
            mind: None,
            doing: None,
        };
        let at = place(id.0);
        if self.members.len() <= at {
            self.members.resize_with(at + 1, || None);
        }
        self.members[at] = Some(member);
        self.ports.insert(port, id);
        let host = &mut self.hosts[n];
        if let Err(at) = host.members.binary_search(&id) {
            host.members.insert(at, id);
        }
        self.settle_disk(n);
    }

    /// A member of a fleet that is being made is simply there.
    fn move_in(&mut self, n: usize, goal: Arc<Goal>) -> MemberId {
        let id = goal.member;
        let service = goal.identity.service;
        self.pid += 1;
        let server = Server::serving(&goal, self.pid);
        self.enroll(n, goal, server);
        if let Some(member) = self.member_mut(id) {
            (member.stored.made, member.stored.primary) = (true, true);
        }
        self.begin_job(id);
        self.felt(service);
        id
    }

    /// A quiet member takes a goal that has another job, or none.
    fn take_quietly(&mut self, goal: Arc<Goal>) -> MemberId {
        let id = goal.member;
        if let Some(member) = self.member_mut(id) {
            let job = goal.job.as_ref().map(|job| job.id);
            member.job.take_if(|told| Some(told.id) != job);
            member.stored.applied.pledged = member.stored.applied.pledged.max(goal.term);
            member.stored.applied.goal = goal;
        }
        self.begin_job(id);
        id
    }

    fn begin_job(&mut self, id: MemberId) {
        let Some(member) = self.member(id) else { return };
        let known = member.job.as_ref().map(|told| told.id);
        let Some(job) = member.stored.applied.goal.job.as_deref() else { return };
        if known == Some(job.id) {
            return;
        }
        let (number, fast) = (job.id, matches!(job.what, What::GiveUp));
        let up = self.storage.up && !self.hosts[member.host].disk.stuck;
        let took = match (self.making || fast, up) {
            (true, _) => Span::secs(1),
            (false, true) => BACKUP + Span(self.chance.below(BACKUP_MORE.0)),
            (false, false) => GIVES_UP,
        };
        self.at(took, Event::Worked(id, number, up));
    }

    /// A quiet member's job is over.
    pub fn worked(&mut self, id: MemberId, number: u32, began_up: bool) {
        let Some(host) = self.member(id).map(|member| member.host) else { return };
        let disk = &self.hosts[host].disk;
        let (up, at) = (self.storage.up && !disk.stuck, moment(self.now, disk.skew_ms));
        let Some(member) = self.member_mut(id) else { return };
        let goal = &member.stored.applied.goal;
        let Some(job) = goal.job.as_deref().filter(|job| job.id == number) else { return };
        if member.mind.is_some() {
            return;
        }
        let gives_up = job.what == What::GiveUp;
        let outcome = outcome(&job.what, number, began_up && up, at);
        if gives_up {
            self.give_up(id);
        }
        let Some(member) = self.member_mut(id) else { return };
        member.job = Some(Box::new(job::Told { id: number, outcome }));
        let host = member.host;
        self.report(host, &[id]);
    }

    /// Wakes a mind for some members, with what it knew before.
    pub fn wake(&mut self, n: usize, ids: &[MemberId], looked: bool) -> Slot {
        let mut stored = Vec::new();
        for id in ids {
            let Some(member) = self.member(*id) else { continue };
            let kept = member.stored.clone();
            // Of one that nothing was done for yet there is only the goal.
            if kept.made || member.server.process != Process::None {
                stored.push(kept);
            }
        }
        let config = self.config(&self.hosts[n]);
        let brain = Brain::new(config, stored, Vec::new(), None);
        self.lives += 1;
        let awake = Awake {
            brain,
            members: ids.to_vec(),
            life: self.lives,
            wake: None,
            calls: 0,
            said: self.now,
        };
        let minds = &mut self.hosts[n].minds;
        let slot = minds.iter().position(Option::is_none).unwrap_or(minds.len());
        if slot == minds.len() {
            minds.push(None);
        }
        minds[slot] = Some(awake);
        for id in ids {
            if let Some(member) = self.member_mut(*id) {
                member.mind = Some(slot);
            }
        }
        if looked {
            self.recall(n, slot);
        } else {
            let inputs = self.greetings(n);
            self.think(n, slot, &inputs);
        }
        slot
    }

    /// What a mind is told of the stream that is open.
    fn greetings(&self, n: usize) -> Vec<Input> {
        let host = &self.hosts[n];
        if host.link.is_none() {
            return Vec::new();
        }
        let welcome = host.welcome.as_deref().cloned().map(Input::Message);
        std::iter::once(Input::Opened).chain(welcome).collect()
    }

    /// A mind knows what it would know if it had been awake: its looks were taken before.
    fn recall(&mut self, n: usize, slot: Slot) {
        let mut now = Time(self.now.0 - BEFORE.0);
        let mut inputs = self.greetings(n);
        if !inputs.is_empty() {
            // Its goals were given on this stream, long ago.
            let ids = self.hosts[n].minds[slot].as_ref().map_or(&[][..], |awake| &awake.members);
            let goal = |id: &MemberId| Some(self.member(*id)?.stored.applied.goal.clone());
            let goals = ids.iter().filter_map(goal).collect();
            inputs.push(Input::Message(ToAgent::Goals { whole: false, goals }));
        }
        let real = self.now;
        while now < real {
            let Some(awake) = self.hosts[n].minds[slot].as_mut() else { return };
            let out = awake.brain.turn(now, &inputs);
            inputs.clear();
            for call in out.calls {
                let (number, member) = (call.number, call.member);
                if !only_looks(&call.action) {
                    // It is made as soon as it is awake.
                    self.begin_call(n, slot, call);
                    continue;
                }
                let outcome = self.perform(n, &call);
                inputs.push(Input::Outcome { member, number, outcome });
            }
            now = if inputs.is_empty() { now + BEFORE_STEP } else { now };
            if inputs.is_empty() && out.wake_at.is_none_or(|at| at >= real) {
                break;
            }
        }
        // What it found out was said, where it is other than what was said before.
        if let Some(awake) = &self.hosts[n].minds[slot] {
            let reports = awake.brain.members().map(|report| (report::mark(&report), report));
            let reports = reports.collect();
            self.said(n, slot, reports);
        }
        // What is left of it comes now.
        if !inputs.is_empty() {
            self.think(n, slot, &inputs);
        }
    }

    pub fn think_of(&mut self, n: usize, slot: Slot, life: u64, inputs: &[Input]) {
        let alive = self.hosts[n].minds.get(slot).and_then(Option::as_ref);
        if alive.is_some_and(|awake| awake.life == life) {
            self.think(n, slot, inputs);
        }
    }

    /// A mind wanted to be woken.
    pub fn woken(&mut self, n: usize, slot: Slot, life: u64) {
        let now = self.now;
        let Some(awake) = self.hosts[n].minds.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        if awake.life != life || awake.wake.is_none_or(|at| at > now) {
            return;
        }
        awake.wake = None;
        if self.fall_asleep(n, slot) {
            return;
        }
        self.think(n, slot, &[]);
    }

    /// Every mind of a host is told something.
    pub fn tell_minds(&mut self, n: usize, input: &Input) {
        for slot in 0..self.hosts[n].minds.len() {
            if self.hosts[n].minds[slot].is_some() {
                self.think(n, slot, std::slice::from_ref(input));
            }
        }
    }

    /// One turn of a mind, and what it wants done.
    pub fn think(&mut self, n: usize, slot: Slot, inputs: &[Input]) {
        let now = self.now;
        let Some(awake) = self.hosts[n].minds[slot].as_mut() else { return };
        let Output { save, calls, jobs, send, wake_at, edges, .. } = awake.brain.turn(now, inputs);
        let life = awake.life;
        self.tally.counts.edges.take(&edges);
        for (id, stored) in save {
            if let Some(member) = self.member_mut(id) {
                member.stored = stored;
            }
        }
        for call in calls {
            self.begin_call(n, slot, call);
        }
        for JobCall { member, number, job, .. } in jobs {
            let disk = &self.hosts[n].disk;
            let up = self.storage.up && !disk.stuck;
            let outcome = outcome(&job.what, job.id, up, moment(now, disk.skew_ms));
            if job.what == What::GiveUp {
                self.give_up(member);
            }
            let took = if up { BACKUP + Span(self.chance.below(BACKUP_MORE.0)) } else { GIVES_UP };
            self.at(
                took,
                Event::Told(n, slot, life, Box::new(Input::Job { member, number, outcome })),
            );
        }
        for message in send {
            match message {
                FromAgent::Members { members, marks, .. } if !members.is_empty() => {
                    self.said(n, slot, marks.into_iter().zip(members).collect());
                }
                FromAgent::Beat { number, answer: true, .. }
                    if self.hosts[n].welcome.is_some() && self.cell.is_some() =>
                {
                    let heard = Input::Message(ToAgent::Heard { number });
                    self.at(self.tick, Event::Told(n, slot, life, Box::new(heard)));
                }
                _ => {}
            }
        }
        if let Some(at) = wake_at
            && let Some(awake) = self.hosts[n].minds[slot].as_mut()
        {
            let at = at.max(now + Span(1));
            if awake.wake.is_none_or(|known| at < known || known <= now) {
                awake.wake = Some(at);
                self.at(at.since(now), Event::Wake(n, slot, life));
            }
        }
    }

    /// A mind reports members that changed.
    fn said(&mut self, n: usize, slot: Slot, members: Vec<(Mark, report::Member)>) {
        let now = self.now;
        let (mut news, mut stirred) = (Vec::new(), false);
        for (mark, report) in members {
            let id = report.member;
            let Some(member) = self.member_mut(id) else { continue };
            let doing = (report.state, report.pid, report.write_proven, report.applied);
            stirred |= member.doing.replace(doing) != Some(doing);
            member.replication.clone_from(&report.replication);
            member.job = report.archive.as_ref().and_then(|a| a.job.clone()).map(Box::new);
            let host = &mut self.hosts[n];
            if host.marks.insert(id, mark) != Some(mark) {
                host.digest = None;
                news.push((mark, report));
            }
        }
        if let Some(awake) = self.hosts[n].minds[slot].as_mut().filter(|_| stirred) {
            awake.said = now;
        }
        if news.is_empty() {
            return;
        }
        self.send_members(n, false, news);
    }

    fn send_members(&mut self, n: usize, whole: bool, members: Vec<(Mark, report::Member)>) {
        let host = &self.hosts[n];
        if let Some(link) = host.link.filter(|_| host.on && host.agent && host.side == 0) {
            self.budgets.told(members.iter().map(|(_, report)| report));
            let message = FromAgent::marked(whole, members);
            self.send(n, Entry::Agent { link, message });
        }
    }

    /// Reports quiet members that changed.
    pub fn report(&mut self, n: usize, ids: &[MemberId]) {
        let now = self.now;
        let mut news = Vec::new();
        for id in ids {
            let Some(member) = self.member(*id).filter(|member| member.mind.is_none()) else {
                continue;
            };
            let report = member.report(&self.hosts[n].disk, REPOSITORY, now);
            let mark = report::mark(&report);
            let host = &mut self.hosts[n];
            if host.marks.insert(*id, mark) != Some(mark) {
                host.digest = None;
                news.push((mark, report));
            }
        }
        if !news.is_empty() {
            self.send_members(n, false, news);
        }
    }

    /// Reports every member.
    pub fn report_all(&mut self, n: usize) {
        let now = self.now;
        let mut all: BTreeMap<MemberId, report::Member> = BTreeMap::new();
        for slot in self.hosts[n].minds.iter().flatten() {
            all.extend(slot.brain.members().map(|report| (report.member, report)));
        }
        for id in &self.hosts[n].members {
            let Some(member) = self.member(*id).filter(|member| member.mind.is_none()) else {
                continue;
            };
            all.insert(*id, member.report(&self.hosts[n].disk, REPOSITORY, now));
        }
        let host = &mut self.hosts[n];
        let all: Vec<_> = all.into_values().map(|report| (report::mark(&report), report)).collect();
        host.marks = all.iter().map(|(mark, report)| (report.member, *mark)).collect();
        host.digest = None;
        self.send_members(n, true, all);
    }

    /// A mind that has had nothing to say for a while falls asleep; whether it did.
    fn fall_asleep(&mut self, n: usize, slot: Slot) -> bool {
        let now = self.now;
        let Some(awake) = self.hosts[n].minds[slot].as_ref() else { return true };
        if awake.calls > 0 || now.since(awake.said) < CALM {
            return false;
        }
        let calm = awake.members.iter().all(|id| {
            let Some(member) = self.member(*id) else { return true };
            let goal = &member.stored.applied.goal;
            if goal.want != Want::Running {
                return member.server.process == Process::None;
            }
            let runs = member.server.runs(now);
            let standby = member.server.part.as_deref().is_some_and(|part| part.standby);
            match &goal.role {
                Role::Primary { .. } => {
                    runs && !standby && member.stored.applied.goal.job.is_none()
                }
                Role::Standby { .. } => {
                    let streams = member.server.part.as_deref().is_some_and(|part| part.streaming);
                    runs && streams && member.stored.applied.goal.job.is_none()
                }
                Role::Recruit => false,
            }
        });
        let reports: Vec<report::Member> = awake.brain.members().collect();
        let settled = reports.iter().all(|report| {
            let rests = matches!(report.state, State::Stopped | State::Sealed | State::Gone);
            (report.state.serves() || rests) && report.trouble.is_none()
        });
        if !calm || !settled {
            return false;
        }
        let awake = self.hosts[n].minds[slot].take();
        let ids = awake.map(|awake| awake.members).unwrap_or_default();
        for id in &ids {
            if let Some(member) = self.member_mut(*id) {
                member.mind = None;
            }
        }
        self.report(n, &ids);
        true
    }
}

/// Whether a goal is that of a new service's only member.
fn is_plain(goal: &Goal) -> bool {
    !goal.has_siblings()
        && goal.want == Want::Running
        && goal.seed.is_none()
        && goal.import.is_none()
        && matches!(goal.role, Role::Primary { .. })
}

/// What a job comes to.
fn outcome(what: &What, number: u32, up: bool, moment: Moment) -> Result<Done, String> {
    if !up && *what != What::GiveUp {
        return Err(UNREACHABLE.to_owned());
    }
    Ok(match what {
        What::Backup { .. } => Done::Backup(Backup {
            id: BackupId(number),
            begun: moment,
            ended: moment,
            from: Position(u64::from(number) << 24),
            to: Position((u64::from(number) << 24) + 1),
            timeline: 1,
            bytes: BYTES,
            stored: BYTES / 4,
            repositories: vec![REPOSITORY.to_owned()],
        }),
        What::Prove(seed) | What::Last(seed) => Done::Proof(Proof {
            backup: seed.backup.unwrap_or(BackupId(number)),
            begun: moment,
            restore_ms: 20_000,
            canary: Some(moment),
            relations: 1,
            wrong: Vec::new(),
        }),
        What::Expire { backups, .. } => Done::Expired { objects: backups.len() as u64 },
        What::Even => Done::Evened { objects: 0 },
        What::GiveUp => Done::GaveUp { bytes: 0 },
    })
}
