//! When nothing breaks any more, everything is as it is wanted: by what hosts and servers are, and not by what
//! the cell says of them.

use evenkeel_core::driver::Process;
use evenkeel_core::goal::{Role, Want};

use super::host::Member;
use super::seat::Seat;
use crate::report::Invariant;

impl Seat {
    /// Every member does what its newest goal says.
    pub fn hold_to_goals(&mut self) {
        let members = std::mem::take(&mut self.members);
        for member in members.iter().flatten() {
            let reached = self.reached(member).map_err(|what| {
                let goal = &member.stored.applied.goal;
                format!("{} of {} {what}", goal.member, goal.identity.name)
            });
            self.hold(Invariant::GoalsAreReached, reached);
        }
        self.members = members;
    }

    fn reached(&self, member: &Member) -> Result<(), String> {
        let (goal, server) = (&member.stored.applied.goal, &member.server);
        let host = &self.hosts[member.host];
        if !host.on || !host.agent || host.link.is_none() {
            return Err(format!("is on {}, which is not there", host.name));
        }
        let runs = server.runs(self.now);
        if goal.want != Want::Running {
            return match server.process {
                Process::None => Ok(()),
                _ => Err(format!("runs, and {:?} is wanted", goal.want)),
            };
        }
        let streams = server.part.as_deref().is_some_and(|part| part.streaming);
        match &goal.role {
            _ if !runs => Err("does not run".to_owned()),
            Role::Primary { .. } if !server.takes_writes(self.now) => {
                Err("takes no writes".to_owned())
            }
            Role::Standby { .. } if !streams => Err("follows nobody".to_owned()),
            Role::Recruit => Err("waits to be told whom to follow".to_owned()),
            Role::Primary { .. } | Role::Standby { .. } => Ok(()),
        }
    }
}
