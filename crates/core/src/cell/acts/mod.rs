//! Acts: procedures that run on a service, and people who go in by hand, from the first word to the last.
//!
//! The story: an act is recorded with all that pins it before anything is ordered. A service has one at a
//! time. While it is open and nothing else is under way, its next step is ordered as an operation of its own,
//! which takes a claim as every other; the first step that fails ends it, and so does its time.

mod orders;

use std::collections::BTreeMap;

use super::state::Service;
use super::turn::Work;
use super::{Cell, goals};
use crate::act::{Act, Entry, KEPT_MAX, Recording, Sort, State, Step, WORDS_MAX_CHARS};
use crate::digest::Digest;
use crate::id::{MemberId, ServiceId};
use crate::journal::Topic;
use crate::operation::{Cause, Kind, Operation};
use crate::order::{Accepted, Error};
use crate::procedure::{self, Procedure, Ran, Script};
use crate::service::{Phase, shown};
use crate::time::{Span, Time};

/// Lines of a script's words that the journal keeps.
const EVIDENCE_LINES: usize = 12;
/// A planned act that has not begun, or waits between its steps, is given up after this beside its scripts'
/// own time.
const PATIENCE: Span = Span::mins(60);

/// What is to be run.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    /// Which procedure; for a shell, which.
    pub procedure: &'a str,
    /// Beside which member; the primary if absent.
    pub member: Option<&'a str>,
    /// Its parameters, as text.
    pub parameters: &'a BTreeMap<String, String>,
    /// Whether it only says what it would do.
    pub dry_run: bool,
}

/// What is wanted of an act, before it is recorded.
struct Wanted<'a> {
    sort: Sort,
    by: &'a str,
    reason: &'a str,
    run: Run<'a>,
    lasts: Option<Span>,
    second: Option<&'a str>,
    cause: Cause,
}

impl Cell {
    /// Gives the cell the procedures there are. They are part of its snapshots, and of no row: what runs is
    /// pinned with each act.
    pub fn equip(&mut self, procedures: Vec<Procedure>) {
        let by_name = procedures.into_iter().map(|p| (p.manifest.name.clone(), p));
        self.state.procedures = by_name.collect();
    }

    /// Every procedure, in order of name.
    #[must_use]
    pub fn procedures(&self) -> Vec<Procedure> {
        self.state.procedures.values().cloned().collect()
    }

    /// Every act that is kept, the newest first.
    #[must_use]
    pub fn kept_acts(&self) -> Vec<Act> {
        self.state.acts.values().rev().cloned().collect()
    }

    /// An act by its number.
    #[must_use]
    pub fn act(&self, id: u32) -> Option<Act> {
        self.state.acts.get(&id).cloned()
    }

    /// Starts a procedure on a service: the way in for remedies and plans. The number of the act.
    ///
    /// # Errors
    /// [`Error`]: no such procedure or service, other parameters, or the service is not there for it now.
    pub(super) fn start_procedure(
        &mut self,
        id: ServiceId,
        run: &Run<'_>,
        cause: Cause,
        work: &mut Work,
    ) -> Result<u32, Error> {
        let by = super::steps::cause(&cause);
        let wanted = Wanted {
            sort: Sort::Planned,
            by: &by,
            reason: "planned",
            run: *run,
            lasts: None,
            second: None,
            cause,
        };
        self.record_act(id, &wanted, work)
    }

    fn named_id(&self, name: &str) -> Result<ServiceId, Error> {
        let service = self.state.named(name);
        let service = service.ok_or_else(|| Error::NoSuchService { name: name.to_owned() })?;
        Ok(service.row.id)
    }

