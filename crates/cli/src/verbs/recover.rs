//! `recover`: a burnt control plane comes back.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use evenkeel_controller::FleetKey;
use evenkeel_controller::Rows;
use evenkeel_core::agent::Stored;
use evenkeel_core::backup::lineage;
use evenkeel_core::backup::snapshot::{self, Manifest};
use evenkeel_core::cell::recovery::{Found, Source, begin, look};
use evenkeel_core::goal::StoreId;
use evenkeel_core::moment::Moment;
use evenkeel_core::row::decode;
use evenkeel_core::time::{Span, Time};
use serde::Serialize;

use super::repository::Place;
use crate::failure::{Failure, Kind, chain};
use crate::find::Context;
use crate::print;
use crate::vault;

/// Make a burnt control plane anew, while none runs: from the newest snapshot of its store in a repository,
/// or from its hosts alone. Nothing of any service is touched before its hosts have shown what they keep.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel recover --data DIR --from-repository /mnt/backups --key fleet.key --dry-run
  evenkeel recover --data DIR --from-repository backups/fleet-1 --endpoint https://s3.example.com --key fleet.key
  evenkeel recover --data DIR --from-agents --hosts 12 --key fleet.key
  evenkeel up --data DIR                  # it goes on when every host has shown what it keeps
  evenkeel recover --go-on --hosts 11     # or when a person says that no more will come")]
pub struct Recover {
    /// A repository's directory, or, with --endpoint, its BUCKET[/PREFIX]; the newest snapshot in all of
    /// them counts.
    #[arg(long, value_name = "PLACE", num_args = 1.., group = "source")]
    from_repository: Vec<String>,
    /// From what its hosts keep, and nothing else.
    #[arg(long, group = "source")]
    from_agents: bool,
    /// Tell a recovered controller that so many hosts have shown what they keep, and no more will.
    #[arg(long, group = "source", requires = "hosts")]
    go_on: bool,
    /// The copy of the fleet's key that `evenkeel key export` wrote.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// How many hosts are to show what they keep [default: those in the snapshot, or in --data].
    #[arg(long, value_name = "N")]
    hosts: Option<u32>,
    /// Of several control planes with snapshots there, the one with this store.
    #[arg(long, value_name = "ID", requires = "from_repository")]
    store: Option<String>,
    /// Move a controller's directory that is there aside.
    #[arg(long)]
    replace: bool,
    /// Print what is found, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// The object storage's server: https://host[:port].
    #[arg(long, value_name = "URL", requires = "from_repository")]
    endpoint: Option<String>,
    /// The region that requests are signed for.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// The bucket is part of the server's name, and not of the path.
    #[arg(long, requires = "endpoint")]
    virtual_host: bool,
    /// Certificates to believe instead of the public ones, as PEM.
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    ca: Option<PathBuf>,
    /// A file with lines `aws_access_key_id = ...` and `aws_secret_access_key = ...`.
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    credentials: Option<PathBuf>,
}

/// What is told before anything is written.
#[derive(Debug, Default, Serialize)]
struct Told {
    /// Where it comes from.
    from: String,
    /// The stores that it succeeds; none: those that its hosts name.
    succeeds: Vec<StoreId>,
    /// What is in the snapshot.
    snapshot: Option<Found>,
    /// When the snapshot was taken.
    taken: Option<String>,
    /// Services that hosts of this machine keep and the snapshot does not have.
    newer: Vec<String>,
    /// How many hosts are waited for; none: those in the snapshot.
    hosts: Option<u32>,
    /// What cannot be known before they have shown what they keep.
    unknown: String,
    /// The new store; none in a dry run.
    store: Option<StoreId>,
    /// Where the directory that was there is now.
    moved: Option<PathBuf>,
}

/// A snapshot that was opened.
struct Opened {
    manifest: Manifest,
    place: String,
    file: PathBuf,
    rows: Rows,
}

