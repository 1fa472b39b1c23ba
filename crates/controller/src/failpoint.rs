//! A place where tests make the controller die: around a commit, where record and act part.

/// Ends the process as a crash would, at a commit counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortAfter {
    /// The turn is decided and nothing of it is on disk.
    Decided {
        /// Which commit.
        commit: u64,
    },
    /// The turn is on disk and nothing of it was sent.
    Recorded {
        /// Which commit.
        commit: u64,
    },
}

impl AbortAfter {
    pub(crate) fn before(self, commit: u64) {
        if self == (Self::Decided { commit }) {
            std::process::abort();
        }
    }

    pub(crate) fn after(self, commit: u64) {
        if self == (Self::Recorded { commit }) {
            std::process::abort();
        }
    }
}