    /// Records an act, with all that pins it.
    fn record_act(
        &mut self,
        id: ServiceId,
        wanted: &Wanted<'_>,
        work: &mut Work,
    ) -> Result<u32, Error> {
        let unknown = || Error::NoSuchService { name: id.to_string() };
        let service = self.state.services.get(&id).ok_or_else(unknown)?;
        let (row, name) = (&service.row, service.row.name.as_str().to_owned());
        if let Some(open) = self.state.open_acts.get(&id).and_then(|act| self.state.acts.get(act)) {
            let why = format!("{name} has {} under way ({})", open.called(), open.procedure);
            return Err(Error::BadAct { why });
        }
        if row.phase != Phase::Serving && wanted.sort != Sort::Shell {
            let (order, state) = (wanted.run.procedure.to_owned(), shown(row.phase, row.health));
            return Err(Error::NotNow { order, name, state });
        }
        let member = match wanted.run.member {
            None => None,
            Some(member) => Some(self.member_of(service, member)?),
        };
        let mut act = Act {
            id: self.state.row.acts + 1,
            sort: wanted.sort,
            state: State::Open,
            by: cut(wanted.by),
            reason: cut(wanted.reason),
            procedure: wanted.run.procedure.to_owned(),
            digest: None,
            service: name.clone(),
            service_id: id,
            member,
            parameters: BTreeMap::new(),
            dry_run: wanted.run.dry_run,
            begun: work.now,
            until: work.now + wanted.lasts.unwrap_or(PATIENCE),
            ended: None,
            how: String::new(),
            second: wanted.second.map(cut),
            approved: None,
            cause: wanted.cause.clone(),
            steps: Vec::new(),
            operation: None,
            entries: Vec::new(),
            recording: (wanted.sort == Sort::Shell).then(Box::<Recording>::default),
        };
        if wanted.sort != Sort::Shell {
            self.pin(service, wanted, &mut act)?;
        }
        let pinned = act.digest.map_or(String::new(), |d| format!(", digest {}", d.short()));
        let dry = if act.dry_run { ", dry run" } else { "" };
        let lasts = act.until.since(act.begun);
        let text = format!(
            "{} of {}{pinned}{dry}, by {}, {lasts} at most: {}",
            act.called(),
            act.procedure,
            act.by,
            act.reason
        );
        work.note(Topic::Operation, &name, text, Vec::new());
        self.state.row.acts = act.id;
        work.cell = true;
        let number = act.id;
        self.state.open_acts.insert(id, number);
        self.state.acts.insert(number, act);
        self.forget_acts(work);
        work.record_act(number);
        work.services.insert(id);
        Ok(number)
    }

    /// Puts a procedure's steps, digests and parameters into an act.
    fn pin(&self, service: &Service, wanted: &Wanted<'_>, act: &mut Act) -> Result<(), Error> {
        let name = wanted.run.procedure;
        let found = self.state.procedures.get(name).ok_or_else(|| Error::NoSuchProcedure {
            name: name.to_owned(),
            known: self.state.procedures.keys().cloned().collect::<Vec<_>>().join(", "),
        })?;
        let bad = |error: procedure::Error| Error::BadAct { why: error.to_string() };
        let kind = goals::plan(&self.setup, &service.row).0.name();
        if found.manifest.kind != kind {
            let why = format!("procedure {name} is for {}, not for {kind}", found.manifest.kind);
            return Err(Error::BadAct { why });
        }
        if wanted.run.dry_run && !found.manifest.dry_run {
            return Err(bad(procedure::Error::NoDryRun { procedure: name.to_owned() }));
        }
        act.parameters = found.values(wanted.run.parameters).map_err(bad)?;
        act.digest = Some(found.digest());
        for step in found.steps() {
            act.steps.push(match step {
                procedure::Step::Operation(operation) => Step::Operation(operation.kind()),
                procedure::Step::Script(script) => {
                    let code = found.code(&script).ok_or_else(|| Error::BadAct {
                        why: format!("procedure {name} has no script {script:?}"),
                    })?;
                    if act.sort == Sort::Planned {
                        act.until = act.until + code.limit;
                    }
                    Step::Script { name: script, digest: code.digest(), code: Box::new(code) }
                }
            });
        }
        if act.sort == Sort::Glass && found.manifest.second_person {
            act.state = State::Waiting;
        }
        Ok(())
    }

    fn member_of(&self, service: &Service, name: &str) -> Result<MemberId, Error> {
        let is = |member: &&super::rows::Member| {
            member.id.to_string() == name || self.state.host_name(member.host) == name
        };
        let found = service.row.members.iter().find(is);
        found.map(|member| member.id).ok_or_else(|| Error::BadAct {
            why: format!(
                "{} has no member {name:?}; `evenkeel show {}` lists members and hosts",
                service.row.name.as_str(),
                service.row.name.as_str()
            ),
        })
    }

