//! pgBackRest as an engine: run for each piece of work, once for each repository, under our own terms.
//!
//! The story of a file of the log: its digest is put as a mark, once and for ever, under the lineage's
//! terms; then pgBackRest stores the file, and only what our own eyes then see in the repository counts
//! as stored. So two servers never store two contents under one name, a standby may archive beside its
//! primary (which pgBackRest alone forbids: both would write one file at once), and what is fetched is
//! held against its mark, which pgBackRest's cipher does not do.
//!
//! A backup is in each repository under a name that pgBackRest gives it; our manifest says which.

mod answers;
mod tool;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evenkeel_core::backup::archive::{self, Archived, Error};
use evenkeel_core::backup::engine::{Capabilities, Engine as Name};
use evenkeel_core::backup::lineage::{Archive, BackupId};
use evenkeel_core::driver;
use evenkeel_core::id::Term;

use super::{Bounds, Engine, LogFile, Reach, Source, Taken, Tools, local};
use crate::backup::lineage::{Entry, Lineage, Manifest, nowhere};
use crate::backup::pace::Paced;
use crate::backup::repository::{Put, Repository};
use crate::backup::sealed;
use crate::files::{make_private, remove_dir};
use answers::Set;
use tool::{Failed, STANZA, Tool};

/// Its repository, below a lineage.
const PLACE: &str = "pgbackrest";
/// What makes a directory its repository, the one that decides first.
const FOUNDATION: [&str; 4] = [
    "archive/evenkeel/archive.info",
    "archive/evenkeel/archive.info.copy",
    "backup/evenkeel/backup.info",
    "backup/evenkeel/backup.info.copy",
];
/// Characters that the name of a directory of segments has.
const STEM: usize = 16;
/// Another run on this host has the backups.
const LOCKED: i32 = 50;
/// A run that was told to end has ended within this.
const END_MAX: Duration = Duration::from_secs(30);
/// Between looks whether it has.
const END_STEP: Duration = Duration::from_millis(200);

/// The engine.
pub struct PgBackRest {
    lineage: Lineage,
    tools: Vec<Tool>,
}

impl PgBackRest {
    pub fn new(lineage: Lineage, archive: &Archive, tools: &Tools) -> Result<Self, Error> {
        let of = |place| Tool::new(archive, place, tools);
        let tools: Result<Vec<Tool>, Error> = archive.repositories.iter().map(of).collect();
        Ok(Self { lineage, tools: tools? })
    }

    /// Each repository, as we and as pgBackRest see it.
    fn each(&self) -> impl Iterator<Item = (&dyn Repository, &Tool)> {
        self.lineage.repositories().zip(&self.tools)
    }

    fn place(&self, path: &str) -> String {
        self.lineage.at(&format!("{PLACE}/{path}"))
    }

    /// Where it is said what a file of the log must be.
    fn mark(&self, name: &str) -> String {
        let timeline = name.get(..8).unwrap_or("other");
        self.lineage.at(&format!("marks/{timeline}/{name}"))
    }

    /// Directories of the log, one for each release and system that ever wrote: there is one.
    fn logs(&self, repository: &dyn Repository) -> Result<Vec<String>, Error> {
        let below = self.place(&format!("archive/{STANZA}"));
        let names = repository.list(&below)?;
        let dirs = names.iter().filter(|name| !name.starts_with("archive.info"));
        Ok(dirs.map(|name| format!("{below}/{name}")).collect())
    }

