//! Copies of a service's data, sets of them that acknowledge, and positions in a log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, MemberId};

/// One data directory: a member, and which of its directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Copy {
    /// The member.
    pub member: MemberId,
    /// Its directory.
    pub incarnation: Incarnation,
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.member, self.incarnation)
    }
}

/// A position in a server's log, in bytes, written as PostgreSQL writes it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no position in a log; write one like 0/3000148")]
pub struct BadPosition {
    /// The text.
    pub text: String,
}

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let half = |text: &str| match text.len() {
            1..=8 if !text.starts_with('+') => u64::from_str_radix(text, 16).ok(),
            _ => None,
        };
        let halves =
            text.trim().split_once('/').and_then(|(high, low)| Some((half(high)?, half(low)?)));
        let bad = || BadPosition { text: text.to_owned() };
        halves.map(|(high, low)| Self((high << 32) | low)).ok_or_else(bad)
    }
}

/// Standbys, and how many of them must have a commit before it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Set {
    /// In order, each once.
    standbys: Box<[Copy]>,
    acks: u8,
}

/// A set as it is written.
#[derive(Clone, Serialize, Deserialize)]
struct Raw {
    standbys: Vec<Copy>,
    acks: u8,
}

/// More acknowledgements than standbys: no commit would ever be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{acks} acknowledgements are wanted of {standbys} standbys")]
pub struct BadSet {
    /// Wanted.
    pub acks: u8,
    /// There.
    pub standbys: usize,
}

impl Set {
    /// Nobody: the primary acknowledges alone.
    #[must_use]
    pub fn nobody() -> Self {
        Self { standbys: Box::default(), acks: 0 }
    }

    /// `acks` of these.
    ///
    /// # Errors
    /// [`BadSet`] when there are fewer.
    pub fn any(acks: u8, standbys: &[Copy]) -> Result<Self, BadSet> {
        let mut standbys = standbys.to_vec();
        standbys.sort_unstable();
        standbys.dedup();
        if usize::from(acks) > standbys.len() {
            return Err(BadSet { acks, standbys: standbys.len() });
        }
        Ok(Self { standbys: standbys.into(), acks })
    }

    /// The standbys, in order.
    #[must_use]
    pub fn standbys(&self) -> &[Copy] {
        &self.standbys
    }

    /// How many of them must have a commit.
    #[must_use]
    pub const fn acks(&self) -> u8 {
        self.acks
    }

    /// Whether a copy is one of them.
    #[must_use]
    pub fn names(&self, copy: Copy) -> bool {
        self.standbys.binary_search(&copy).is_ok()
    }
}

impl TryFrom<Raw> for Set {
    type Error = BadSet;
    fn try_from(raw: Raw) -> Result<Self, BadSet> {
        Self::any(raw.acks, &raw.standbys)
    }
}

impl From<Set> for Raw {
    fn from(set: Set) -> Self {
        Self { standbys: set.standbys.into(), acks: set.acks }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.acks == 0 {
            return f.write_str("nobody");
        }
        let names: Vec<String> = self.standbys.iter().map(ToString::to_string).collect();
        write!(f, "any {} of {}", self.acks, names.join(", "))
    }
}