    /// Looks after a service's act: its time, and its next step.
    pub(super) fn drive_act(&mut self, id: ServiceId, work: &mut Work) {
        let Some(&number) = self.state.open_acts.get(&id) else { return };
        let Some(act) = self.state.acts.get(&number) else { return };
        if work.now >= act.until {
            return self.end_act(id, State::Ended, "its time is over", work);
        }
        let until = act.until;
        self.look_at(id, until);
        let Some(act) = self.state.acts.get(&number) else { return };
        if act.state != State::Open || act.sort == Sort::Shell {
            return;
        }
        let Some(service) = self.state.services.get(&id) else { return };
        let running = service.row.operation.as_ref().map(|operation| operation.id);
        if act.operation.is_some() {
            if running != act.operation {
                let how = "the operation that ran for it is not known any more";
                self.end_act(id, State::Ended, how, work);
            }
            return;
        }
        if service.row.operation.is_some() || service.row.phase != Phase::Serving {
            return;
        }
        match act.steps.first().cloned() {
            None => self.end_act(id, State::Done, "all of it is done", work),
            Some(step) => self.order_act_step(id, number, step, work),
        }
    }

    fn order_act_step(&mut self, id: ServiceId, number: u32, step: Step, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let primary = service.row.primary().id;
        let standbys = service.row.promise.is_some();
        let Some(act) = self.state.acts.get_mut(&number) else { return };
        act.steps.remove(0);
        let (cause, member) = (act.cause.clone(), act.member.unwrap_or(primary));
        let (what, refused) = match &step {
            Step::Operation(kind) => {
                let refused = match kind {
                    _ if act.dry_run => Some("a dry run orders no operation"),
                    Kind::Switchover if !standbys => Some("there is no standby"),
                    _ => None,
                };
                (crate::operation::spec(*kind).name.to_owned(), refused)
            }
            Step::Script { name, digest, .. } => {
                (format!("script {name} on {member}, digest {}", digest.short()), None)
            }
        };
        act.entries.push(Entry::ordered(work.now, what));
        let left = act.until.since(work.now);
        let script = |act: &Act, digest, code: procedure::Code| Script {
            id: self.state.row.operations.next(),
            procedure: act.procedure.clone(),
            digest,
            limit: code.limit.min(left),
            code,
            parameters: act.parameters.clone(),
            dry_run: act.dry_run,
        };
        let (kind, about, script) = match step {
            Step::Operation(kind) => (kind, None, None),
            Step::Script { digest, code, .. } => {
                (Kind::Procedure, Some(member), Some(Box::new(script(act, digest, *code))))
            }
        };
        work.record_act(number);
        if let Some(why) = refused {
            act_said(act, Err(why.to_owned()), None, work.now);
            // What a dry run leaves out is no failure.
            if !act.dry_run {
                self.end_act(id, State::Ended, why, work);
            } else {
                work.services.insert(id);
            }
            return;
        }
        self.start_about(id, kind, cause, about, work);
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(operation) = service.row.operation.as_mut() else { return };
        operation.script = script;
        let operation = operation.id;
        if let Some(act) = self.state.acts.get_mut(&number) {
            act.operation = Some(operation);
        }
        self.advance(id, work);
    }

    /// An operation ended: if it was a step of an act, that goes on or ends.
    pub(super) fn act_heard(
        &mut self,
        id: ServiceId,
        operation: &Operation,
        came: Result<(), String>,
        work: &mut Work,
    ) {
        if operation.script.is_some() {
            // Its goal has no script any more.
            self.settle(id, work);
        }
        let Some(&number) = self.state.open_acts.get(&id) else { return };
        let ran = self.state.services.get(&id).and_then(|s| scripted(s, operation)).cloned();
        let Some(act) = self.state.acts.get_mut(&number) else { return };
        if act.operation != Some(operation.id) {
            return;
        }
        act.operation = None;
        let ok = came.is_ok() && ran.as_ref().is_none_or(|ran| ran.ok);
        // The words of one that failed are in the journal already, as what its operation lacked.
        let said = ran.as_ref().filter(|_| ok);
        let mut evidence = said.map_or_else(Vec::new, |ran| ran.evidence(EVIDENCE_LINES));
        evidence.extend(ran.as_ref().map(|ran| format!("words {}", Digest::of_json(ran))));
        act_said(act, came, ran, work.now);
        let said = act.entries.last().map_or_else(String::new, |entry| entry.text.clone());
        let (called, service) = (act.called(), act.service.clone());
        work.note(Topic::Operation, &service, format!("{called}: {said}"), evidence);
        work.record_act(number);
        work.services.insert(id);
        if !ok {
            self.end_act(id, State::Ended, &said, work);
        }
    }

