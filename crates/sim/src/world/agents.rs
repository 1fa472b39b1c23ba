//! Agents: real minds over modelled machines, as their shell runs them. Save, then act.

use evenkeel_core::agent::{self, Action, Brain, Call, Config, Input, Outcome, ScriptCall};
use evenkeel_core::backup::guard::Level;
use evenkeel_core::cell::Entry;
use evenkeel_core::digest::Digest;
use evenkeel_core::goal::{Role, StopMode};
use evenkeel_core::id::MemberId;
use evenkeel_core::procedure::Ran;
use evenkeel_core::report::{Answer, Hello, Sight};
use evenkeel_core::time::Span;

use super::{Event, Weather, World};
use crate::kinds::loss_of;
use crate::model::{Asking, Log};
use crate::report::Invariant;

/// How long a script takes.
const SCRIPT: Span = Span::millis(200);
/// A server that cannot live lives this long.
const CRASH: Span = Span::millis(250);
/// Until an agent is told that a process of its machine ended.
const DEATH: Span = Span::millis(2);

impl World {
    /// One turn of an agent.
    pub(super) fn think(&mut self, n: usize, inputs: &[Input]) {
        let (now, host) = (self.now, &mut self.hosts[n]);
        if host.paused {
            return;
        }
        let Some(brain) = host.brain.as_mut() else { return };
        let out = brain.turn(now, inputs);
        self.counts.edges.take(&out.edges);
        self.trace = Digest::of_json(&(self.trace, n, now, &out));
        let host = &mut self.hosts[n];
        host.saved.extend(out.save);
        out.forget.iter().for_each(|member| drop(host.saved.remove(member)));
        host.store = out.save_store.or(host.store.take());
        for (service, pooler) in out.save_poolers {
            match pooler {
                Some(pooler) => drop(host.saved_poolers.insert(service, pooler)),
                None => drop(host.saved_poolers.remove(&service)),
            }
        }
        let (life, link) = (host.life, host.link);
        for call in out.calls {
            let took = self.takes(Span(20), Span(30), 3, Span(2500));
            self.at(took, Event::Called(n, life, Box::new(call)));
        }
        for call in out.jobs {
            self.begin_work(n, life, call);
        }
        for ScriptCall { member, number, script, .. } in out.scripts {
            // What a script does to its server is not modelled: it runs, and says that it did.
            let text = format!("{} ran", script.procedure);
            let ran = Box::new(Ran { ok: true, exit: Some(0), ..Ran::failed(text) });
            self.at(SCRIPT, Event::Told(n, life, Input::Script { member, number, ran }));
        }
        for call in out.pooler_calls {
            self.call_pooler(n, life, call);
        }
        if let Some(link) = link.filter(|_| !self.hosts[n].cut) {
            for message in out.send {
                self.carry(link, true, Event::ToCell(Entry::Agent { link, message }));
            }
        }
        for question in out.ask {
            let sight = self.sight(n, question.port);
            let answer = Answer { id: question.id, member: question.member, sight };
            // Who hears nothing waits as long as it was told to.
            let took = match sight {
                Sight::Answered | Sight::Refused => Span::millis(3),
                Sight::Silent | Sight::Unreachable => question.patience,
            };
            self.at(took, Event::Told(n, life, Input::Saw(answer)));
        }
        if let Some(at) = out.wake_at {
            let at = at.max(now + Span(1));
            if self.hosts[n].wake != Some(at) {
                self.hosts[n].wake = Some(at);
                self.at(at.since(now), Event::WakeAgent(n, life));
            }
        }
    }

    /// What a witness sees. All hosts share one address: the port says whom it is about.
    fn sight(&self, from: usize, port: u16) -> Sight {
        let seen = self.hosts.iter().enumerate().filter_map(|(n, host)| {
            let sight = host.machine.sight(port)?;
            Some(match host.on {
                true if host.cut && n != from => Sight::Silent,
                true => sight,
                false => Sight::Unreachable,
            })
        });
        seen.min().unwrap_or(Sight::Refused)
    }

