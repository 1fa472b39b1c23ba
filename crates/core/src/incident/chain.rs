//! The chain: who is told next about one incident, until a person says that they know.
//!
//! The story: the first channel is told. If it fails, or says nothing within the patience, the next one is
//! told at once; if it confirms and no person acknowledges within its time, the next one too. After the last
//! comes a pause, then the first again. While every channel fails the pause is doubled, up to an hour.
//!
//! Knows nothing of the incident itself: acknowledging or resolving it ends the chain by asking no more.

use serde::{Deserialize, Serialize};

use super::Rules;
use crate::label::Label;
use crate::time::{Span, Time};

/// One channel of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The channel's name.
    pub channel: Label,
    /// A person has so long to acknowledge what it confirmed; then the next channel is told too.
    pub ack_within: Span,
}

/// How far the chain is for one incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The step at hand.
    pub step: u8,
    /// How often it went through every channel.
    #[serde(default)]
    pub rounds: u32,
    /// Whether any channel confirmed in this round.
    #[serde(default)]
    pub reached: bool,
    /// Rounds in a row in which none did.
    #[serde(default)]
    pub missed: u8,
    /// Where the step is.
    pub at: At,
    /// Channels that were told, in order: they are told of the end too.
    #[serde(default)]
    pub told: Vec<Label>,
}

/// Where a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// The channel is to be told now.
    #[default]
    Due,
    /// It was told and has not answered.
    InFlight {
        /// Which delivery.
        number: u64,
        /// When it has failed.
        until: Time,
    },
    /// It confirmed: a person has until then.
    Confirmed {
        /// When the next one is told.
        until: Time,
    },
    /// All were told; it begins again then.
    Pause {
        /// When.
        until: Time,
    },
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Tell this channel, then say so by [`Progress::sent`].
    Tell(Label),
    /// Nothing before this.
    Wait(Time),
    /// There is no channel.
    Nobody,
}

impl Progress {
    /// What is to be done now. Moves on past what has run out.
    pub fn next(&mut self, chain: &[Step], rules: &Rules, now: Time) -> Move {
        loop {
            match self.at {
                At::InFlight { until, .. } | At::Confirmed { until } | At::Pause { until }
                    if now < until =>
                {
                    return Move::Wait(until);
                }
                At::InFlight { .. } | At::Confirmed { .. } => self.skip(chain, rules, now),
                At::Pause { .. } => (self.step, self.at) = (0, At::Due),
                At::Due => {
                    // A chain may have become shorter.
                    let known = usize::from(self.step) < chain.len();
                    self.step = if known { self.step } else { 0 };
                    let step = chain.get(usize::from(self.step));
                    return step.map_or(Move::Nobody, |step| Move::Tell(step.channel));
                }
            }
        }
    }

    /// The channel was told, by this delivery.
    pub fn sent(&mut self, number: u64, rules: &Rules, now: Time) {
        self.at = At::InFlight { number, until: now + rules.patience };
    }

    /// A delivery's outcome; false if it is not the one that is waited for.
    pub fn answered(
        &mut self,
        number: u64,
        confirmed: bool,
        chain: &[Step],
        rules: &Rules,
        now: Time,
    ) -> bool {
        if !matches!(self.at, At::InFlight { number: waited, .. } if waited == number) {
            return false;
        }
        let step = chain.get(usize::from(self.step));
        match step.filter(|_| confirmed) {
            Some(step) => {
                self.at = At::Confirmed { until: now + step.ack_within };
                (self.reached, self.missed) = (true, 0);
            }
            None => self.skip(chain, rules, now),
        }
        true
    }

    /// Notes that a channel knows of it.
    pub fn knows(&mut self, channel: Label) {
        if !self.told.contains(&channel) {
            self.told.push(channel);
        }
    }

