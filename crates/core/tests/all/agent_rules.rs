//! What a controller's policy tells agents, who then go by it alone.

use evenkeel_core::agent::{Action, Brain, Input, Outcome, Stored};
use evenkeel_core::check::{Pace, Thresholds};
use evenkeel_core::driver::{Answer, Directory, Process};
use evenkeel_core::goal::{Goal, StoreId, Want};
use evenkeel_core::id::{HostId, Incarnation, MemberId, ServiceId};
use evenkeel_core::report::ToAgent;
use evenkeel_core::time::{Span, Time};

use crate::agent::{config, goal};

fn welcome(checks: &Thresholds, starts_max: Option<u32>) -> Input {
    Input::Message(ToAgent::Welcome {
        host: HostId(1),
        store: (StoreId("s".into()), 1),
        beat: Span::secs(1),
        checks: Box::new(checks.clone()),
        starts_max,
        seal: None,
        succession: None,
    })
}

fn numbered(number: u32) -> Goal {
    let mut goal = goal(1, Want::Running, 0);
    goal.member = MemberId(number);
    std::sync::Arc::make_mut(&mut goal.identity).service = ServiceId(number);
    goal
}

/// A host of so many members, whose servers run or are to be started.
struct Host {
    brain: Brain,
    now: Time,
    process: Process,
    starts: usize,
    rounds: Vec<Pace>,
}

impl Host {
    fn new(members: u32, process: Process, said: Input) -> Self {
        let stored = (1..=members).map(|n| Stored::first(numbered(n).into())).collect();
        let brain = Brain::new(config(), stored, Vec::new(), None);
        let mut host = Self { brain, now: Time(1_000_000), process, starts: 0, rounds: Vec::new() };
        host.turn(vec![Input::Opened, said]);
        host
    }

    /// Turns until nothing more is called. What is told to start does not answer yet.
    fn turn(&mut self, mut inputs: Vec<Input>) {
        loop {
            let out = self.brain.turn(self.now, &inputs);
            if out.calls.is_empty() {
                return;
            }
            inputs = Vec::new();
            for call in out.calls {
                let incarnation = Incarnation(1);
                let outcome = match &call.action {
                    Action::Look => {
                        Outcome::Looked(Directory::Complete { incarnation }, self.process)
                    }
                    Action::Start => {
                        self.starts += 1;
                        continue;
                    }
                    Action::Probe { write: true } => Outcome::Answered(Answer::Writing),
                    Action::Probe { write: false } => Outcome::Answered(Answer::Accepting),
                    Action::Check(pace) => {
                        self.rounds.push(*pace);
                        Outcome::Read(Vec::new())
                    }
                    _ => Outcome::Done,
                };
                let (member, number) = (call.member, call.number);
                inputs.push(Input::Outcome { member, number, outcome });
            }
        }
    }

    /// Rounds of checks that begin within so long.
    fn rounds_in(&mut self, span: Span) -> usize {
        self.rounds.clear();
        let end = self.now + span;
        while self.now < end {
            self.now = self.now + Span::millis(500);
            self.turn(Vec::new());
        }
        self.rounds.len()
    }

    fn unread(&self) -> Vec<Pace> {
        self.brain.members().next().expect("a member").unread.paces.to_vec()
    }
}

#[test]
fn a_host_starts_as_many_servers_at_once_as_policy_says() {
    let starts = |most| Host::new(40, Process::None, welcome(&Thresholds::default(), most)).starts;
    assert_eq!(starts(Some(1)), 1);
    assert_eq!(starts(Some(1_000)), 40, "all of them");
    let tried = starts(None);
    assert!(tried > 1 && tried < 40, "{tried} at first");
}

#[test]
fn checks_that_policy_turns_off_are_not_run_and_told_to_be_unread() {
    let on = Thresholds::default();
    let off = Thresholds { often_seconds: 0, rarely_seconds: 0, ..on.clone() };
    let slow = Thresholds { often_seconds: 300, rarely_seconds: 0, ..on.clone() };
    let mut host = Host::new(1, Process::Running { pid: 7 }, welcome(&on, None));
    assert_eq!(host.rounds_in(Span::secs(2)), 0);
    assert_eq!(host.unread(), [Pace::Often, Pace::Rarely], "nothing was read yet");
    let minutes = host.rounds_in(Span::mins(20));
    assert!((40..=44).contains(&minutes), "{minutes} rounds, of 40 often and 2 rarely");
    assert_eq!(host.unread(), []);
    host.turn(vec![welcome(&off, None)]);
    assert_eq!(host.unread(), [Pace::Often, Pace::Rarely], "what was read is not so now");
    assert_eq!(host.rounds_in(Span::mins(30)), 0);
    // A controller that says the same again changes nothing.
    host.turn(vec![welcome(&off, None)]);
    assert_eq!(host.rounds_in(Span::mins(30)), 0);
    host.turn(vec![welcome(&slow, None)]);
    let rounds = host.rounds_in(Span::mins(30));
    assert!((5..=7).contains(&rounds), "{rounds} rounds in half an hour");
    assert_eq!(host.unread(), [Pace::Rarely], "which is still off");
}
