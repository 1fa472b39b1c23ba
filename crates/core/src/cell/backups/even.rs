//! Repositories that lack what others have, since they could not be reached when it was stored. One is
//! enough to restore from; the others are for the day when that one is lost.
//!
//! The story: every member knows what it could not store where. Once such a repository takes everything
//! again, that member copies to it what others have, and forgets that it ever lacked anything.

use super::super::Cell;
use super::super::state::Service;
use crate::check::Severity;
use crate::id::{HostId, MemberId};
use crate::time::Span;

impl Cell {
    /// Who makes repositories even: one that knows of something to be copied.
    pub(super) fn evener(&self, service: &Service) -> Option<(MemberId, HostId)> {
        let mut members = service.row.members.iter().zip(&service.seen).rev();
        let speaks = |host: &HostId| self.state.hosts.get(host).is_some_and(|host| host.speaks());
        let found = members.find(|(member, seen)| {
            let said = seen.as_ref().and_then(|seen| seen.archive.as_deref());
            speaks(&member.host) && said.is_some_and(|said| said.missed.iter().any(|m| m.over))
        });
        found.map(|(member, _)| (member.id, member.host))
    }
}

/// What is found wanting about repositories that others are ahead of.
pub(super) fn found(service: &Service) -> Option<(&'static str, Severity, String, Span)> {
    let seen = service.seen.iter().flatten().filter_map(|seen| seen.archive.as_deref());
    let mut names: Vec<&str> =
        seen.flat_map(|said| &said.missed).map(|missed| missed.repository.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let text = format!(
        "{} lacks what other repositories have; it is copied there once it takes everything again",
        names.join(", ")
    );
    (!names.is_empty()).then_some(("archive-even", Severity::Warning, text, Span(0)))
}
