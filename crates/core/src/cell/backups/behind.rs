//! Whose log waits, of those who bring theirs to an archive: whether storage is there is seen by that.

use super::super::Cell;
use super::super::state::{Service, State};
use crate::id::ServiceId;
use crate::service::Phase;

impl Service {
    /// Whether it has an archive, and servers that bring it their log.
    fn brings_log(&self) -> bool {
        let rests = matches!(self.row.phase, Phase::Retired | Phase::Archived | Phase::Terminated);
        self.row.archive.is_some() && !rests
    }
}

impl State {
    /// Whether the log of half of the services that bring theirs to an archive, or more, waits.
    pub(in crate::cell) fn storage_is_down(&self) -> bool {
        let behind = self.behind.len();
        behind > 0 && behind * 2 >= self.archiving
    }

    /// Notes whether a service brings its log to an archive: of one at rest the last word is an old one, as nobody
    /// tries any more.
    pub(in crate::cell) fn note_archiving(&mut self, id: ServiceId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let archiving = service.brings_log();
        if std::mem::replace(&mut service.archiving, archiving) {
            self.archiving -= 1;
        }
        if archiving {
            self.archiving += 1;
        } else {
            self.behind.remove(&id);
        }
    }

    /// Whether [`State::archiving`] is what going through all services would find.
    pub(in crate::cell) fn knows_who_archives(&self) -> bool {
        let brings = |service: &&Service| service.brings_log();
        self.services.values().filter(brings).count() == self.archiving
    }
}

impl Cell {
    /// Notes whether a service's log gets to its archive.
    pub(in crate::cell) fn note_behind(&mut self, id: ServiceId) {
        let Some(service) = self.state.services.get(&id) else { return };
        let seen = service.seen.first().and_then(|seen| seen.as_ref()?.archive.as_ref());
        let behind = seen.is_some_and(|seen| seen.behind_since.is_some());
        let behind = behind && service.archiving && self.archives(service);
        match behind {
            true => self.state.behind.insert(id),
            false => self.state.behind.remove(&id),
        };
    }
}
