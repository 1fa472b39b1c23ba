//! A verb's failure: its exit code and one text.

use std::fmt;

/// Why a verb failed. Each kind has its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything not named below.
    Failed,
    /// Wrong input.
    Usage,
    /// What was named is not there.
    NotFound,
    /// Not possible now.
    Refused,
    /// The controller does not answer.
    Unreachable,
    /// Not reached in time.
    TimedOut,
    /// Something is not as it should be.
    Unwell,
}

/// A failure.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    text: String,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Its exit code.
    pub const fn code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::Refused => 4,
            Kind::Unreachable => 5,
            Kind::TimedOut => 6,
            Kind::Unwell => 7,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An error and everything behind it, joined once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    let mut parts: Vec<String> = all.map(ToString::to_string).collect();
    // Transparent errors say the same as what is behind them.
    parts.dedup();
    parts.join(": ")
}

impl From<evenkeel_api::Error> for Failure {
    fn from(error: evenkeel_api::Error) -> Self {
        use evenkeel_api::Error as E;
        let kind = match &error {
            E::Unreachable { .. } => Kind::Unreachable,
            E::Refused { status: 404, .. } => Kind::NotFound,
            E::Refused { status: 400 | 413 | 422, .. } => Kind::Usage,
            E::Refused { status: 409, .. } => Kind::Refused,
            _ => Kind::Failed,
        };
        Self::new(kind, chain(&error))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Kind::Failed, format!("{error:#}"))
    }
}
