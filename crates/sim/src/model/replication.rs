//! Replication as far as it can be told from outside: who follows whom, what a commit waits for, when
//! a set that was written is in force.

use std::collections::BTreeSet;

use evenkeel_core::driver::{Process, Receiver, Replication, Sender};
use evenkeel_core::goal::Role;
use evenkeel_core::id::{MemberId, Term};
use evenkeel_core::promise::{Copy, Set};
use evenkeel_core::time::{Span, Time};

use super::{Log, Machine, Server};

/// A set that is no longer written is still gone by for so long, by some process of the server.
const LINGERS: Span = Span::millis(150);

impl Server {
    /// Whether it answers.
    pub(super) fn runs(&self, now: Time) -> bool {
        matches!(self.process, Process::Running { .. }) && now >= self.ready
    }

    /// Its process ends: what it only knew is gone.
    pub(super) fn end(&mut self) {
        self.streaming = false;
        self.followers.clear();
    }

    /// It runs with the settings of another part from now on.
    pub(super) fn take_part(&mut self, role: &Role, now: Time) {
        self.sets.retain(|(_, until)| *until > now);
        if let Role::Primary { set, .. } = role {
            let newest = self.sets.last().map(|(set, _)| set);
            if newest != Some(set) {
                for (_, until) in &mut self.sets {
                    *until = (*until).min(now + LINGERS);
                }
                self.sets.push((set.clone(), Time(u64::MAX)));
            }
        }
        if !matches!((&self.role, role), (Role::Standby { upstream: a }, Role::Standby { upstream: b })
            if a.copy == b.copy)
        {
            self.streaming = false;
        }
        self.role = role.clone();
    }

    /// How many of a set have so much of the log.
    fn have(&self, set: &Set, length: usize) -> usize {
        let has = |copy: &&Copy| self.followers.get(copy).is_some_and(|flushed| *flushed >= length);
        set.standbys().iter().filter(has).count()
    }

    /// Whether a commit at this place of the log is acknowledged now: any set that may be in force
    /// will do.
    pub(super) fn acknowledges(&self, length: usize, now: Time) -> bool {
        let enough = |set: &Set| self.have(set, length) >= usize::from(set.acks());
        let mut sets = self.sets.iter().filter(|(_, until)| *until > now);
        sets.any(|(set, _)| enough(set))
    }

    /// Whether the newest set alone is in force, and has what was written so far.
    pub(super) fn in_force(&self, set: &Set, now: Time) -> bool {
        let mut sets = self.sets.iter().filter(|(_, until)| *until > now);
        let alone = sets.next().is_some_and(|(s, _)| s == set) && sets.next().is_none();
        alone && self.have(set, self.log.len()) >= usize::from(set.acks())
    }

    /// Whether clients may be let in.
    pub(super) fn may_open(&self, set: &Set) -> bool {
        self.have(set, self.began) >= usize::from(set.acks())
    }

    /// It takes writes from now on.
    pub(super) fn promote(&mut self, set: &Set, term: Term) {
        let begins = self.standby;
        if begins {
            self.open = set.acks() == 0;
            (self.standby, self.streaming) = (false, false);
            self.began = self.log.len();
        }
        if self.log.history() < term {
            self.log.promote(term, begins);
        }
    }

    /// What it says of itself.
    pub(super) fn replication(&self, now: Time) -> Replication {
        let sender = |(copy, flushed): (&Copy, &usize)| Sender {
            copy: *copy,
            streaming: true,
            lag_bytes: 100 * (self.log.len().saturating_sub(*flushed)) as u64,
            // Who does not reply any more is forgotten at once.
            replied: now.0,
        };
        Replication {
            recovering: self.standby,
            history: self.log.history(),
            receiver: match &self.role {
                _ if self.streaming => Receiver::Streaming,
                Role::Standby { .. } => Receiver::Connecting,
                Role::Primary { .. } | Role::Recruit => Receiver::None,
            },
            replayed: true,
            flushed: self.log.end(),
            senders: self.followers.iter().map(sender).collect(),
        }
    }
}

/// A standby that asks its upstream for more.
#[derive(Clone, Debug)]
pub struct Asking {
    /// Who.
    pub copy: Copy,
    /// On which member's server.
    pub member: MemberId,
    /// Whom it asks.
    pub of: Copy,
    /// At which port.
    pub port: u16,
}

impl Machine {
    /// Every standby here that runs and should follow.
    pub fn asking(&self, now: Time) -> Vec<Asking> {
        let asks = |(member, server): (&MemberId, &Server)| match &server.role {
            Role::Standby { upstream } if server.standby && server.runs(now) => Some(Asking {
                copy: server.copy?,
                member: *member,
                of: upstream.copy,
                port: upstream.port,
            }),
            _ => None,
        };
        self.servers.iter().filter_map(asks).collect()
    }

    /// The log that a copy may have from here, if this is its upstream and serves.
    pub fn serves(&self, asking: &Asking, now: Time) -> Option<&Log> {
        let server = self.servers.get(&asking.of.member)?;
        let Role::Primary { followers, .. } = &server.role else { return None };
        let known = followers.iter().any(|follower| follower.copy == asking.copy);
        let right = server.copy == Some(asking.of) && server.port == asking.port;
        (known && right && !server.standby && server.runs(now)).then_some(&server.log)
    }

    /// A standby takes what its upstream has more; how much it has then. `None`: their logs parted, or
    /// nobody answered.
    pub fn stream(&mut self, member: MemberId, more: Option<&[u64]>) -> Option<usize> {
        let server = self.servers.get_mut(&member)?;
        server.streaming = more.is_some();
        server.log.extend(more?);
        Some(server.log.len())
    }

    /// A cache's standby whose contents are not the beginning of its upstream's throws them away, and has all of
    /// that.
    pub fn copy_all(&mut self, member: MemberId, log: Log) {
        if let Some(server) = self.servers.get_mut(&member) {
            server.log = log;
        }
    }

    /// A primary hears how much a follower has, or that it is gone.
    pub fn heard(&mut self, primary: MemberId, follower: Copy, flushed: Option<usize>) {
        let Some(server) = self.servers.get_mut(&primary) else { return };
        match flushed {
            Some(flushed) => drop(server.followers.insert(follower, flushed)),
            None => drop(server.followers.remove(&follower)),
        }
    }

    /// Followers of primaries here that are not among these are gone.
    pub fn keep_followers(&mut self, asking: &BTreeSet<(MemberId, Copy)>) {
        for (member, server) in &mut self.servers {
            server.followers.retain(|copy, _| asking.contains(&(*member, *copy)));
        }
    }

    /// Whether a row at this place of a server's log is acknowledged now, and the term of its history.
    pub fn acknowledged(&self, member: MemberId, length: usize, now: Time) -> Option<Term> {
        let server = self.servers.get(&member).filter(|s| s.runs(now) && !s.standby)?;
        server.acknowledges(length, now).then(|| server.log.history())
    }
}