    /// A driver call comes to its end, whether its agent still lives or not.
    pub(super) fn called(&mut self, n: usize, life: u64, call: &Call) {
        let (now, host) = (self.now, &mut self.hosts[n]);
        // A call of an agent that died before it ended may have been made, or not; but two lives of
        // one agent never act at once: the lock of its directory sees to it.
        let voided = life != host.life || host.brain.is_none();
        let possible = host.on && host.brain.is_none() && self.options.weather == Weather::Rough;
        if voided && !(possible && self.network.percent(50)) {
            return;
        }
        host.machine.now = now;
        let identity = &call.goal.identity;
        self.losses.insert(identity.service, loss_of(&identity.kind, &identity.plan));
        let upstream = self.copied_for(n, call);
        let host = &mut self.hosts[n];
        host.machine.upstream = upstream;
        if matches!(call.action, Action::Stop(StopMode::Fast)) {
            // An orderly stop waits until whoever follows has everything.
            host.machine.end_segment(call.member);
            self.stream_now();
        }
        let host = &mut self.hosts[n];
        let guarded = host.machine.guarded(call.goal.port);
        let outcome = agent::perform(&mut host.machine, &call.goal, &call.action, &[]);
        if matches!(call.action, Action::Configure | Action::Promote) {
            self.stream_now();
        }
        if matches!(call.action, Action::Remove | Action::Discard | Action::Rejoin) {
            self.hold_to_last_copy(call.goal.identity.service);
        }
        self.check(Invariant::CallsAreSound);
        let host = &mut self.hosts[n];
        if let Some(what) = host.machine.broken.take() {
            let text = format!("{}: {what} ({})", host.name, call.member);
            return self.fail(Invariant::CallsAreSound, text);
        }
        if let Outcome::Started(pid) = outcome
            && host.machine.is_doomed(call.member)
        {
            self.at(CRASH, Event::Crash(n, call.member, pid));
        }
        self.tell_call(n, call, &outcome, guarded);
        let member = call.member;
        if !voided {
            let input = Input::Outcome { member, number: call.number, outcome };
            self.at(Span(0), Event::Told(n, life, input));
        }
    }

    /// The log that a copy is made from, if the call makes one.
    fn copied_for(&self, n: usize, call: &Call) -> Option<Log> {
        let Role::Standby { upstream } = &call.goal.role else { return None };
        let (copy, member) = (call.goal.copy(), call.member);
        let asking = Asking { copy, member, of: upstream.copy, port: upstream.port };
        matches!(call.action, Action::Initialize | Action::Rejoin)
            .then(|| self.upstream_of(n, &asking).cloned())
            .flatten()
    }

    /// Calls that change something are told; looks and probes are not.
    fn tell_call(&mut self, n: usize, call: &Call, outcome: &Outcome, guarded: Level) {
        use Action as A;
        if matches!(
            call.action,
            A::Look | A::Probe { .. } | A::Check(_) | A::Replication | A::Archived
        ) || matches!(outcome, Outcome::Held(false))
            || matches!(call.action, A::Guard(level) if level == guarded)
        {
            return;
        }
        let what = match &call.action {
            Action::Stop(mode) => format!("stop ({mode:?})").to_lowercase(),
            Action::Seal(true) => "seal".to_owned(),
            Action::Seal(false) => "unseal".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        let failed = match outcome {
            Outcome::Failed(error) => format!(" failed: {error}"),
            _ => String::new(),
        };
        let name = call.goal.identity.name.clone();
        self.tell(|world| format!("{}: {what} {name}{failed}", world.hosts[n].name));
    }

    /// A server's process is gone; its agent is told.
    pub(super) fn mourn(&mut self, n: usize, member: MemberId) {
        let life = self.hosts[n].life;
        self.at(DEATH, Event::Told(n, life, Input::Died { member }));
    }

    /// A server that cannot live dies, if it is still this process.
    pub(super) fn crash(&mut self, n: usize, member: MemberId, pid: u32) {
        let machine = &mut self.hosts[n].machine;
        if machine.is_doomed(member) && machine.runs(member, pid) && machine.kill(member) {
            self.tell(|world| format!("{}: the server dies", world.hosts[n].name));
            self.mourn(n, member);
        }
    }

    pub(super) fn start_agent(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        if !host.on {
            return;
        }
        host.back(self.now);
        if host.paused {
            host.paused = false;
            let waiting = std::mem::take(&mut host.waiting);
            self.tell(|world| format!("the agent of {} goes on", world.hosts[n].name));
            for (link, message) in waiting {
                if self.hosts[n].link == Some(link) {
                    self.think(n, &[Input::Message(message)]);
                }
            }
            return self.think(n, &[]);
        }
        if host.brain.is_some() {
            return;
        }
        (host.life, host.wake) = (host.life + 1, None);
        let zone = ["a", "b", "c"][n % 3].to_owned();
        let config = Config {
            hello: Hello {
                host: host.name.clone(),
                zone,
                rack: None,
                address: "127.0.0.1".to_owned(),
                pid: 1,
                boot: format!("boot {}", host.boots),
                release: "sim".to_owned(),
                image: Some("image".to_owned()),
                version: None,
                store: None,
                checks: Vec::new(),
                poolers: host.keeps_poolers,
            },
            data_dirs: "/members/{}/data".to_owned(),
            policy: self.options.policy.clone(),
            kinds: crate::kinds::KINDS,
            host_checks: evenkeel_kinds::host::CHECKS,
        };
        let stored = host.saved.values().cloned().collect();
        let poolers = host.saved_poolers.values().cloned().collect();
        host.brain = Some(Brain::new(config, stored, poolers, host.store.clone()));
        self.tell(|world| format!("the agent of {} begins", world.hosts[n].name));
        self.think(n, &[]);
    }
}