impl Recover {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        if self.go_on {
            let accepted = context.client()?.end_recovery(self.hosts.unwrap_or_default())?;
            if context.json {
                return print::json(&accepted);
            }
            print::line(&accepted.text);
            return Ok(());
        }
        if self.from_repository.is_empty() && !self.from_agents {
            let text = "say from where: --from-repository PLACE, or --from-agents";
            return Err(Failure::new(Kind::Usage, text));
        }
        let Some(key) = &self.key else {
            let text = "name the copy of the fleet's key with --key FILE: without it no snapshot can be \
                        opened, and no host believes its successor";
            return Err(Failure::new(Kind::Usage, text));
        };
        let key = super::key::read(key)?;
        let data = context.data();
        let work = Work::new(&data)?;
        let opened = match self.from_agents {
            true => None,
            false => Some(self.newest(&key, &work.0)?),
        };
        self.make(context, &data, &key, opened.as_ref())
    }

    fn make(
        &self,
        context: &Context,
        data: &Path,
        key: &FleetKey,
        opened: Option<&Opened>,
    ) -> Result<(), Failure> {
        let failed = |error| Failure::new(Kind::Failed, chain(&error));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        let here = here(data);
        let mut told = Told { hosts: self.hosts, ..Told::default() };
        if let Some(opened) = opened {
            told.from = format!("the snapshot {} in {}", opened.manifest.name(), opened.place);
            told.succeeds = vec![opened.manifest.store.clone()];
            told.taken = Some(opened.manifest.at.to_string());
            told.unknown =
                "what was recorded after the snapshot is unknown until hosts show it".into();
        } else {
            told.from = "what hosts keep".to_owned();
            told.unknown = "services, hosts and repositories are unknown until hosts show them; backups' \
                            catalogues, archived services and repositories without archives are lost"
                .into();
            let count = u32::try_from(here.len()).ok().filter(|count| *count > 0);
            told.hosts = self.hosts.or(count);
            if told.hosts.is_none() {
                let text = "say how many hosts there are with --hosts N: without a snapshot nobody else knows";
                return Err(Failure::new(Kind::Usage, text));
            }
        }
        let rows = opened.map_or(&[][..], |opened| &opened.rows);
        let (succeeds, open) = (told.succeeds.clone(), opened.is_none());
        let source = Source { rows, succeeds: &succeeds, open, hosts: told.hosts, now: Time(now) };
        let (writes, found) = begin(&source).map_err(failed)?;
        let known: BTreeSet<&str> = found.services.iter().map(|s| s.name.as_str()).collect();
        let kept = here.iter().flat_map(|(_, names)| names.iter());
        let newer: BTreeSet<&String> = kept.filter(|name| !known.contains(name.as_str())).collect();
        told.newer = newer.into_iter().cloned().collect();
        told.snapshot = opened.map(|_| found);
        if !context.json {
            told.print(&here, now);
        }
        if !self.dry_run {
            let dir = data.join("controller");
            let copy = opened.map(|opened| opened.file.as_path());
            let made = evenkeel_controller::recover(&dir, key, copy, &writes, self.replace);
            let (store, moved) =
                made.map_err(|error| Failure::new(Kind::Refused, chain(&error)))?;
            give(data, &dir)?;
            (told.store, told.moved) = (Some(store), moved);
        }
        if context.json {
            return print::json(&told);
        }
        told.print_end(context);
        Ok(())
    }

    /// The newest snapshot that opens.
    fn newest(&self, key: &FleetKey, work: &Path) -> Result<Opened, Failure> {
        let mut all: Vec<(lineage::Repository, Manifest)> = Vec::new();
        let mut unasked = Vec::new();
        for name in &self.from_repository {
            let place = self.place(name)?;
            match vault::manifests(&place) {
                Ok(found) => all.extend(found.into_iter().map(|m| (place.clone(), m))),
                Err(error) => unasked.push(format!("{name}: {error}")),
            }
        }
        unasked.iter().for_each(|why| print::note(why));
        let heads = snapshot::heads(all.iter().map(|(_, manifest)| manifest.clone()).collect());
        let wanted = |m: &&Manifest| self.store.as_ref().is_none_or(|store| *store == m.store.0);
        let mut heads: Vec<&Manifest> = heads.iter().filter(wanted).collect();
        heads.dedup();
        if heads.is_empty() {
            let places = self.from_repository.join(", ");
            let text = format!(
                "no snapshot of a control plane's store is in {places}{}; name another repository, or \
                 recover --from-agents",
                if unasked.is_empty() { "" } else { ", as far as it could be asked" }
            );
            return Err(Failure::new(Kind::NotFound, text));
        }
        let digits = key.digits();
        if heads.iter().all(|manifest| manifest.key != digits) {
            let text = format!(
                "the snapshots are sealed for a key with the check digits {}, and the one that was named \
                 has {digits}; name a copy of that fleet's key",
                heads[0].key
            );
            return Err(Failure::new(Kind::Usage, text));
        }
        let file = work.join("store.db");
        for manifest in heads.into_iter().filter(|manifest| manifest.key == digits) {
            for (place, _) in all.iter().filter(|(_, there)| there == manifest) {
                match open(place, manifest, key, &file) {
                    Ok(rows) => {
                        let (manifest, place) = (manifest.clone(), place.location.to_string());
                        return Ok(Opened { manifest, place, file, rows });
                    }
                    Err(why) => print::note(&format!(
                        "{} in {} is passed over: {why}",
                        manifest.name(),
                        place.location
                    )),
                }
            }
        }
        let text = "no snapshot can be opened; name another repository, or recover --from-agents";
        Err(Failure::new(Kind::Failed, text))
    }

    fn place(&self, name: &str) -> Result<lineage::Repository, Failure> {
        let bucket = self.endpoint.is_some();
        let place = Place {
            directory: (!bucket).then(|| PathBuf::from(name)),
            bucket: bucket.then(|| name.to_owned()),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            virtual_host: self.virtual_host,
            ca: self.ca.clone(),
            credentials: self.credentials.clone(),
        };
        let location = place.named("named")?.location();
        let location = location.map_err(|text| Failure::new(Kind::Usage, text))?;
        Ok(lineage::Repository { name: name.to_owned(), location })
    }
}

