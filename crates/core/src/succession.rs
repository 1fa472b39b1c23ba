//! One control plane after another: whom a host obeys, and how it is moved to a successor.
//!
//! The story: a host obeys the store that welcomed it first, and no other. With the welcome it is given
//! a seal of its own, derived from the fleet's key. When that store is burnt, another is made that names
//! those it succeeds; it shows each host a proof that only a holder of the fleet's key can make. Then the
//! host shows what it keeps, and moves.
//!
//! Invariants:
//! - a host moves to a store once, and never back to one that it left, whatever is proven;
//! - a proof is for one host, one successor and the stores it names: shown to another it is worth nothing;
//! - nothing of what a host keeps is shown to whoever proves nothing.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::goal::{Password, StoreId};
use crate::id::HostId;

/// Whom a host obeys. Kept on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept")]
pub struct Allegiance {
    /// The store obeyed.
    pub store: StoreId,
    /// The highest sequence seen of it.
    pub sequence: u64,
    /// The host's id there.
    pub host: Option<HostId>,
    /// What a successor's proof is held against; `None`: this host can be moved to no successor.
    pub seal: Option<Password>,
    /// Stores that were obeyed before.
    pub past: Vec<StoreId>,
}

/// As it is, and as it was written before there were successors.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    First(StoreId, u64),
    Whole {
        store: StoreId,
        sequence: u64,
        host: Option<HostId>,
        seal: Option<Password>,
        past: Vec<StoreId>,
    },
}

impl From<Kept> for Allegiance {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::First(store, sequence) => (store, sequence).into(),
            Kept::Whole { store, sequence, host, seal, past } => {
                Self { store, sequence, host, seal, past }
            }
        }
    }
}

impl From<(StoreId, u64)> for Allegiance {
    fn from((store, sequence): (StoreId, u64)) -> Self {
        Self { store, sequence, host: None, seal: None, past: Vec::new() }
    }
}

/// A store's word that it comes after others, with its proof for one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Succession {
    /// The stores that it comes after.
    pub succeeds: Vec<StoreId>,
    /// Made with the host's seal.
    pub proof: Digest,
}

/// Why a host does not take a store for the one to obey.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was obeyed before.
    #[error(
        "it keeps store {}, which this host left for {}: it was succeeded and commands nobody any more",
        store.0, mine.0
    )]
    Left {
        /// The controller's.
        store: StoreId,
        /// The one obeyed.
        mine: StoreId,
    },
    /// It is another's, and says nothing of this host's.
    #[error(
        "it keeps another store ({}) than the one this host belongs to ({})",
        store.0, mine.0
    )]
    Another {
        /// The controller's.
        store: StoreId,
        /// The one obeyed.
        mine: StoreId,
    },
    /// It is older than what was seen of it.
    #[error("its store is at {sequence}, and this host has seen {seen}: it was put back")]
    PutBack {
        /// The controller's.
        sequence: u64,
        /// The host's.
        seen: u64,
    },
    /// It says that it succeeds this host's store, and does not prove it.
    #[error(
        "it says that it succeeds store {}, and its proof is not made with this fleet's key; recover it \
         with the key that `evenkeel key export` wrote",
        mine.0
    )]
    Unproven {
        /// The one obeyed.
        mine: StoreId,
    },
    /// The host was given no seal.
    #[error(
        "it says that it succeeds store {}, which gave this host nothing to hold a proof against",
        mine.0
    )]
    NoSeal {
        /// The one obeyed.
        mine: StoreId,
    },
}

/// A key in bytes, of whatever text: equal texts, equal keys.
fn key(text: &Password) -> [u8; 32] {
    Digest::of(text.0.as_bytes()).0
}

/// A host's seal, from what the fleet's key gives for all of them.
#[must_use]
pub fn seal_of(fleet: &Password, host: &str) -> Password {
    let seal = blake3::keyed_hash(&key(fleet), format!("seal of host {host}").as_bytes());
    Password(seal.to_hex().to_string())
}

/// Proves to the host with this seal that a store comes after others.
///
/// # Panics
/// Never: names of stores are JSON.
#[must_use]
pub fn prove(seal: &Password, store: &StoreId, succeeds: &[StoreId]) -> Succession {
    let text = serde_json::to_vec(&("succession", store, succeeds));
    let text = text.expect("names of stores are JSON");
    let proof = Digest(*blake3::keyed_hash(&key(seal), &text).as_bytes());
    Succession { succeeds: succeeds.to_vec(), proof }
}

impl Allegiance {
    /// Whether a controller with this store is to be obeyed: the one obeyed so far, no older than seen; or
    /// a successor that proves itself.
    ///
    /// # Errors
    /// [`Refused`] says what is wrong with it.
    pub fn follows(
        &self,
        store: &StoreId,
        sequence: u64,
        succession: Option<&Succession>,
    ) -> Result<(), Refused> {
        if *store == self.store {
            let seen = self.sequence;
            let behind = sequence < seen;
            return if behind { Err(Refused::PutBack { sequence, seen }) } else { Ok(()) };
        }
        self.believes(store, succession)
    }

