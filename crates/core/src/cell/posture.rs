//! The posture: what bounds automation now, and why.
//!
//! Every decision asks for it, and few ask why: [`Cell::stance`] goes through no more than the hosts that are
//! unsure, and words are found by [`Cell::posture`] alone.

use std::collections::BTreeSet;

use super::Cell;
use super::state::State;
use crate::host;
use crate::time::Time;

// Names, as guards and remedies have them.
const NORMAL: &str = "normal";
const OBSERVER_SUSPECT: &str = "observer_suspect";
const RECOVERING: &str = "recovering";
const SUCCEEDED: &str = "succeeded";
const STORAGE_DOWN: &str = "storage_down";
const PAGER_DOWN: &str = "pager_down";

/// How far automation may go, fleet-wide (DESIGN 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posture {
    /// As usual.
    Normal,
    /// What is seen may be this controller's own trouble.
    ObserverSuspect {
        /// Why.
        why: String,
    },
    /// Hosts are still to show what they keep: nothing is sent, decided or ordered.
    Recovering {
        /// What it waits for.
        why: String,
    },
    /// Hosts of this store obey another one: it commands nobody any more.
    Succeeded {
        /// Which store.
        by: String,
    },
    /// Archives take nothing: no backup is begun, nothing is let go, services serve.
    StorageDown {
        /// Why.
        why: String,
    },
    /// No alert channel confirms anything: people cannot be told, and are tried again and again.
    PagerDown {
        /// Why.
        why: String,
    },
}

impl Posture {
    /// Every name that one has.
    pub const NAMES: [&str; 6] =
        [NORMAL, OBSERVER_SUSPECT, RECOVERING, SUCCEEDED, STORAGE_DOWN, PAGER_DOWN];

    /// Its name, as guards and remedies have it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Normal => NORMAL,
            Self::ObserverSuspect { .. } => OBSERVER_SUSPECT,
            Self::Recovering { .. } => RECOVERING,
            Self::Succeeded { .. } => SUCCEEDED,
            Self::StorageDown { .. } => STORAGE_DOWN,
            Self::PagerDown { .. } => PAGER_DOWN,
        }
    }
}

impl std::fmt::Display for Posture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::ObserverSuspect { why } => write!(f, "observer-suspect: {why}"),
            Self::Recovering { why } => write!(f, "recovering: {why}"),
            Self::Succeeded { by } => write!(f, "succeeded: hosts obey store {by} now"),
            Self::StorageDown { why } => write!(f, "storage-down: {why}"),
            Self::PagerDown { why } => write!(f, "pager-down: {why}"),
        }
    }
}

/// The posture without words, and what its words need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stance {
    /// As usual.
    Normal,
    /// Hosts obey another store.
    Succeeded,
    /// Hosts are still to show what they keep.
    Recovering,
    /// The store was put back to an older state.
    PutBack,
    /// Hosts are still to dial in.
    Dialling {
        /// How many.
        unheard: usize,
    },
    /// More hosts fell silent than one failure domain explains.
    Silent {
        /// In how many zones.
        zones: usize,
    },
    /// Archives take nothing.
    StorageDown,
    /// No alert channel confirms anything.
    PagerDown,
}

impl Stance {
    /// The posture's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => NORMAL,
            Self::PutBack | Self::Dialling { .. } | Self::Silent { .. } => OBSERVER_SUSPECT,
            Self::Recovering => RECOVERING,
            Self::Succeeded => SUCCEEDED,
            Self::StorageDown => STORAGE_DOWN,
            Self::PagerDown => PAGER_DOWN,
        }
    }
}

impl Cell {
    /// What bounds automation now.
    #[must_use]
    pub fn posture(&self, now: Time) -> Posture {
        let state = &self.state;
        match self.stance(now) {
            Stance::Normal => Posture::Normal,
            Stance::Succeeded => {
                let store = state.recovery.left_for.as_ref();
                Posture::Succeeded { by: store.map_or_else(String::new, |store| store.0.clone()) }
            }
            Stance::Recovering => Posture::Recovering { why: self.awaits().unwrap_or_default() },
            Stance::PutBack => {
                let why = "the store was put back to an older state".to_owned();
                Posture::ObserverSuspect { why }
            }
            Stance::Dialling { unheard } => {
                let began = now.since(state.began);
                let why = format!(
                    "this controller began {began} ago and waits for {unheard} hosts to dial in"
                );
                Posture::ObserverSuspect { why }
            }
            Stance::Silent { zones } => {
                let (silent, hosts) = (state.unsure.len(), state.hosts.len());
                let why = format!(
                    "{silent} of {hosts} hosts in {zones} zones fell silent: no one failure domain \
                     explains that"
                );
                Posture::ObserverSuspect { why }
            }
            Stance::StorageDown => {
                let (behind, all) = (state.behind.len(), state.archiving);
                let why = format!("the log of {behind} of {all} services waits for its archive");
                Posture::StorageDown { why }
            }
            Stance::PagerDown => Posture::PagerDown { why: self.pager_down().unwrap_or_default() },
        }
    }

    /// The same without words: it is asked with every decision.
    pub(super) fn stance(&self, now: Time) -> Stance {
        let State { hosts, unsure, .. } = &self.state;
        if self.state.recovery.left_for.is_some() {
            return Stance::Succeeded;
        }
        if self.recovers() {
            return Stance::Recovering;
        }
        if self.state.restored {
            return Stance::PutBack;
        }
        if !unsure.is_empty() {
            let unsure = || unsure.iter().filter_map(|id| hosts.get(id));
            let unheard = unsure().filter(|h| h.state == host::State::Joining).count();
            if unheard > 0 && now < self.awaited_until() {
                return Stance::Dialling { unheard };
            }
            let zones: BTreeSet<&str> = unsure().map(|host| host.row.zone.as_str()).collect();
            if zones.len() >= 2 && unsure().count() * 2 >= hosts.len() {
                return Stance::Silent { zones: zones.len() };
            }
        }
        match self.state.storage_is_down() {
            true => Stance::StorageDown,
            false if self.state.incidents.alerts.down_since.is_some() => Stance::PagerDown,
            false => Stance::Normal,
        }
    }

    /// Whether the posture is that storage is down.
    pub(super) fn has_no_storage(&self, now: Time) -> bool {
        self.state.storage_is_down() && self.stance(now) == Stance::StorageDown
    }
}
