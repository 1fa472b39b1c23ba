//! The one of ten states that people see.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Health, Phase};

/// The state shown for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being placed, initialised, seeded.
    Installing,
    /// Writes succeed.
    Available,
    /// Nobody knows.
    Uncertain,
    /// Confirmed down.
    Unavailable,
    /// Its processes are being restarted.
    Restart,
    /// Moving to another image, version or size.
    Upgrading,
    /// Draining.
    Retiring,
    /// Not serving; disks kept.
    Retired,
    /// Only the verified archive remains.
    Archived,
    /// Nothing remains but the journal.
    Terminated,
}

impl State {
    /// Every state, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Installing,
        Self::Available,
        Self::Uncertain,
        Self::Unavailable,
        Self::Restart,
        Self::Upgrading,
        Self::Retiring,
        Self::Retired,
        Self::Archived,
        Self::Terminated,
    ];

    /// The state's name as the CLI, the API and the pages print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installing => "installing",
            Self::Available => "available",
            Self::Uncertain => "uncertain",
            Self::Unavailable => "unavailable",
            Self::Restart => "restart",
            Self::Upgrading => "upgrading",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Archived => "archived",
            Self::Terminated => "terminated",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state shown for a phase and a health. Total; health is still printed beside it.
#[must_use]
pub const fn shown(phase: Phase, health: Health) -> State {
    match (phase, health) {
        (Phase::Installing, _) => State::Installing,
        (Phase::Serving, Health::Healthy) => State::Available,
        (Phase::Serving, Health::Uncertain) => State::Uncertain,
        (Phase::Serving, Health::Unavailable) => State::Unavailable,
        (Phase::Restarting, _) => State::Restart,
        (Phase::Upgrading, _) => State::Upgrading,
        (Phase::Retiring, _) => State::Retiring,
        (Phase::Retired, _) => State::Retired,
        (Phase::Archived, _) => State::Archived,
        (Phase::Terminated, _) => State::Terminated,
    }
}