    /// Whether a store of another name is proven to come after the one obeyed.
    ///
    /// # Errors
    /// [`Refused`] says what is wrong with it.
    pub fn believes(&self, store: &StoreId, after: Option<&Succession>) -> Result<(), Refused> {
        let mine = || self.store.clone();
        if self.past.contains(store) {
            return Err(Refused::Left { store: store.clone(), mine: mine() });
        }
        let after = after.filter(|after| after.succeeds.contains(&self.store));
        let Some(after) = after else {
            return Err(Refused::Another { store: store.clone(), mine: mine() });
        };
        let Some(seal) = &self.seal else { return Err(Refused::NoSeal { mine: mine() }) };
        if *after != prove(seal, store, &after.succeeds) {
            return Err(Refused::Unproven { mine: mine() });
        }
        Ok(())
    }

    /// The store is obeyed from now on. What was obeyed before is never again.
    pub fn take(&mut self, store: &StoreId, sequence: u64, host: HostId, seal: Option<&Password>) {
        if *store != self.store {
            let left = std::mem::replace(&mut self.store, store.clone());
            self.past.push(left);
        }
        (self.sequence, self.host) = (sequence, Some(host));
        if let Some(seal) = seal {
            self.seal = Some(seal.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str) -> StoreId {
        StoreId(name.to_owned())
    }

    fn fleet() -> Password {
        Password("the fleet's".to_owned())
    }

    fn host(name: &str) -> Allegiance {
        let mut host = Allegiance::from((store("a"), 7));
        host.take(&store("a"), 7, HostId(1), Some(&seal_of(&fleet(), name)));
        host
    }

    #[test]
    fn a_successor_is_believed_by_its_proof_alone() {
        let h1 = host("h1");
        let proof = |fleet: &Password, name: &str, new: &str, after: &[&str]| {
            let after: Vec<StoreId> = after.iter().copied().map(store).collect();
            prove(&seal_of(fleet, name), &store(new), &after)
        };
        let sound = proof(&fleet(), "h1", "b", &["a"]);
        assert_eq!(h1.follows(&store("b"), 1, Some(&sound)), Ok(()));
        let other = Password("another fleet's".to_owned());
        for wrong in [proof(&other, "h1", "b", &["a"]), proof(&fleet(), "h2", "b", &["a"])] {
            let refused = h1.follows(&store("b"), 1, Some(&wrong));
            assert_eq!(refused, Err(Refused::Unproven { mine: store("a") }));
        }
        let stolen = Succession { succeeds: vec![store("a"), store("z")], ..sound.clone() };
        assert!(h1.follows(&store("b"), 1, Some(&stolen)).is_err(), "it names others");
        assert!(h1.follows(&store("c"), 1, Some(&sound)).is_err(), "it is another's");
        let of_another = proof(&fleet(), "h1", "b", &["z"]);
        let refused = h1.follows(&store("b"), 1, Some(&of_another));
        assert!(matches!(refused, Err(Refused::Another { .. })), "{refused:?}");
        let mut unsealed = h1.clone();
        unsealed.seal = None;
        let refused = unsealed.follows(&store("b"), 1, Some(&sound));
        assert_eq!(refused, Err(Refused::NoSeal { mine: store("a") }));
    }

    #[test]
    fn nobody_goes_back_whatever_is_proven() {
        let mut h1 = host("h1");
        let seal = seal_of(&fleet(), "h1");
        h1.take(&store("b"), 3, HostId(4), Some(&seal));
        assert_eq!((h1.past.clone(), h1.host), (vec![store("a")], Some(HostId(4))));
        let back = prove(&seal, &store("a"), &[store("b")]);
        let refused = h1.follows(&store("a"), 99, Some(&back));
        assert!(matches!(refused, Err(Refused::Left { .. })), "{refused:?}");
        assert_eq!(h1.follows(&store("b"), 3, None), Ok(()));
        assert!(matches!(h1.follows(&store("b"), 2, None), Err(Refused::PutBack { .. })));
        let next = prove(&seal, &store("c"), &[store("a"), store("b")]);
        assert_eq!(h1.follows(&store("c"), 1, Some(&next)), Ok(()), "a second succession");
    }

    #[test]
    fn what_was_written_before_there_were_successors_is_read() {
        let old: Allegiance = serde_json::from_str(r#"["s",7]"#).unwrap();
        assert_eq!(old, (store("s"), 7).into());
        let text = serde_json::to_string(&host("h1")).unwrap();
        assert_eq!(serde_json::from_str::<Allegiance>(&text).unwrap(), host("h1"));
    }
}
