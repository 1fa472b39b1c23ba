//! What people order of acts: to run, to break the glass, to agree, to end, to keep a recording.

use super::super::Cell;
use super::super::turn::Work;
use super::{Run, Wanted, cut, told};
use crate::act::{Approval, LASTS, Sort, State};
use crate::digest::Digest;
use crate::journal::Topic;
use crate::operation::Cause;
use crate::order::{Accepted, Error, Glass, Order};
use crate::time::Span;

/// What was said in a shell before its end is taken for so long after it.
const LAST_WORDS: Span = Span::secs(30);
impl Cell {
    /// Takes an order about acts.
    pub(in crate::cell) fn order_act(
        &mut self,
        by: &str,
        order: &Order,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        match order {
            Order::Procedure { name, procedure, member, parameters, dry_run } => {
                let (member, dry_run) = (member.as_deref(), *dry_run);
                self.order_procedure(
                    by,
                    name,
                    &Run { procedure, member, parameters, dry_run },
                    work,
                )
            }
            Order::BreakGlass { glass } => self.order_glass(glass, work),
            Order::ApproveAct { act, person } => self.order_approval(*act, person, work),
            Order::EndAct { act, person } => self.order_act_end(*act, person, work),
            Order::RecordAct { act, typed, shown } => {
                self.order_recording(*act, (typed, shown), work)
            }
            _ => unreachable!("only orders about acts come here"),
        }
    }

    /// Takes the order to run a procedure as planned.
    fn order_procedure(
        &mut self,
        by: &str,
        name: &str,
        run: &Run<'_>,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let id = self.named_id(name)?;
        let act = self.start_procedure(id, run, Cause::Order { by: by.into() }, work)?;
        Ok(told(id, act, format!("{} runs on {name} as run {act}", run.procedure)))
    }

    /// Takes a person's word that the glass is broken.
    fn order_glass(&mut self, glass: &Glass, work: &mut Work) -> Result<Accepted, Error> {
        let id = self.named_id(&glass.service)?;
        if glass.reason.trim().is_empty() {
            return Err(Error::NoReason);
        }
        let (least, most) = LASTS;
        if glass.lasts < least || glass.lasts > most {
            let why =
                format!("a break-glass lasts between {least} and {most}, not {}", glass.lasts);
            return Err(Error::BadAct { why });
        }
        let sort = if glass.shell { Sort::Shell } else { Sort::Glass };
        let next = self.state.row.acts + 1;
        let cause = Cause::Order { by: format!("{} (break-glass {next})", glass.person).into() };
        let wanted = Wanted {
            sort,
            by: &glass.person,
            reason: &glass.reason,
            run: Run {
                procedure: &glass.procedure,
                member: glass.member.as_deref(),
                parameters: &glass.parameters,
                dry_run: glass.dry_run,
            },
            lasts: Some(glass.lasts),
            second: glass.second.as_deref(),
            cause,
        };
        let act = self.record_act(id, &wanted, work)?;
        let waits = self.state.acts.get(&act).is_some_and(|act| act.state == State::Waiting);
        let text = if waits {
            format!(
                "break-glass {act} on {} waits for a second person: `evenkeel breakglass approve {act} \
                 --as NAME`",
                glass.service
            )
        } else {
            format!("break-glass {act} on {} is open for {}", glass.service, glass.lasts)
        };
        Ok(told(id, act, text))
    }

    /// Takes a second person's yes.
    fn order_approval(
        &mut self,
        id: u32,
        person: &str,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let act = self.state.acts.get_mut(&id).ok_or(Error::NoSuchAct { id })?;
        let refuse = |why: String| Err(Error::BadAct { why });
        if act.state != State::Waiting {
            return refuse(format!("{} waits for nobody", act.called()));
        }
        if person.trim().is_empty() || person == act.by {
            return refuse(format!(
                "{} needs the yes of another person than {}; name yourself with `--as NAME`",
                act.called(),
                act.by
            ));
        }
        if let Some(second) = act.second.as_ref().filter(|second| *second != person) {
            return refuse(format!("{} waits for the yes of {second}", act.called()));
        }
        act.approved = Some(Approval { by: cut(person), at: work.now });
        act.state = State::Open;
        let (service, text) = (act.service_id, format!("{} is approved by {person}", act.called()));
        work.record_act(id);
        work.services.insert(service);
        Ok(told(service, id, text))
    }

    /// Takes the order to end an act.
    fn order_act_end(&mut self, id: u32, person: &str, work: &mut Work) -> Result<Accepted, Error> {
        let act = self.state.acts.get(&id).ok_or(Error::NoSuchAct { id })?;
        let (service, called) = (act.service_id, act.called());
        if !act.lives() {
            return Err(Error::BadAct { why: format!("{called} has ended already: {}", act.how) });
        }
        // Who closes a shell has done what it is for.
        let state = if act.sort == Sort::Shell { State::Done } else { State::Ended };
        self.end_act(service, state, &format!("ended by {person}"), work);
        Ok(told(service, id, format!("{called} has ended")))
    }

    /// Takes what was typed and shown in a shell.
    fn order_recording(
        &mut self,
        id: u32,
        (typed, shown): (&str, &str),
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let act = self.state.acts.get_mut(&id).ok_or(Error::NoSuchAct { id })?;
        if act.sort != Sort::Shell {
            return Err(Error::BadAct { why: format!("{} is no shell", act.called()) });
        }
        // Its last words come a moment after its end; then nothing is changed any more.
        if act.ended.is_some_and(|ended| work.now.since(ended) > LAST_WORDS) {
            return Err(Error::BadAct { why: format!("{} has ended: {}", act.called(), act.how) });
        }
        let (service, name, called) = (act.service_id, act.service.clone(), act.called());
        let recording = act.recording.get_or_insert_default();
        recording.add(typed, shown);
        if act.ended.is_some() {
            let text = format!("{called}: its last words are in its recording now");
            let digest = vec![format!("recording {}", Digest::of_json(recording))];
            work.note(Topic::Operation, &name, text, digest);
        }
        work.record_act(id);
        Ok(told(service, id, "recorded".to_owned()))
    }
}