    /// The objects of a file of the log, as pgBackRest names them: with a digest of its own.
    fn objects(&self, repository: &dyn Repository, name: &str) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for log in self.logs(repository)? {
            let history = Path::new(name).extension().is_some_and(|end| end == "history");
            let below = match name.get(..STEM).filter(|_| !history) {
                Some(stem) => format!("{log}/{stem}"),
                None => log,
            };
            let of = |object: &String| {
                let rest = object.strip_prefix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            };
            let names = repository.list(&below)?;
            found
                .extend(names.iter().filter(|name| of(name)).map(|name| format!("{below}/{name}")));
        }
        Ok(found)
    }

    /// Makes a lineage's place in a repository pgBackRest's own, whoever else does at the same time: its
    /// files are made aside and put where there are none, so that there is one set of keys in the end.
    fn found(&self, repository: &dyn Repository, tool: &Tool, data: &Path) -> Result<(), Error> {
        if !repository.list(&self.place(&format!("archive/{STANZA}")))?.is_empty() {
            return Ok(());
        }
        let aside = Aside::make(tool)?;
        let made = tool.aside(&aside.0);
        let begun = made.run("stanza-create", &[of("pg1-path", data), no("online")], None)?;
        begun.map_err(|failed| made.told(&failed, STANZA))?;
        for path in FOUNDATION {
            let from = aside.0.join("repo").join(path);
            let bytes = fs::read(&from).map_err(|error| local(&from, &error))?;
            if repository.put(&self.place(path), &bytes)? == Put::Exists {
                // Whoever was first puts the rest as well.
                break;
            }
        }
        Ok(())
    }

    fn push_to(
        &self,
        repository: &dyn Repository,
        tool: &Tool,
        file: &LogFile<'_>,
        entry: &Entry<'_>,
        term: Term,
    ) -> Result<Archived, Error> {
        self.lineage.admit(repository, entry, term)?;
        if !self.objects(repository, file.name)?.is_empty() {
            return Ok(Archived::Already);
        }
        self.found(repository, tool, file.data)?;
        let held = repository.hold(entry.path)?;
        let arguments = [of("pg1-path", file.data), no("archive-mode-check"), no("archive-async")];
        let path = file.path.display().to_string();
        let arguments = [&arguments[..], &[path]].concat();
        let pushed = tool.run("archive-push", &arguments, held)?;
        pushed.map_err(|failed| tool.told(&failed, file.name))?;
        // A disk may have been unmounted meanwhile: it is where we look, or it is not stored.
        match self.objects(repository, file.name)?.is_empty() {
            false => Ok(Archived::Stored),
            true => Err(Error::Unreachable {
                repository: repository.name().to_owned(),
                why: format!("pgBackRest says that it stored {}, and it is not there", file.name),
            }),
        }
    }

    fn fetch_from(
        &self,
        repository: &dyn Repository,
        tool: &Tool,
        name: &str,
        data: &Path,
        to: &Path,
    ) -> Result<(), Error> {
        let here = || repository.name().to_owned();
        if self.objects(repository, name)?.is_empty() {
            return Err(Error::NotThere { repository: here(), name: name.to_owned() });
        }
        let damaged = || Error::Damaged { repository: here(), name: name.to_owned() };
        let mark =
            self.lineage.opened(repository, &self.mark(name)).map_err(|error| match error {
                Error::NotThere { .. } => damaged(),
                error => error,
            })?;
        let arguments = [of("pg1-path", data), no("archive-async"), name.to_owned(), text(to)];
        match tool.run("archive-get", &arguments, None)? {
            Ok(_) => {}
            // It is there, as was just seen.
            Err(Failed { code: 1, words }) => {
                let why = format!("pgBackRest does not find {name}: {words}");
                return Err(Error::Unreachable { repository: here(), why });
            }
            Err(failed) => return Err(tool.told(&failed, name)),
        }
        let content = fs::read(to).map_err(|error| local(to, &error))?;
        let digest = sealed::digest(self.lineage.key(), &content);
        if mark == digest.0 { Ok(()) } else { Err(damaged()) }
    }

    fn sets(&self, tool: &Tool) -> Result<Vec<Set>, Error> {
        let said = tool.run("info", &["--output=json".to_owned()], None)?;
        let said = said.map_err(|failed| tool.told(&failed, "info"))?;
        answers::sets(&said).ok_or_else(|| nowhere("pgBackRest's answer cannot be read"))
    }

    /// A backup in one repository; one that an earlier try completed there is taken as it is.
    fn backup_to(
        &self,
        repository: &dyn Repository,
        tool: &Tool,
        reach: &Reach,
        id: BackupId,
    ) -> Result<Set, Error> {
        let name = id.to_string();
        self.found(repository, tool, &reach.data)?;
        let known = |sets: Vec<Set>| sets.into_iter().rev().find(|set| set.is(&name));
        if let Some(set) = known(self.sets(tool)?) {
            return Ok(set);
        }
        let data = of("pg1-path", &reach.data);
        // What somebody who founded it could not put any more.
        let whole = tool.run("stanza-create", &[data.clone(), no("online")], None)?;
        whole.map_err(|failed| tool.told(&failed, STANZA))?;
        let arguments = [
            data,
            of("pg1-socket-path", &reach.sockets),
            format!("--pg1-port={}", reach.port),
            format!("--pg1-user={}", reach.user),
            format!("--pg1-database={}", reach.database),
            format!("--annotation=evenkeel={name}"),
            "--type=full".to_owned(),
            "--start-fast".to_owned(),
            // Whether its log is there is asked of the lineage, and what goes is decided elsewhere.
            no("archive-check"),
            no("expire-auto"),
            no("resume"),
        ];
        self.alone(tool, &arguments)?;
        let none = || Error::Unreachable {
            repository: repository.name().to_owned(),
            why: format!("pgBackRest does not know of backup {name} that it just took"),
        };
        known(self.sets(tool)?).ok_or_else(none)
    }

    /// Takes a backup; what runs for an earlier try, which nobody waits for any more, is told to end.
    fn alone(&self, tool: &Tool, arguments: &[String]) -> Result<(), Error> {
        let end = Instant::now() + END_MAX;
        loop {
            let failed = match tool.run("backup", arguments, None)? {
                Ok(_) => return Ok(()),
                Err(failed) => failed,
            };
            if failed.code != LOCKED || Instant::now() > end {
                return Err(tool.told(&failed, "the backup"));
            }
            for (command, how) in [("stop", vec!["--force".to_owned()]), ("start", Vec::new())] {
                let done = tool.run(command, &how, None)?;
                done.map_err(|failed| tool.told(&failed, "the backup"))?;
            }
            std::thread::sleep(END_STEP);
        }
    }

    /// Sets that are older than the newest that is in the catalogue, and not in it.
    fn unneeded(&self, tool: &Tool, kept: &[Manifest]) -> Result<Vec<String>, Error> {
        let kept: Vec<&String> =
            kept.iter().filter_map(|backup| backup.sets.get(&tool.repository)).collect();
        let Some(newest) = kept.iter().max() else { return Ok(Vec::new()) };
        let labels = self.sets(tool)?.into_iter().map(|set| set.label);
        Ok(labels.filter(|label| label < *newest && !kept.contains(&label)).collect())
    }
}

