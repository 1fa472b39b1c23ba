//! Holes: log that was given up, because its disk was about to be full and no repository took it.
//!
//! The story: a person decides it, by name and with a reason. Every member gives up what it keeps; a new
//! backup begins at once, whatever the posture. Until it is complete, what was written since can be
//! restored from nowhere but the disks; afterwards a hole is left, and a restore into it is refused.
//!
//! Invariant: nothing but an order makes a hole, and no restore ends before one as if its log ended there.

use super::super::Cell;
use super::super::state::Service;
use super::super::turn::Work;
use super::Next;
use super::rows::{Archive, Hole};
use crate::backup::job::{Backup, What};
use crate::backup::lineage::Target;
use crate::check::Severity;
use crate::id::{HostId, MemberId};
use crate::moment::Moment;
use crate::order::{Accepted, Error};
use crate::service::{Phase, shown};
use crate::time::{Span, Time};

impl Cell {
    /// Takes the order to give up log. Whatever job runs gives way: it waits for the same repositories.
    pub(in crate::cell) fn order_give_up(
        &mut self,
        by: &str,
        name: &str,
        reason: &str,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let service = self.state.named(name);
        let service = service.ok_or_else(|| Error::NoSuchService { name: name.to_owned() })?;
        let (id, row) = (service.row.id, &service.row);
        if reason.trim().is_empty() {
            return Err(Error::NoReason);
        }
        if row.phase != Phase::Serving {
            let state = shown(row.phase, row.health);
            let (order, name) = ("giving up log".to_owned(), name.to_owned());
            return Err(Error::NotNow { order, name, state });
        }
        let none = || Error::NoArchive { name: name.to_owned() };
        let archive = row.archive.as_deref().filter(|_| self.archives(service));
        let archive = archive.ok_or_else(none)?;
        let since = self.restorable_to(service, archive, work.now);
        let since = since.unwrap_or_else(|| Moment::of_millis(row.since.0));
        let members = row.members.iter().map(|member| member.id).collect();
        let service = self.state.services.get_mut(&id);
        if let Some(archive) = service.and_then(|service| service.row.archive.as_mut()) {
            (archive.give_up, archive.job, archive.failed) = (members, None, None);
            let (by, reason) = (by.to_owned(), reason.trim().to_owned());
            archive.holes.push(Hole { since, until: None, by, reason });
        }
        self.state.working.remove(&id);
        work.record(id);
        self.settle(id, work);
        work.services.insert(id);
        let text = format!(
            "{name} gives up its log since {since} ({reason}); a new backup begins at once, and until \
             it is complete what was written since then is on its disks only",
            reason = reason.trim()
        );
        Ok(Accepted { service: Some(id), operation: None, job: None, text })
    }

    /// Who gives up its log next, of those that can be asked: nobody waits for a host that is away.
    pub(super) fn giver(&self, service: &Service) -> Option<(MemberId, HostId)> {
        let wanted = &service.row.archive.as_ref()?.give_up;
        let speaks = |host: &HostId| self.state.hosts.get(host).is_some_and(|host| host.speaks());
        let mut members = service.row.members.iter();
        let able = members.find(|member| wanted.contains(&member.id) && speaks(&member.host))?;
        Some((able.id, able.host))
    }

    /// Those who are gone have nothing to give up.
    pub(super) fn forget_givers(service: &mut Service) -> bool {
        let members: Vec<MemberId> = service.row.members.iter().map(|member| member.id).collect();
        let Some(archive) = service.row.archive.as_mut() else { return false };
        let before = archive.give_up.len();
        archive.give_up.retain(|member| members.contains(member));
        archive.give_up.len() != before
    }
}

impl Archive {
    /// The job that giving up log takes now, if any.
    pub(super) fn giving_up(&self, now: Time) -> Option<Next> {
        let again = self.again().filter(|again| now < *again);
        (!self.give_up.is_empty()).then(|| again.map_or(Next::Do(What::GiveUp), Next::Wait))
    }

    /// Whether there is a hole that no backup has ended yet.
    pub(super) fn is_open(&self) -> bool {
        self.holes.last().is_some_and(|hole| hole.until.is_none())
    }

    /// A backup is complete: log is archived again from here on. Whoever was away until now gives up
    /// nothing any more.
    pub(super) fn close(&mut self, backup: &Backup) {
        self.give_up.clear();
        let open = self.holes.iter_mut().filter(|hole| hole.until.is_none());
        open.for_each(|hole| hole.until = Some(backup.ended));
    }

    /// A hole is forgotten with the backups before it.
    pub(super) fn forget_holes(&mut self) {
        let first = self.backups.first().map(|backup| backup.ended);
        let gone = |hole: &Hole| hole.until.is_some_and(|until| first >= Some(until));
        self.holes.retain(|hole| !gone(hole));
    }

    /// Why a target is out of reach though there are backups from before and after. A position or a
    /// point that lies in a hole is not found by its restore, which says so.
    pub(super) fn hole(&self, target: &Target) -> Option<String> {
        let within = |hole: &&Hole| match target {
            Target::Latest => hole.until.is_none(),
            Target::Moment(at) => *at > hole.since && hole.until.is_none_or(|until| *at < until),
            Target::Position(_) | Target::Point(_) => false,
        };
        let Hole { since, until, by, reason } = self.holes.iter().find(within)?;
        let until = until.map_or("its next backup".to_owned(), |until| until.to_string());
        Some(format!("its log from {since} to {until} was given up by {by} ({reason})"))
    }

    /// What is found wanting about holes.
    pub(super) fn hole_found(&self, now: Moment) -> Option<(&'static str, Severity, String, Span)> {
        let Hole { since, until, by, reason } = self.holes.last()?;
        let (severity, text) = match until {
            None => (Severity::Critical, "and there is no backup since".to_owned()),
            Some(until) => (Severity::Warning, format!("to {until}")),
        };
        let text = format!("its log from {since} was given up by {by} ({reason}), {text}");
        Some(("archive-hole", severity, text, now.since(*since)))
    }
}