fn open(
    place: &lineage::Repository,
    manifest: &Manifest,
    key: &FleetKey,
    file: &Path,
) -> Result<Rows, String> {
    vault::fetch(place, manifest, &key.store_key(), file)?;
    let (store, rows) = evenkeel_controller::rows_of(file).map_err(|error| chain(&error))?;
    let found = look(&rows).map_err(|error| chain(&error))?;
    if store != manifest.store || found.sequence != manifest.sequence {
        return Err("it is of another store than its manifest says".to_owned());
    }
    Ok(rows)
}

/// A directory for what is fetched, gone with this.
struct Work(PathBuf);

impl Work {
    fn new(data: &Path) -> Result<Self, Failure> {
        let dir = data.join(format!("recovering-{}", std::process::id()));
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|error| {
            Failure::new(Kind::Failed, format!("{} cannot be made: {error}", dir.display()))
        })?;
        Ok(Self(dir))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What is left is sealed for nobody else: only this user can enter.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The hosts of this machine, with the names of the services that they keep goals of.
fn here(data: &Path) -> Vec<(String, BTreeSet<String>)> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let name = |stored: PathBuf| {
        let stored = decode::<Stored>(&fs::read(stored).ok()?).ok()?;
        Some(stored.applied.goal.identity.name.as_str().to_owned())
    };
    let hosts = entries(&data.join("hosts")).filter(|host| host.path().join("store.json").exists());
    let mut hosts: Vec<_> = hosts
        .map(|host| {
            let goals = entries(&host.path().join("goals")).map(|goal| goal.path());
            let goals = goals.filter(|goal| goal.extension().is_some_and(|end| end == "json"));
            (host.file_name().to_string_lossy().into_owned(), goals.filter_map(name).collect())
        })
        .collect();
    hosts.sort();
    hosts
}

/// What root made belongs to the fleet's own user, as the directory that it is in.
fn give(data: &Path, dir: &Path) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(data)?;
    let (uid, gid) = (Some(owner.uid()), Some(owner.gid()));
    chown(dir, uid, gid)?;
    for entry in fs::read_dir(dir)? {
        chown(entry?.path(), uid, gid)?;
    }
    Ok(())
}

impl Told {
    fn print(&self, here: &[(String, BTreeSet<String>)], now: u64) {
        print::line(&format!("from {}", self.from));
        if let (Some(found), Some(taken)) = (&self.snapshot, &self.taken) {
            let taken_at: Option<Moment> = taken.parse().ok();
            let age = taken_at.map(|at| Moment::of_millis(now).since(at).0 / 1000).unwrap_or(0);
            let age = print::span(Span::secs(age));
            let (services, hosts) = (found.services.len(), found.hosts.len());
            print::line(&format!(
                "taken at {taken} ({age} ago): {services} services, {hosts} hosts"
            ));
            let head = ["SERVICE", "PLAN", "STATE THEN", "HOSTS"];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            rows.extend(found.services.iter().map(|s| {
                let plan = format!("{} {}", s.kind, s.plan);
                vec![s.name.clone(), plan, s.state.to_string(), s.hosts.join(", ")]
            }));
            print::table(&rows);
        }
        for (host, names) in here {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            print::line(&format!("host {host} on this machine keeps {names}"));
        }
        if self.snapshot.is_some() && !self.newer.is_empty() {
            print::line(&format!("newer than the snapshot: {}", self.newer.join(", ")));
        }
        print::line(&self.unknown);
    }

    fn print_end(&self, context: &Context) {
        if let Some(moved) = &self.moved {
            print::line(&format!("what was there is {}", moved.display()));
        }
        let Some(store) = &self.store else {
            print::line("nothing was written");
            return;
        };
        let hosts = match self.hosts {
            Some(hosts) => format!("{hosts} hosts have"),
            None => "every host in the snapshot has".to_owned(),
        };
        print::line(&format!("store {} is made; start it: evenkeel up{}", store.0, context.hint()));
        print::line(&format!(
            "it goes on when {hosts} shown what it keeps; `evenkeel doctor` says who is missing. Agents \
             elsewhere need the new token."
        ));
    }
}