/// A directory for files that are put elsewhere; it goes with this.
struct Aside(PathBuf);

impl Aside {
    fn make(tool: &Tool) -> Result<Self, Error> {
        let path = tool.scratch();
        let made = remove_dir(&path).and_then(|()| make_private(&path));
        made.map_err(|error| local(&path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // What is left is removed by the next one.
        let _ = remove_dir(&self.0);
    }
}

/// Whether it is a directory of segments; a timeline's history has as many characters.
fn is_stem(name: &str) -> bool {
    name.len() == STEM && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn of(option: &str, path: &Path) -> String {
    format!("--{option}={}", path.display())
}

fn no(option: &str) -> String {
    format!("--no-{option}")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn failed(error: &Error) -> driver::Error {
    driver::Error::Failed(error.to_string())
}

impl Engine for PgBackRest {
    fn capabilities(&self) -> Capabilities {
        Name::PgBackRest.capabilities()
    }

    fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    fn push(&self, file: &LogFile<'_>, term: Term, pace: &Paced) -> Result<Archived, Error> {
        let (path, key) = (self.mark(file.name), self.lineage.key());
        let content = sealed::digest(key, &super::read(file)?);
        let object = sealed::seal(key, &path, &content.0);
        let digest = sealed::digest(key, &content.0);
        let entry = Entry { name: file.name, path: &path, digest, object: &object };
        let one = |(repository, tool): (&dyn Repository, &Tool)| {
            pace.send(repository.name(), || self.push_to(repository, tool, file, &entry, term))
        };
        archive::of_all(self.each().map(one).collect())
    }

    fn fetch(&self, name: &str, data: &Path, to: &Path) -> Result<(), Error> {
        let mut results = Vec::new();
        for (repository, tool) in self.each() {
            results.push(self.fetch_from(repository, tool, name, data, to));
            if matches!(results.last(), Some(Ok(()))) {
                break;
            }
        }
        archive::fetched(results)
    }

    fn has(&self, name: &str) -> Result<bool, Error> {
        let one = |(repository, _): (&dyn Repository, &Tool)| {
            let here = repository.name().to_owned();
            let none = || Error::NotThere { repository: here, name: name.to_owned() };
            self.objects(repository, name)?.first().map(drop).ok_or_else(none)
        };
        match archive::fetched(self.each().map(one).collect()) {
            Ok(()) => Ok(true),
            Err(Error::NotThere { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn newest_timeline(&self, from: u32) -> Result<u32, Error> {
        let mut newest = from;
        for (repository, _) in self.each() {
            for log in self.logs(repository)? {
                let names = repository.list(&log)?;
                newest = newest.max(crate::backup::lineage::newest(&names));
            }
        }
        Ok(newest)
    }

    fn backup(
        &self,
        source: &dyn Source,
        id: BackupId,
        _rate: u64,
    ) -> Result<Taken, driver::Error> {
        let (reach, mut first) = (source.reach(), None);
        let mut taken: Option<Taken> = None;
        for (repository, tool) in self.each() {
            let set = match self.backup_to(repository, tool, &reach, id) {
                Ok(set) => set,
                Err(error) => {
                    first = first.or(Some(error));
                    continue;
                }
            };
            let bounds = set.bounds().filter(|_| set.is_whole()).ok_or_else(|| {
                let text = "pgBackRest found damaged pages, or does not say what log it needs";
                driver::Error::Failed(text.to_owned())
            })?;
            let (bytes, stored) = set.bytes();
            let here = taken.get_or_insert_with(|| Taken {
                bounds,
                bytes,
                stored,
                repositories: Vec::new(),
                sets: BTreeMap::new(),
            });
            here.bounds = both(here.bounds, bounds);
            here.repositories.push(tool.repository.clone());
            here.sets.insert(tool.repository.clone(), set.label);
        }
        taken.ok_or_else(|| failed(&first.unwrap_or_else(|| nowhere("no repository"))))
    }

    fn restore(&self, backup: &Manifest, data: &Path) -> Result<String, driver::Error> {
        let mut first = None;
        let places =
            self.each().filter_map(|each| Some((each, backup.sets.get(&each.1.repository)?)));
        for ((repository, tool), label) in places {
            let restored =
                self.lineage.opened(repository, &self.lineage.manifest_of(backup.backup.id));
            let restored = restored.and_then(|_| {
                let cleared = remove_dir(data).and_then(|()| make_private(data));
                cleared.map_err(|error| local(data, &error))?;
                let arguments =
                    [of("pg1-path", data), format!("--set={label}"), "--type=none".to_owned()];
                let ended = tool.run("restore", &arguments, None)?;
                ended.map_err(|failed| tool.told(&failed, &format!("backup {}", backup.backup.id)))
            });
            match restored {
                Ok(_) => return Ok(tool.repository.clone()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(failed(&first.unwrap_or_else(|| nowhere("no repository has it"))))
    }

    fn verify(&self, backup: &Manifest, besides: Option<&str>) -> Vec<Error> {
        let one = |(repository, tool): (&dyn Repository, &Tool)| {
            let label = backup.sets.get(&tool.repository)?;
            let name = format!("backup {}", backup.backup.id);
            let arguments = ["--output=text".to_owned(), "--verbose".to_owned()];
            let said = match tool.run("verify", &arguments, None) {
                Ok(Ok(said)) => said,
                Ok(Err(failed)) => return Some(tool.told(&failed, &name)),
                Err(error) => return Some(error),
            };
            let repository = repository.name().to_owned();
            (!answers::is_verified(&said, label)).then_some(Error::Damaged { repository, name })
        };
        let others = self.each().filter(|(repository, _)| Some(repository.name()) != besides);
        others.filter_map(one).collect()
    }

    fn remove(&self, backups: &[BackupId]) -> Result<u64, Error> {
        backups.iter().try_for_each(|id| self.lineage.unmake(*id))?;
        let (kept, mut removed) = (self.lineage.backups()?, 0);
        for (_, tool) in self.each() {
            for label in self.unneeded(tool, &kept)? {
                match tool.run("expire", &[format!("--set={label}")], None)? {
                    Ok(_) => removed += 1,
                    // It keeps its last, whatever we know of it; it goes when there is another.
                    Err(failed) if failed.words.contains("cannot be expired until") => {}
                    Err(failed) => return Err(tool.told(&failed, &label)),
                }
            }
        }
        Ok(removed)
    }

    fn forget(&self, gone: &dyn Fn(&str) -> bool) -> Result<u64, Error> {
        let mut removed = 0;
        for (repository, _) in self.each() {
            for log in self.logs(repository)? {
                let stems = repository.list(&log)?;
                for stem in stems.iter().filter(|name| is_stem(name)) {
                    let below = format!("{log}/{stem}");
                    let objects = repository.list(&below)?;
                    let named = |object: &&String| gone(object.split('-').next().unwrap_or(""));
                    for object in objects.iter().filter(named) {
                        repository.remove(&format!("{below}/{object}"))?;
                        removed += 1;
                    }
                }
            }
            // Last: what has lost its mark is damaged, and what has nothing but a mark is not there.
            for timeline in repository.list(&self.lineage.at("marks"))? {
                let below = self.lineage.at(&format!("marks/{timeline}"));
                for name in repository.list(&below)?.iter().filter(|name| gone(name)) {
                    repository.remove(&format!("{below}/{name}"))?;
                }
            }
        }
        Ok(removed)
    }
}

/// What log two backups of one name need together.
fn both(one: Bounds, other: Bounds) -> Bounds {
    Bounds {
        from: one.from.min(other.from),
        to: one.to.max(other.to),
        timelines: (one.timelines.0.min(other.timelines.0), one.timelines.1.max(other.timelines.1)),
    }
}
