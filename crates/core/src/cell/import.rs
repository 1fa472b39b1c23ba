//! Services made from foreign servers.
//!
//! The story: a service is placed as any other, and its first member's goal says from where its data
//! comes. Its agent looks at the source, says how it will go about it, copies, and says what it changed;
//! all of that is recorded. What failed for good ends the operation: nothing of it is tried again, the
//! password is taken out, and a person ends the service or orders another.

use super::backups::rows::{Archive, Imported};
use super::state::{Seen, Service};
use super::turn::Work;
use super::{Cell, rows};
use crate::check::Severity;
use crate::goal::Want;
use crate::id::ServiceId;
use crate::import::{Import, TERM, Told};
use crate::journal::Topic;
use crate::operation::{Cause, Kind};
use crate::order::{Accepted, Error, Keys};
use crate::service::Phase;
use crate::view;

/// Longest sentence of an agent that is kept.
const TEXT_MAX_CHARS: usize = 600;
/// Most sentences that are kept.
const CHANGES_MAX: usize = 64;

impl Cell {
    /// Begins a service from a foreign server.
    pub(super) fn import(
        &mut self,
        by: &str,
        name: &str,
        offer: (&str, Option<&str>),
        import: &Import,
        (secret, keys): (&[u8], &Keys),
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let id = self.create(name, offer, secret, Some(keys), work)?;
        let unknown = || Error::NoSuchService { name: name.to_owned() };
        let row = &mut self.state.services.get_mut(&id).ok_or_else(unknown)?.row;
        row.term = TERM;
        row.promise.iter_mut().for_each(|promise| promise.term = TERM);
        row.members.iter_mut().for_each(|member| member.term = TERM);
        let archive = row.archive.get_or_insert_with(|| Box::new(Archive::new(keys)));
        let told = Told::default();
        archive.import = Some(Box::new(Imported { import: import.clone(), told, over: false }));
        self.start(id, Kind::Import, Cause::Order { by: by.into() }, work);
        Ok(self.accepted(id, format!("{name} is being imported from {}", import.source)))
    }

    /// Takes what its agent says of a service's import.
    pub(super) fn hear_import(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(told) = said(service).cloned() else { return };
        let name = service.row.name.clone();
        let Some(imported) = imported_mut(&mut service.row).filter(|i| !i.over) else { return };
        let kept = Told { changes: trim(&told.changes), failed: told.failed.map(short), ..told };
        let (old, new) = (&imported.told, &kept);
        let mut notes = Vec::new();
        if let Some(chosen) = new.chosen.as_ref().filter(|_| old.chosen.is_none()) {
            notes.push(format!("imports by {}: {}", chosen.method, chosen.why));
        }
        notes.extend(new.changes.iter().filter(|one| !old.changes.contains(one)).cloned());
        let failed = new.failed.clone().filter(|_| old.failed.is_none());
        if notes.is_empty() && failed.is_none() {
            return;
        }
        imported.told = Told { done: 0, total: 0, ..kept };
        for text in notes {
            work.note(Topic::Operation, name.as_str(), text, Vec::new());
        }
        work.record(id);
        if let Some(why) = failed {
            self.fail_import(id, &why, work);
        }
    }

    /// What failed for good is not tried again; what there is of it goes.
    fn fail_import(&mut self, id: ServiceId, why: &str, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        service.row.members.iter_mut().for_each(|member| member.want = Want::Stopped);
        self.end(id, None, &format!("failed: {why}"), work);
    }

    /// Nothing more is read from there, and its password is needed no more.
    pub(super) fn end_import(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        if let Some(imported) = imported_mut(&mut service.row) {
            (imported.over, imported.import.password) = (true, None);
        }
        work.record(id);
        self.settle(id, work);
    }

    /// Why it is not known yet how a service is imported.
    pub(super) fn unchosen(&self, service: &Service) -> Vec<String> {
        let Some(imported) = imported(&service.row) else { return Vec::new() };
        if imported.told.chosen.is_some() {
            return Vec::new();
        }
        let member = service.row.primary();
        let trouble = service.seen.first().and_then(Option::as_ref).and_then(|s| s.rare.as_ref());
        let host = self.state.host_name(member.host);
        vec![match trouble.and_then(|rare| rare.trouble.as_deref()) {
            Some(words) => format!("{host} looks at {}: {words}", imported.import.source),
            None => format!("{host} looks at {}", imported.import.source),
        }]
    }

    /// Whether a service's import failed, and nobody ended it yet.
    pub(super) fn is_imported(service: &Service) -> bool {
        imported(&service.row).is_some_and(|imported| imported.told.failed.is_some())
    }

    /// What people see of it.
    pub(super) fn show_import(&self, service: &Service) -> Option<view::Import> {
        let imported = imported(&service.row)?;
        let (kept, told) = (&imported.told, said(service).filter(|_| !imported.over));
        let method = kept.chosen.as_ref().map_or(imported.import.method, |chosen| chosen.method);
        Some(view::Import {
            source: imported.import.source.to_string(),
            method: method.to_string(),
            why: kept.chosen.as_ref().map_or_else(String::new, |chosen| chosen.why.clone()),
            progress: told.map(Told::progress),
            done_bytes: told.map_or(0, |told| told.done),
            total_bytes: told.map_or(0, |told| told.total),
            changes: kept.changes.clone(),
            failed: kept.failed.clone(),
        })
    }

    /// What is not as it should be about it.
    pub(super) fn import_finding(row: &rows::Service) -> Option<(&'static str, Severity, String)> {
        let imported = imported(row).filter(|_| row.phase == Phase::Installing)?;
        let why = imported.told.failed.as_ref()?;
        let name = &row.name;
        let text = format!(
            "its import from {} failed: {why}; `evenkeel terminate {name} --confirm {name}` removes \
             what is left, then order it again",
            imported.import.source
        );
        Some(("import", Severity::Critical, text))
    }
}

fn imported(row: &rows::Service) -> Option<&Imported> {
    row.archive.as_ref()?.import.as_deref()
}

fn imported_mut(row: &mut rows::Service) -> Option<&mut Imported> {
    row.archive.as_mut()?.import.as_deref_mut()
}

/// What the agent of its first member said last.
fn said(service: &Service) -> Option<&Told> {
    let seen: Option<&Seen> = service.seen.first().and_then(Option::as_ref);
    seen?.rare.as_ref()?.import.as_deref()
}

fn short(text: String) -> String {
    text.chars().take(TEXT_MAX_CHARS).collect()
}

fn trim(texts: &[String]) -> Vec<String> {
    texts.iter().take(CHANGES_MAX).cloned().map(short).collect()
}
