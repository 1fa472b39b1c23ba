//! What people are shown of a service's archive, and what is found wanting about it.

use super::super::Cell;
use super::super::findings::Say;
use super::super::state::Service;
use super::rows::Archive;
use crate::backup::guard::Level;
use crate::backup::job::Backup;
use crate::backup::lineage::{BackupId, Repository};
use crate::check::Severity;
use crate::moment::Moment;
use crate::order::Error;
use crate::report;
use crate::time::{Span, Time};
use crate::view;

/// A server ends a segment of its log that has anything in it after this at the latest (the setting
/// `archive_timeout`): what was written before is archived, or told as behind.
const SEGMENT_MAX: Span = Span::secs(60);
/// Log that waits for so long is no hiccup.
const BEHIND_LONG: Span = Span::mins(15);

impl Cell {
    /// A service's archive at a glance; `None` where it has none.
    pub(in crate::cell) fn show_backup(
        &self,
        service: &Service,
        now: Time,
    ) -> Option<view::Backup> {
        let archive = service.row.archive.as_deref().filter(|_| self.archives(service))?;
        let seen = said(service);
        let behind = seen.and_then(|seen| seen.behind_since);
        let last = archive.backups.last();
        let proof = archive.proof.as_ref().filter(|proof| proof.wrong.is_empty());
        let window = proof.and_then(|p| Some(p.begun.since(p.canary?).0 / 1000));
        Some(view::Backup {
            engine: archive.engine,
            last_at: last.map(|backup| backup.ended.to_string()),
            restorable_to: self.restorable_to(service, archive, now).map(|m| m.to_string()),
            proven_at: proof.map(|proof| proof.begun.to_string()),
            restore_seconds: proof.map(|proof| seconds(proof.restore_ms)),
            loss_window_seconds: window,
            archive_lag_bytes: seen.map_or(0, |seen| seen.pending_bytes),
            archive_lag_seconds: behind
                .map_or(0, |since| Moment::of_millis(now.0).since(since).0 / 1000),
            count: archive.backups.len(),
            repositories: self.state.row.repositories.iter().map(|r| r.name.clone()).collect(),
            job: archive.job.as_ref().map(|running| view::Job {
                id: BackupId(running.job.id).to_string(),
                what: running.job.what.name().to_owned(),
                since_ms: now.since(running.since),
            }),
            failed: archive.failed.as_ref().map(|failed| view::FailedJob {
                id: BackupId(failed.job).to_string(),
                why: failed.why.clone(),
            }),
        })
    }

    /// Until when everything that was acknowledged can be restored, by what is known now.
    pub(super) fn restorable_to(
        &self,
        service: &Service,
        archive: &Archive,
        now: Time,
    ) -> Option<Moment> {
        let last = archive.backups.last()?;
        if archive.is_open() {
            return archive.holes.last().map(|hole| hole.since.max(last.ended));
        }
        let host = self.state.hosts.get(&service.row.primary().host)?;
        let heard = if host.speaks() { now } else { host.heard.unwrap_or(self.state.began) };
        let whole = Moment::of_millis(heard.0.saturating_sub(SEGMENT_MAX.0));
        let behind = said(service).and_then(|said| said.behind_since);
        let until = behind.map_or(whole, |since| {
            Moment(since.0 - i64::try_from(SEGMENT_MAX.0 * 1000).unwrap_or(0))
        });
        Some(until.max(last.ended))
    }

    /// A service's backups, newest first.
    ///
    /// # Errors
    /// [`Error::NoSuchService`].
    pub fn backups(&self, name: &str) -> Result<Vec<view::BackupRow>, Error> {
        let service = self.state.named(name);
        let service = service.ok_or_else(|| Error::NoSuchService { name: name.to_owned() })?;
        let archive = service.row.archive.as_deref();
        let rows = archive.map_or(&[][..], |archive| &archive.backups).iter().rev();
        Ok(rows.map(|backup| row(service, backup)).collect())
    }

    /// A backup by its id.
    #[must_use]
    pub fn backup(&self, id: &str) -> Option<view::BackupRow> {
        let services = self.state.services.values();
        services.into_iter().find_map(|service| {
            let archive = service.row.archive.as_deref()?;
            let found = archive.backups.iter().find(|backup| backup.id.to_string() == id)?;
            Some(row(service, found))
        })
    }

    /// Repositories, in the order they were added.
    #[must_use]
    pub fn repositories(&self) -> &[Repository] {
        &self.state.row.repositories
    }

