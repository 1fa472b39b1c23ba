//! What an agent tells its controller: members that changed, beats, how its host is.

use super::{Brain, Output, UNANSWERED_MAX, data_dir};
use crate::check::{Reading, Result as CheckResult};
use crate::report::{self, FromAgent};
use crate::time::Time;

impl Brain {
    /// Reports the members that changed.
    pub(super) fn report(&mut self, now: Time, out: &mut Output) {
        let mut changed = Vec::new();
        for (id, member) in &mut self.members {
            if !std::mem::take(&mut member.touched) && !member.is_late(now) {
                continue;
            }
            let report = member.report(data_dir(&self.config, *id), now);
            let mark = report::mark(&report);
            if member.reported.replace(mark) != Some(mark) {
                member.told_of(&report);
                self.digest = None;
                changed.push((mark, report));
            }
        }
        if self.open && !changed.is_empty() {
            out.send.push(FromAgent::marked(false, changed));
        }
        if self.obeys {
            let news = self.poolers.news();
            out.send.extend((!news.is_empty()).then_some(FromAgent::Poolers(news)));
        }
    }

    pub(super) fn report_all(&mut self, now: Time, out: &mut Output) {
        let mut members = Vec::new();
        for (id, member) in &mut self.members {
            let report = member.report(data_dir(&self.config, *id), now);
            let mark = report::mark(&report);
            member.reported = Some(mark);
            member.told_of(&report);
            members.push((mark, report));
        }
        self.digest = None;
        if self.open {
            out.send.push(FromAgent::marked(true, members));
        }
    }

    pub(super) fn beat(&mut self, now: Time, out: &mut Output) {
        if !self.open || now < self.beat {
            return;
        }
        self.beat = now + self.config.policy.beat;
        self.beats += 1;
        let members = &self.members;
        let digest = *self
            .digest
            .get_or_insert_with(|| report::digest_of(members.values().filter_map(|m| m.reported)));
        let answer = members.values().any(|member| member.goal().fence.is_some());
        if answer {
            self.unanswered.truncate(UNANSWERED_MAX - 1);
            self.unanswered.push_front((self.beats, now));
        }
        out.send.push(FromAgent::Beat { number: self.beats, digest, answer });
    }

    /// A beat was heard: when it was sent, the controller was in contact with every member here.
    pub(super) fn answered(&mut self, number: u64) {
        let sent = self.unanswered.iter().find(|(beat, _)| *beat == number);
        let Some(&(_, sent)) = sent else { return };
        self.unanswered.retain(|(beat, _)| *beat > number);
        for member in self.members.values_mut() {
            member.seen.part.in_contact(sent);
        }
    }

    pub(super) fn judge_host(&mut self, readings: &[(String, Reading)], out: &mut Output) {
        let judge = |(name, reading): &(String, Reading)| {
            let check = self.config.host_checks.iter().find(|c| c.name() == name)?;
            check.judge(reading, &self.config.policy.checks)
        };
        let checks: Vec<CheckResult> = readings.iter().filter_map(judge).collect();
        if self.config.hello.checks != checks || !self.host_told {
            self.config.hello.checks = checks;
            self.host_told = self.open;
            self.tell_host(out);
        }
    }

    pub(super) fn tell_host(&self, out: &mut Output) {
        if self.open {
            let hello = &self.config.hello;
            let (checks, image) = (hello.checks.clone(), hello.image.clone());
            let version = hello.version.clone();
            out.send.push(FromAgent::Host { checks, image, version });
        }
    }
}
