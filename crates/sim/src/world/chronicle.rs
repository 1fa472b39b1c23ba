//! What happens, in words, for transcripts. Nothing is kept where nobody wants to read it.

use evenkeel_core::journal::Entry;

use super::World;

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// What happened in the world, or was done to it.
    World(String),
    /// What the controller recorded.
    Journal(Entry),
    /// What whoever ordered something was answered.
    Answer(String),
}

impl World {
    /// Notes a line, if anybody wants to read it.
    pub(super) fn note(&mut self, line: impl FnOnce() -> Line) {
        if self.options.chronicle {
            self.told.push((self.now, line()));
        }
    }

    /// Notes what happened in the world.
    pub(super) fn tell(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.options.chronicle {
            let line = Line::World(text(self));
            self.told.push((self.now, line));
        }
    }
}
