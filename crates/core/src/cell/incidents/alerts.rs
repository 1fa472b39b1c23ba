//! Alerts: who is told of an incident, through which channel, and what became of it.
//!
//! Every delivery is in the chain's row before it goes out. After a restart, those whose outcome is not known
//! go out again under their numbers; the notice names the same incident, so no channel opens a second one.

use super::rows::{Channel, Flight, Is, Outcome};
use crate::alert::{Delivery, IncidentId, Notice, Purpose, Told};
use crate::cell::turn::Work;
use crate::cell::{Cell, Send};
use crate::check::Severity;
use crate::digest::Digest;
use crate::incident::chain::{Move, Step};
use crate::incident::{Domain, Event, Sort, State};
use crate::journal::Topic;
use crate::label::Label;
use crate::moment::Moment;
use crate::row::{Key, Table};
use crate::time::{Span, Time};

/// The row of the chain.
pub(in crate::cell) const CHAIN: Key = Key { table: Table::Incident, id: 0 };
/// The end of an incident is told so often at most to a channel that fails.
const END_TRIES_MAX: u8 = 3;
/// A word that comes later than this after its time is heard no more.
const LATE_MAX: Span = Span::mins(10);
/// Outcomes awaited at once at most; the oldest late ones are forgotten first.
const FLIGHTS_MAX: usize = 256;
/// Longest text of a channel that is kept.
const TEXT_MAX_CHARS: usize = 200;

impl Cell {
    /// The shell says whom to tell, in order.
    pub(in crate::cell) fn learn_chain(&mut self, chain: &[Step], work: &mut Work) {
        work.incidents = true;
        let alerts = &mut self.state.incidents.alerts;
        if alerts.chain == chain {
            return;
        }
        let known = std::mem::take(&mut alerts.channels);
        let channel = |step: &Step| {
            let new = || Channel {
                name: step.channel,
                last: None,
                told: None,
                failing_since: None,
                exercised: None,
            };
            known.iter().find(|c| c.name == step.channel).cloned().unwrap_or_else(new)
        };
        alerts.channels = chain.iter().map(channel).collect();
        alerts.chain = chain.to_vec();
        alerts.flights.retain(|flight| chain.iter().any(|step| step.channel == flight.channel));
        work.rows.insert(CHAIN);
        let text = match chain {
            [] => "no alert channel is configured: nobody is told of incidents".to_owned(),
            _ => format!("incidents are told through {}", names(chain.iter().map(|s| s.channel))),
        };
        work.note(Topic::Fleet, "fleet", text, Vec::new());
    }

    /// A controller begins: what was on its way goes out again.
    pub(in crate::cell) fn send_again(&mut self, work: &mut Work) {
        let incidents = &mut self.state.incidents;
        let rows = &incidents.rows;
        let is_wanted = |flight: &Flight| {
            let row = rows.get(&flight.incident);
            flight.purpose != Purpose::Raise || row.is_some_and(|row| row.state.needs_a_person())
        };
        // Whoever knows by now is not told again; whether the channel was is not known.
        let unwanted = |flight: &&mut Flight| flight.is == Is::Sent && !is_wanted(flight);
        incidents.alerts.flights.iter_mut().filter(unwanted).for_each(|f| f.is = Is::Late);
        let flights = incidents.alerts.flights.clone();
        for flight in flights.iter().filter(|flight| flight.is == Is::Sent) {
            self.dispatch(flight, work);
        }
    }

    /// What became of a delivery.
    pub(in crate::cell) fn learn_told(&mut self, told: &Told, work: &mut Work) {
        let alerts = &mut self.state.incidents.alerts;
        let at = alerts.flights.iter().position(|f| f.number == told.number && f.is != Is::Again);
        let Some(at) = at else { return };
        let flight = alerts.flights.remove(at);
        let (confirmed, text) = match &told.outcome {
            Ok(receipt) => (true, receipt.text.as_str()),
            Err(why) => (false, why.as_str()),
        };
        let text: String = text.chars().take(TEXT_MAX_CHARS).collect();
        if confirmed
            && flight.purpose == Purpose::Raise
            && let Some(row) = self.state.incidents.rows.get_mut(&flight.incident)
        {
            match told.under {
                Some(under) => drop(row.under.insert(flight.channel, under)),
                None => drop(row.under.remove(&flight.channel)),
            }
        }
        work.incidents = true;
        work.rows.insert(CHAIN);
        self.outcome(flight, confirmed, text, work);
    }