    /// What is not as it should be about a service's archive.
    pub(in crate::cell) fn archive_findings(
        &self,
        service: &Service,
        now: Time,
        say: Say<'_>,
    ) -> Vec<(&'static str, Severity, String, Span)> {
        let mut found: Vec<_> = said(service).and_then(room).into_iter().collect();
        let Some(archive) = service.row.archive.as_deref() else { return found };
        if self.state.row.repositories.is_empty() {
            let text = "there is no repository: its log and backups go nowhere; add one with \
                        `evenkeel repository add`";
            found.push(("archive-configured", Severity::Warning, text.to_owned(), Span(0)));
            return found;
        }
        if let Some(said) = said(service)
            && let Some(since) = said.behind_since
        {
            let lag = self.waited(service.row.id, since, now);
            let severity = if lag > BEHIND_LONG { Severity::Critical } else { Severity::Warning };
            let (colon, why) = said.trouble.as_deref().map_or(("", ""), |why| (": ", why));
            let text = say(format_args!("its log waits for its archive for {lag}{colon}{why}"));
            found.push(("archive-current", severity, text, lag));
        }
        if let Some(proof) = archive.proof.as_ref().filter(|proof| !proof.wrong.is_empty()) {
            let ago = Moment::of_millis(now.0).since(proof.begun);
            let text = format!(
                "backup {} is not as it should be: {}",
                proof.backup,
                proof.wrong.join("; ")
            );
            found.push(("backup-proven", Severity::Critical, text, ago));
        } else if let Some(last) = archive.backups.first() {
            let proven = archive.proof.as_ref().map_or(last.ended, |proof| proof.begun);
            let ago = Moment::of_millis(now.0).since(proven);
            if ago > self.setup.policy.prove_every.times(2) {
                let text = format!("no restore was proven for {ago}");
                found.push(("backup-proven", Severity::Warning, text, ago));
            }
        }
        found.extend(archive.hole_found(Moment::of_millis(now.0)));
        found.extend(super::even::found(service));
        if let Some(failed) = &archive.failed {
            let severity = if failed.times > 2 { Severity::Critical } else { Severity::Warning };
            let (job, times, why) = (BackupId(failed.job), failed.times, &failed.why);
            let text = say(format_args!("job {job} failed ({times} in a row): {why}"));
            found.push(("backup-recent", severity, text, now.since(failed.at)));
        }
        let last =
            archive.backups.last().map(|backup| Moment::of_millis(now.0).since(backup.ended));
        if let Some(ago) = last.filter(|ago| *ago > self.setup.policy.backup.every.times(2)) {
            found.push((
                "backup-recent",
                Severity::Critical,
                format!("the last backup is of {ago} ago"),
                ago,
            ));
        }
        found
    }
}

/// What is found wanting about a disk's room.
fn room(said: &report::Archive) -> Option<(&'static str, Severity, String, Span)> {
    let disk = said.disk?;
    let (severity, what) = match disk.level {
        Level::Fine => return None,
        Level::Warn => (Severity::Warning, "it fills"),
        Level::Throttle => (Severity::Critical, "commits are slowed until there is room"),
        Level::ReadOnly => (Severity::Critical, "no writes are taken until there is room"),
    };
    let percent = disk.free.saturating_mul(100) / disk.total.max(1);
    let full = disk.full_in.map_or(String::new(), |span| format!(", full in {span}"));
    let waits = said.pending_bytes >> 20;
    let log = if waits > 0 {
        format!("; {waits} MiB of log wait for the archive")
    } else {
        String::new()
    };
    let text = format!("its primary's disk has {percent} % left{full}: {what}{log}");
    Some(("disk-room", severity, text, Span(0)))
}

fn said(service: &Service) -> Option<&report::Archive> {
    service.seen.first()?.as_ref()?.archive.as_deref()
}

/// Milliseconds as seconds, to the millisecond.
fn seconds(millis: u64) -> f64 {
    std::time::Duration::from_millis(millis).as_secs_f64()
}

fn row(service: &Service, backup: &Backup) -> view::BackupRow {
    let archive = service.row.archive.as_deref();
    let proof = archive.and_then(|archive| archive.proof.as_ref());
    let proof = proof.filter(|proof| proof.backup == backup.id);
    view::BackupRow {
        id: backup.id.to_string(),
        service: service.row.name.as_str().to_owned(),
        begun_at: backup.begun.to_string(),
        ended_at: backup.ended.to_string(),
        from: backup.from.to_string(),
        to: backup.to.to_string(),
        timeline: backup.timeline,
        bytes: backup.bytes,
        stored_bytes: backup.stored,
        repositories: backup.repositories.clone(),
        proven_at: proof.filter(|p| p.wrong.is_empty()).map(|proof| proof.begun.to_string()),
        wrong: proof.map(|proof| proof.wrong.clone()).unwrap_or_default(),
    }
}