    /// Ends a service's act.
    pub(super) fn end_act(&mut self, id: ServiceId, state: State, how: &str, work: &mut Work) {
        let Some(number) = self.state.open_acts.remove(&id) else { return };
        let Some(act) = self.state.acts.get_mut(&number) else { return };
        (act.state, act.ended) = (state, Some(work.now));
        how.clone_into(&mut act.how);
        act.steps.clear();
        let operation = act.operation.take();
        if operation.is_some() {
            act_said(act, Err(how.to_owned()), None, work.now);
        }
        let (called, name) = (act.called(), act.service.clone());
        let digest = act.recording.as_ref().map(|r| format!("recording {}", Digest::of_json(r)));
        let by_hand = (act.sort == Sort::Shell).then(|| {
            let typed = act.recording.as_ref().map_or(0, |r| r.typed.lines().count());
            format!(
                "by hand: {} in a {} shell: {typed} lines, for: {}; `evenkeel breakglass draft {number}` \
                 makes a procedure of it",
                act.by, act.procedure, act.reason
            )
        });
        work.record_act(number);
        work.note(Topic::Operation, &name, format!("{called} has ended: {how}"), Vec::new());
        if let Some(text) = by_hand {
            work.note(Topic::Order, &name, text, digest.into_iter().collect());
        }
        // A script does not outlive what it runs for; an operation is brought to its end.
        let runs = self.state.services.get(&id).and_then(|s| s.row.operation.as_ref());
        let runs = runs.is_some_and(|o| Some(o.id) == operation && o.kind == Kind::Procedure);
        if runs {
            self.drop_operation(id, &format!("the end of {called}"), work);
            work.record(id);
            self.settle(id, work);
            self.state.busy.remove(&id);
        }
        work.services.insert(id);
    }

    /// Acts that ended are kept up to a number.
    fn forget_acts(&mut self, work: &mut Work) {
        let ended = self.state.acts.values().filter(|act| !act.lives()).map(|act| act.id);
        let ended: Vec<u32> = ended.collect();
        for id in ended.iter().take(ended.len().saturating_sub(KEPT_MAX)) {
            self.state.acts.remove(id);
            work.record_act(*id);
        }
    }
}

/// What is said of the step that was ordered last.
fn act_said(act: &mut Act, came: Result<(), String>, ran: Option<Ran>, now: Time) {
    let Some(Entry { ended, ok, text, ran: kept, .. }) = act.entries.last_mut() else { return };
    *ended = Some(now);
    (*ok, *text) = match (&ran, came) {
        (Some(ran), _) => (Some(ran.ok), ran.text.clone()),
        (None, Ok(())) => (Some(true), "done".to_owned()),
        (None, Err(why)) => (Some(false), why),
    };
    *kept = ran.map(Box::new);
}

/// What came of an operation's script, by its member's agent.
pub(super) fn scripted<'a>(service: &'a Service, operation: &Operation) -> Option<&'a Ran> {
    let at = service.row.members.iter().position(|m| Some(m.id) == operation.member)?;
    let begun = service.seen[at].as_ref()?.rare.as_ref()?.script.as_ref()?;
    begun.ran.as_ref().filter(|_| begun.id == operation.id)
}

/// What is still missing of an operation's script, in words; empty: it did what it is for.
pub(super) fn unscripted(service: &Service, operation: &Operation) -> Vec<String> {
    match scripted(service, operation) {
        Some(ran) if ran.ok => Vec::new(),
        Some(ran) => {
            std::iter::once(ran.text.clone()).chain(ran.evidence(EVIDENCE_LINES)).collect()
        }
        None => {
            let member = operation.member.map_or_else(String::new, |member| format!("{member}: "));
            vec![format!("{member}its agent has not told what came of the script yet")]
        }
    }
}

fn told(service: ServiceId, act: u32, text: String) -> Accepted {
    Accepted { service: Some(service), operation: None, job: Some(act), text }
}

fn cut(words: &str) -> String {
    words.chars().take(WORDS_MAX_CHARS).collect()
}