    /// A delivery came to this.
    fn outcome(&mut self, flight: Flight, confirmed: bool, text: String, work: &mut Work) {
        let rules = self.setup.policy.incidents;
        let Flight { number, channel, incident, purpose, .. } = flight;
        let alerts = &mut self.state.incidents.alerts;
        if let Some(known) = alerts.channels.iter_mut().find(|known| known.name == channel) {
            let at = work.now;
            let outcome = Outcome { at, purpose, confirmed, text: text.clone() };
            if purpose == Purpose::Exercise {
                known.exercised = Some(outcome.clone());
            }
            known.last = Some(outcome);
            if confirmed {
                (known.told, known.failing_since) = (Some(at), None);
            } else {
                known.failing_since.get_or_insert(at);
            }
        }
        let chain = alerts.chain.clone();
        if purpose == Purpose::Raise
            && let Some(row) = self.state.incidents.rows.get_mut(&incident)
        {
            row.chain.answered(number, confirmed, &chain, &rules, work.now);
            if confirmed {
                row.chain.knows(channel);
            }
            work.record_incident(incident);
        }
        let said = if text.is_empty() { String::new() } else { format!(": {text}") };
        match (purpose, confirmed) {
            (Purpose::Raise, true) => {
                let text = format!("{channel} confirmed the page{said}");
                self.incident_event(incident, Event::Confirmed, &text, work);
            }
            (Purpose::Exercise, true) => {}
            (Purpose::Exercise, false) => {
                let text = format!("the exercise of alert channel {channel} failed{said}");
                work.note(Topic::Finding, "fleet", text, Vec::new());
            }
            (Purpose::Resolve, true) => {}
            (Purpose::Raise | Purpose::Resolve, false) => {
                let text = format!("{channel} failed{said}");
                work.note(Topic::Incident, &incident.to_string(), text, Vec::new());
                if purpose == Purpose::Resolve && flight.tries < END_TRIES_MAX {
                    let until = work.now + rules.pause.times(u64::from(flight.tries));
                    let again = Flight { until, is: Is::Again, ..flight };
                    self.state.incidents.alerts.flights.push(again);
                }
            }
        }
    }

    /// Everything that is due of the chain.
    pub(super) fn tend_alerts(&mut self, work: &mut Work) {
        self.time_out(work);
        if !self.state.incidents.alerts.chain.is_empty() {
            let open: Vec<IncidentId> = self
                .state
                .incidents
                .active()
                .filter(|incident| incident.state.needs_a_person() && !incident.is_calm())
                .map(|incident| incident.id)
                .collect();
            open.into_iter().for_each(|id| self.press(id, work));
            self.exercise_if_due(work);
        }
        self.tell_posture(work);
    }

    /// Goes on with an incident's chain.
    fn press(&mut self, id: IncidentId, work: &mut Work) {
        let rules = self.setup.policy.incidents;
        let incidents = &mut self.state.incidents;
        let chain = &incidents.alerts.chain;
        let Some(row) = incidents.rows.get_mut(&id) else { return };
        let before = row.chain.clone();
        let next = row.chain.next(chain, &rules, work.now);
        if row.chain != before {
            work.record_incident(id);
        }
        match next {
            Move::Nobody => {}
            Move::Wait(until) => {
                self.state.timers.incidents(until);
            }
            Move::Tell(channel) => {
                let number = self.deliver(channel, id, Purpose::Raise, 1, work);
                let Some(row) = self.state.incidents.rows.get_mut(&id) else { return };
                row.chain.sent(number, &rules, work.now);
                work.record_incident(id);
            }
        }
    }

