//! Identities as types, so that a member can never be passed where a service is meant.
//!
//! All ids are dense sequence numbers drawn by a cell; an id is never used twice.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $raw:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $raw);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl $name {
            /// The value after this one.
            ///
            /// # Panics
            /// When the space of numbers is used up, which no fleet reaches.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("sequence numbers do not run out"))
            }
        }
    };
}

id!(
    /// A service: what a customer owns.
    ServiceId, u32, "s"
);
id!(
    /// A member: one server process of a service. Unique in its cell, also after its end.
    MemberId, u32, "m"
);
id!(
    /// A host: a machine that runs an agent.
    HostId, u32, "h"
);
id!(
    /// A cell: a set of hosts and all services placed on them.
    CellId, u32, "c"
);
id!(
    /// An operation.
    OperationId, u64, "op"
);
id!(
    /// A data directory's counter: new on create, clone and restore, before the first byte is written.
    Incarnation, u32, "i"
);
id!(
    /// Grows with every recruiting of a service. The fence of the data path.
    Term, u32, "t"
);
id!(
    /// Goal changes within one term, from 0.
    Revision, u32, "r"
);