    /// The next channel, or the pause after the last.
    fn skip(&mut self, chain: &[Step], rules: &Rules, now: Time) {
        if usize::from(self.step) + 1 < chain.len() {
            (self.step, self.at) = (self.step + 1, At::Due);
            return;
        }
        self.missed = if self.reached { 0 } else { self.missed.saturating_add(1) };
        let pause = match self.missed {
            0 => rules.pause,
            missed => rules.pause.times(1 << (missed - 1).min(16)).min(rules.pause_max),
        };
        (self.rounds, self.reached) = (self.rounds.saturating_add(1), false);
        self.at = At::Pause { until: now + pause };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules::DEFAULT;

    fn chain() -> Vec<Step> {
        let step = |name, minutes| Step {
            channel: Label::new(name).unwrap(),
            ack_within: Span::mins(minutes),
        };
        vec![step("first", 5), step("second", 10)]
    }

    /// Tells whoever is next; who it was, or until when nobody is.
    fn tell(progress: &mut Progress, number: u64, now: Time) -> Result<String, Time> {
        match progress.next(&chain(), &RULES, now) {
            Move::Tell(channel) => {
                progress.sent(number, &RULES, now);
                Ok(channel.to_string())
            }
            Move::Wait(until) => Err(until),
            Move::Nobody => Ok("nobody".to_owned()),
        }
    }

    #[test]
    fn a_channel_that_fails_is_followed_by_the_next_at_once() {
        let mut progress = Progress::default();
        let now = Time(0);
        assert_eq!(tell(&mut progress, 1, now), Ok("first".to_owned()));
        assert!(!progress.answered(9, true, &chain(), &RULES, now), "another delivery's answer");
        assert!(progress.answered(1, false, &chain(), &RULES, now));
        assert_eq!(tell(&mut progress, 2, now), Ok("second".to_owned()));
    }

    #[test]
    fn silence_is_a_failure_after_the_patience() {
        let mut progress = Progress::default();
        assert_eq!(tell(&mut progress, 1, Time(0)), Ok("first".to_owned()));
        let until = Time(0) + RULES.patience;
        assert_eq!(tell(&mut progress, 2, Time(until.0 - 1)), Err(until));
        assert_eq!(tell(&mut progress, 2, until), Ok("second".to_owned()));
        assert!(!progress.answered(1, true, &chain(), &RULES, until), "too late to count");
    }

    #[test]
    fn a_person_who_says_nothing_has_the_next_channel_told_and_then_the_first_again() {
        let mut progress = Progress::default();
        let mut now = Time(0);
        assert_eq!(tell(&mut progress, 1, now), Ok("first".to_owned()));
        progress.answered(1, true, &chain(), &RULES, now);
        assert_eq!(tell(&mut progress, 2, now), Err(now + Span::mins(5)));
        now = now + Span::mins(5);
        assert_eq!(tell(&mut progress, 2, now), Ok("second".to_owned()));
        progress.answered(2, true, &chain(), &RULES, now);
        now = now + Span::mins(10);
        assert_eq!(tell(&mut progress, 3, now), Err(now + RULES.pause));
        assert_eq!((progress.rounds, progress.missed), (1, 0));
        assert_eq!(tell(&mut progress, 3, now + RULES.pause), Ok("first".to_owned()));
    }

    #[test]
    fn while_all_fail_it_is_tried_ever_more_seldom_and_never_given_up() {
        let (mut progress, mut now, mut number) = (Progress::default(), Time(0), 0);
        let mut pauses = Vec::new();
        while pauses.len() < 6 {
            number += 1;
            match tell(&mut progress, number, now) {
                Ok(_) => assert!(progress.answered(number, false, &chain(), &RULES, now)),
                Err(until) => {
                    pauses.push(until.since(now).0 / 60_000);
                    now = until;
                }
            }
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_chain_that_became_shorter_begins_again() {
        let mut progress = Progress { step: 7, ..Progress::default() };
        assert_eq!(tell(&mut progress, 1, Time(0)), Ok("first".to_owned()));
        let nobody = Progress::default().next(&[], &RULES, Time(0));
        assert_eq!(nobody, Move::Nobody);
    }
}