    /// Records a delivery and sends it; its number.
    fn deliver(
        &mut self,
        channel: Label,
        incident: IncidentId,
        purpose: Purpose,
        tries: u8,
        work: &mut Work,
    ) -> u64 {
        let until = work.now + self.setup.policy.incidents.patience;
        let alerts = &mut self.state.incidents.alerts;
        alerts.deliveries += 1;
        let number = alerts.deliveries;
        if alerts.flights.len() >= FLIGHTS_MAX
            && let Some(late) = alerts.flights.iter().position(|flight| flight.is == Is::Late)
        {
            alerts.flights.remove(late);
        }
        let flight = Flight { number, channel, incident, purpose, until, tries, is: Is::Sent };
        self.dispatch(&flight, work);
        self.state.incidents.alerts.flights.push(flight);
        self.state.timers.incidents(until);
        work.rows.insert(CHAIN);
        number
    }

    /// Hands a delivery to the shell.
    fn dispatch(&self, flight: &Flight, work: &mut Work) {
        let (number, channel) = (flight.number, flight.channel);
        let notice = self.notice(flight.incident, channel, flight.purpose, work.now);
        work.sends.push(Send::Alert(Delivery { number, channel, notice }));
    }

    /// What people are told.
    fn notice(&self, id: IncidentId, channel: Label, purpose: Purpose, now: Time) -> Notice {
        let at = |time: Time| Moment::of_millis(time.0).to_string();
        let Some(incident) = self.state.incidents.rows.get(&id) else {
            return Notice {
                incident: id,
                under: None,
                purpose,
                severity: Severity::Note,
                title: "exercise of the alert chain: nothing is wrong".to_owned(),
                domain: Domain::fleet().to_string(),
                evidence: Vec::new(),
                since: at(now),
            };
        };
        Notice {
            incident: id,
            under: incident.under.get(&channel).copied(),
            purpose,
            severity: incident.severity,
            title: self.title(incident),
            domain: incident.domain.to_string(),
            evidence: incident.evidence.clone(),
            since: at(incident.opened),
        }
    }

    /// One sentence about an incident.
    pub(super) fn title(&self, incident: &super::rows::Incident) -> String {
        let domain = &incident.domain;
        match (incident.state, incident.evidence.first(), incident.folded) {
            (State::Resolved | State::Closed, ..) => format!("{domain} is fine again"),
            // The evidence of one begins with what it is about.
            (_, Some(evidence), 0 | 1) if domain.sort == Sort::Service => evidence.clone(),
            (_, Some(evidence), 0 | 1) => format!("{domain}: {evidence}"),
            (_, _, folded) => match incident.shares {
                Some(shares) => format!("{domain}: {shares} need a person"),
                None => format!("{domain}: {folded} need a person"),
            },
        }
    }

    /// The channels that were told hear that an incident is over.
    pub(super) fn tell_end(&mut self, id: IncidentId, work: &mut Work) {
        self.tell_told(id, Purpose::Resolve, work);
    }

    /// The channels that were told hear that an incident is another one than it was: under its number. A
    /// person who knows of it is left alone.
    pub(super) fn tell_change(&mut self, id: IncidentId, work: &mut Work) {
        let row = self.state.incidents.rows.get(&id);
        if row.is_some_and(|row| row.state.needs_a_person()) {
            self.tell_told(id, Purpose::Raise, work);
        }
    }

    fn tell_told(&mut self, id: IncidentId, purpose: Purpose, work: &mut Work) {
        let incidents = &self.state.incidents;
        let Some(incident) = incidents.rows.get(&id) else { return };
        let mut told = incident.chain.told.clone();
        if purpose == Purpose::Resolve {
            // A channel that has not answered may have told somebody all the same.
            let raised = |f: &&Flight| f.incident == id && f.purpose == Purpose::Raise;
            let maybe = incidents.alerts.flights.iter().filter(raised).map(|f| f.channel);
            maybe.for_each(|channel| {
                if !told.contains(&channel) {
                    told.push(channel);
                }
            });
        }
        told.retain(|channel| incidents.alerts.chain.iter().any(|s| s.channel == *channel));
        for channel in told {
            self.deliver(channel, id, purpose, 1, work);
        }
    }

