//! Repositories: added and removed by order.

use super::super::Cell;
use super::super::state::Service;
use super::super::turn::Work;
use crate::backup::lineage::Repository;
use crate::id::ServiceId;
use crate::name::ServiceName;
use crate::order::{Accepted, Error};

impl Cell {
    /// Adds a repository; every archive goes there too from now on. One that is known gets the
    /// credentials that are named now.
    pub(in crate::cell) fn add_repository(
        &mut self,
        new: &Repository,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let name = ServiceName::new(&new.name)?.as_str().to_owned();
        let known = &mut self.state.row.repositories;
        match known.iter_mut().find(|known| known.name == name) {
            Some(old) if old.location.is_same_place(&new.location) => *old = new.clone(),
            Some(_) => return Err(Error::RepositoryTaken { name }),
            None => known.push(new.clone()),
        }
        let count = self.settle_archives(work);
        let text = format!("{count} services archive to {name}, {}", new.location);
        Ok(Accepted { service: None, operation: None, job: None, text })
    }

    /// Removes a repository: one that is lost for good would keep every restore waiting for its answer.
    pub(in crate::cell) fn remove_repository(
        &mut self,
        name: &str,
        confirm: &str,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let known = &self.state.row.repositories;
        if !known.iter().any(|known| known.name == name) {
            return Err(Error::NoSuchRepository { name: name.to_owned() });
        }
        if confirm != name {
            return Err(Error::RepositoryUnsure { name: name.to_owned() });
        }
        let bare = self
            .state
            .services
            .values()
            .filter(|service| service.row.archive.as_ref().is_some_and(|archive| archive.bare));
        let bare: Vec<&str> = bare.map(|service| service.row.name.as_str()).take(5).collect();
        if known.len() == 1 && !bare.is_empty() {
            let (name, services) = (name.to_owned(), bare.join(", "));
            return Err(Error::LastRepository { name, services });
        }
        self.state.row.repositories.retain(|known| known.name != name);
        self.doubt_last_proofs(work);
        let count = self.settle_archives(work);
        let text =
            format!("{count} services have nothing to do with {name} any more; it stays as it is");
        Ok(Accepted { service: None, operation: None, job: None, text })
    }

    /// What was proven may have been only where nothing is had from any more: no members go before it is
    /// proven anew.
    fn doubt_last_proofs(&mut self, work: &mut Work) {
        let proven = |s: &&Service| s.row.archive.as_ref().is_some_and(|a| a.whole_at.is_some());
        let proven = self.state.services.values().filter(proven);
        let ids: Vec<ServiceId> = proven.map(|service| service.row.id).collect();
        for id in ids {
            let service = self.state.services.get_mut(&id);
            if let Some(archive) = service.and_then(|service| service.row.archive.as_mut()) {
                archive.whole_at = None;
                work.record(id);
            }
        }
    }

    /// Every archive's goals name the repositories that there are now; how many.
    fn settle_archives(&mut self, work: &mut Work) -> usize {
        work.cell = true;
        let archiving = self.state.services.values().filter(|s| s.row.archive.is_some());
        let ids: Vec<ServiceId> = archiving.map(|service| service.row.id).collect();
        for &id in &ids {
            self.settle(id, work);
            work.services.insert(id);
        }
        ids.len()
    }
}
