//! News of processes' deaths, from the kernel at once. A zombie is dead.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use evenkeel_core::agent::Outcome;
use evenkeel_core::driver::Process;
use evenkeel_core::id::MemberId;
use evenkeel_drivers::process::pidfd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::shell::Event;

/// Before a process that ended is told of again: one that a driver still sees is no hot loop.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits until a process is gone.
///
/// # Errors
/// When it cannot be watched; a process that is gone already is no error.
pub(crate) async fn gone(pid: u32) -> io::Result<()> {
    let descriptor = match pidfd(pid) {
        Ok(descriptor) => descriptor,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor is what it needs")]
    let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
    descriptor.readable().await.map(|_ready| ())
}

/// The processes that are watched, at most one a member.
pub(crate) struct Watch {
    watched: BTreeMap<MemberId, (u32, AbortHandle)>,
    ended: BTreeMap<MemberId, u32>,
    events: mpsc::Sender<Event>,
}

impl Watch {
    /// Nothing is watched yet.
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self { watched: BTreeMap::new(), ended: BTreeMap::new(), events }
    }

    /// Learns from a driver call's outcome whom to watch.
    pub fn learn(&mut self, member: MemberId, outcome: &Outcome) {
        match outcome {
            Outcome::Started(pid)
            | Outcome::Looked(_, Process::Running { pid } | Process::Frozen { pid }) => {
                self.begin(member, *pid);
            }
            Outcome::Looked(_, Process::None | Process::Leftovers { .. }) => self.end(member),
            _ => {}
        }
    }

    /// Whether this death is of the process that is watched; it is not watched any more then.
    pub fn died(&mut self, member: MemberId, pid: u32) -> bool {
        let died = self.watched.get(&member).is_some_and(|(watched, _)| *watched == pid);
        if died {
            self.watched.remove(&member);
            self.ended.insert(member, pid);
        }
        died
    }

    /// Nobody of this member is watched any more.
    pub fn end(&mut self, member: MemberId) {
        self.ended.remove(&member);
        if let Some((_, task)) = self.watched.remove(&member) {
            task.abort();
        }
    }

    fn begin(&mut self, member: MemberId, pid: u32) {
        if self.watched.get(&member).is_some_and(|(watched, _)| *watched == pid) {
            return;
        }
        let again = self.ended.get(&member) == Some(&pid);
        self.end(member);
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            if again {
                tokio::time::sleep(AGAIN).await;
            }
            match gone(pid).await {
                // The shell has gone if it takes no event any more.
                Ok(()) => drop(events.send(Event::Died { member, pid }).await),
                Err(error) => {
                    tracing::warn!(%member, pid, %error, "its death will be noticed late");
                }
            }
        });
        self.watched.insert(member, (pid, task.abort_handle()));
    }
}