    /// Deliveries that nobody answered have failed; ends that were not told are told again.
    fn time_out(&mut self, work: &mut Work) {
        let due = |flight: &Flight| match flight.is {
            Is::Sent | Is::Again => flight.until,
            Is::Late => flight.until + LATE_MAX,
        };
        let flights = &mut self.state.incidents.alerts.flights;
        let (over, left): (Vec<Flight>, Vec<Flight>) =
            std::mem::take(flights).into_iter().partition(|flight| due(flight) <= work.now);
        *flights = left;
        for flight in over {
            work.rows.insert(CHAIN);
            match flight.is {
                Is::Late => {}
                Is::Again => {
                    let Flight { channel, incident, purpose, tries, .. } = flight;
                    self.deliver(channel, incident, purpose, tries + 1, work);
                }
                Is::Sent => {
                    let patience = self.setup.policy.incidents.patience;
                    let text = format!("no answer within {patience}");
                    let late = Flight { is: Is::Late, ..flight.clone() };
                    self.state.incidents.alerts.flights.push(late);
                    self.outcome(flight, false, text, work);
                }
            }
        }
        let next = self.state.incidents.alerts.flights.iter().map(due).min();
        if let Some(next) = next {
            self.state.timers.incidents(next);
        }
    }

    /// The chain is exercised daily: at a time of day that is this store's own.
    fn exercise_if_due(&mut self, work: &mut Work) {
        let every = self.setup.policy.incidents.exercise_every;
        if every == Span(0) || !self.leads() {
            return;
        }
        let alerts = &mut self.state.incidents.alerts;
        let first = || {
            let digest = Digest::of(self.setup.store.0.as_bytes());
            let spread = u64::from_be_bytes(*digest.0.first_chunk().expect("it is longer"));
            work.now + Span(spread % every.0)
        };
        let due = match alerts.exercise_due {
            Some(due) => due,
            None => {
                work.rows.insert(CHAIN);
                *alerts.exercise_due.insert(first())
            }
        };
        if work.now < due {
            self.state.timers.incidents(due);
            return;
        }
        alerts.exercise_due = Some(work.now + every);
        self.state.timers.incidents(work.now + every);
        self.exercise(work);
    }

    /// Tells every channel that nothing is wrong.
    pub(super) fn exercise(&mut self, work: &mut Work) -> Vec<Label> {
        let chain = &self.state.incidents.alerts.chain;
        let channels: Vec<Label> = chain.iter().map(|step| step.channel).collect();
        for &channel in &channels {
            self.deliver(channel, IncidentId(0), Purpose::Exercise, 1, work);
        }
        channels
    }

    /// Whether every channel fails, when that begins and ends.
    fn tell_posture(&mut self, work: &mut Work) {
        let alerts = &mut self.state.incidents.alerts;
        let all_fail = alerts.channels.iter().all(|channel| channel.failing_since.is_some());
        let down = all_fail && !alerts.channels.is_empty();
        let text = match (down, alerts.down_since) {
            (true, None) => {
                alerts.down_since = Some(work.now);
                let channels = names(alerts.channels.iter().map(|channel| channel.name));
                format!("no alert channel confirms ({channels}): nobody can be told")
            }
            (false, Some(since)) => {
                alerts.down_since = None;
                format!("people can be told again, after {}", work.now.since(since))
            }
            _ => return,
        };
        work.rows.insert(CHAIN);
        work.note(Topic::Fleet, "fleet", text, Vec::new());
    }

    /// Why nobody can be told, while that is so.
    pub(in crate::cell) fn pager_down(&self) -> Option<String> {
        let alerts = &self.state.incidents.alerts;
        alerts.down_since?;
        let why = |channel: &Channel| {
            let text = channel.last.as_ref().map_or("", |outcome| outcome.text.as_str());
            format!("{}: {text}", channel.name)
        };
        let why: Vec<String> = alerts.channels.iter().map(why).collect();
        Some(format!("no alert channel confirms ({})", why.join("; ")))
    }
}

fn names(channels: impl Iterator<Item = Label>) -> String {
    channels.map(|channel| channel.to_string()).collect::<Vec<_>>().join(", ")
}
