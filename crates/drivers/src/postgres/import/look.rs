//! A look at a foreign server: what it has, what stands in the way of taking it over, and how to.
//!
//! The look asks as any client does, in transactions that cannot write, with time limits. It changes
//! nothing and leaves nothing.

use std::collections::BTreeSet;

use evenkeel_core::driver::Error;
use evenkeel_core::goal::{Goal, Password};
use evenkeel_core::import::{Chosen, Method, Source, TERM};
use serde::{Deserialize, Serialize};

use super::tools::Tools;
use crate::image::Image;

/// The oldest release whose catalogues the look reads, as `server_version_num`.
const OLDEST: u32 = 100_000;
/// Extensions that give their users files or programs of the host: owners here have neither.
pub const NEVER: [&str; 7] =
    ["adminpack", "file_fdw", "plperlu", "plpython2u", "plpython3u", "plpythonu", "pltclu"];
/// Databases that every service has for itself.
const RESERVED: [&str; 4] = ["postgres", "template0", "template1", "evenkeel"];
const LIMITS: &str = "SET statement_timeout = '30s'; SET lock_timeout = '5s'; \
    SET default_transaction_read_only = on; SET search_path = pg_catalog";

const QUESTION: &str = "SELECT json_build_object(
  'release', current_setting('server_version_num')::int,
  'version', current_setting('server_version'),
  'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  'replicates', (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user),
  'recovering', pg_is_in_recovery(),
  'size', pg_database_size(current_database()),
  'whole', (SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database
    WHERE has_database_privilege(oid, 'CONNECT')),
  'tablespaces', (SELECT coalesce(json_agg(spcname ORDER BY spcname), '[]') FROM pg_tablespace
    WHERE oid >= 16384),
  'extensions', (SELECT coalesce(json_agg(json_build_object('name', extname, 'schema', nspname,
    'version', extversion) ORDER BY extname), '[]')
    FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname <> 'plpgsql'),
  'databases', (SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database
    WHERE NOT datistemplate),
  'slots', (SELECT coalesce(json_agg(slot_name ORDER BY slot_name), '[]') FROM pg_replication_slots
    WHERE slot_type = 'logical'),
  'slots_used', (SELECT count(*) FROM pg_replication_slots),
  'slots_max', current_setting('max_replication_slots')::int,
  'senders_max', current_setting('max_wal_senders')::int,
  'senders_used', (SELECT count(*) FROM pg_stat_replication),
  'log', current_setting('wal_level'),
  'prepared', (SELECT count(*) FROM pg_prepared_xacts),
  'clashes', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM (
    SELECT 'role ' || rolname FROM pg_roles WHERE rolname ~ '^(evenkeel|ek_)'
    UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname = 'evenkeel') AS c (name)),
  'checksums', current_setting('data_checksums') = 'on',
  'segment', (SELECT setting::bigint * CASE unit WHEN '8kB' THEN 8192 ELSE 1 END FROM pg_settings
    WHERE name = 'wal_segment_size'),
  'encoding', (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()),
  'collate', (SELECT coalesce(to_json(d)->>'datcollate', 'C') FROM pg_database d
    WHERE datname = current_database()),
  'ctype', (SELECT coalesce(to_json(d)->>'datctype', 'C') FROM pg_database d
    WHERE datname = current_database()),
  'provider', (SELECT to_json(d)->>'datlocprovider' FROM pg_database d
    WHERE datname = current_database()),
  'icu', (SELECT coalesce(to_json(d)->>'daticulocale', to_json(d)->>'datlocale') FROM pg_database d
    WHERE datname = current_database()),
  'unreadable', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM (
    SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'S') AND n.nspname !~ '^pg_'
    AND n.nspname <> 'information_schema' AND NOT has_table_privilege(c.oid, 'SELECT')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
      AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1 LIMIT 5) AS u (name)))";

/// An extension of the source's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// The schema that it is in.
    pub schema: String,
    /// Its version.
    pub version: String,
}

/// What a source says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its release as a number: 150004.
    pub release: u32,
    /// The same for people.
    pub version: String,
    /// Whether the role is a superuser there.
    pub superuser: bool,
    /// Whether the role may replicate.
    pub replicates: bool,
    /// Whether it is a standby.
    pub recovering: bool,
    /// Bytes of the database.
    pub size: u64,
    /// Bytes of all databases that the role may connect to.
    pub whole: u64,
    /// Tablespaces that somebody made.
    pub tablespaces: Vec<String>,
    /// Extensions of the database.
    pub extensions: Vec<Extension>,
    /// Databases.
    pub databases: Vec<String>,
    /// Logical replication slots.
    pub slots: Vec<String>,
    /// Slots in use.
    pub slots_used: u32,
    /// Slots there may be.
    pub slots_max: u32,
    /// Most senders of its log.
    pub senders_max: u32,
    /// Those at work.
    pub senders_used: u32,
    /// How much its log tells: `wal_level`.
    pub log: String,
    /// Prepared transactions.
    pub prepared: u32,
    /// Roles and databases with names that Evenkeel uses.
    pub clashes: Vec<String>,
    /// Whether its pages have checksums.
    pub checksums: bool,
    /// Bytes of a segment of its log.
    pub segment: u64,
    /// The database's encoding.
    pub encoding: String,
    /// Its `LC_COLLATE`.
    pub collate: String,
    /// Its `LC_CTYPE`.
    pub ctype: String,
    /// Who orders its texts, where the release knows of several: `c`, `i` or `b`.
    pub provider: Option<String>,
    /// The locale, where that is ICU.
    pub icu: Option<String>,
    /// Some tables that the role may not read.
    pub unreadable: Vec<String>,
    /// The timeline of its log, where it sends the role its log.
    #[serde(default)]
    pub timeline: Option<u32>,
    /// Why it does not.
    #[serde(default)]
    pub unsent: String,
}

/// What stands in the way, and what would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// What.
    pub what: String,
    /// The fix.
    pub fix: String,
}

/// What a source would be imported to.
#[derive(Clone, Debug)]
pub struct Here {
    major: u32,
    host: String,
    /// Extensions of the software; `None` where that cannot be seen.
    extensions: Option<BTreeSet<String>>,
    owner: Option<String>,
}

impl Here {
    /// The software of a host, for a goal's service.
    pub fn of(image: &Image, host: &str, goal: &Goal) -> Result<Self, Error> {
        let owner = Some(goal.owner().to_owned());
        Ok(Self { owner, ..Self::software(image, host)? })
    }

    fn software(image: &Image, host: &str) -> Result<Self, Error> {
        let major = image.major()?;
        let (host, owner) = (host.to_owned(), None);
        Ok(Self { major, host, extensions: extensions(image, major), owner })
    }
}

/// Extensions beside a software's programs: by its own layout, or by Debian's.
fn extensions(image: &Image, major: u32) -> Option<BTreeSet<String>> {
    let plain = image.bin.parent().map(|root| root.join("share/extension"));
    let debian = image.bin.ancestors().nth(4);
    let debian = debian.map(|root| root.join(format!("share/postgresql/{major}/extension")));
    let found =
        [plain, debian].into_iter().flatten().find_map(|path| std::fs::read_dir(path).ok())?;
    let names = found.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.strip_suffix(".control").map(str::to_owned)
    });
    Some(names.collect())
}

/// What a look came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Of what, without a password.
    pub source: String,
    database: String,
    /// What the source says of itself.
    pub found: Found,
    /// What stands in the way of copying all of its server.
    pub base: Vec<Obstacle>,
    /// What stands in the way of reading its database.
    pub dump: Vec<Obstacle>,
    /// What a person should know, whichever it is.
    pub notes: Vec<String>,
    /// How it would be imported, and why.
    pub chosen: Option<Chosen>,
    /// Why it would not.
    pub refused: Option<String>,
}

/// Looks at a source with the programs of an image, from this very machine.
///
/// # Errors
/// [`Error`] when it is not reached, or lets the role not in.
pub fn look(
    image: &Image,
    source: &Source,
    password: Option<Password>,
    method: Method,
) -> Result<Look, Error> {
    let tools = Tools::new(image, source, password, std::path::Path::new("/"));
    let mut look = Look::take(&tools, &Here::software(image, "this host")?)?;
    look.settle(method);
    Ok(look)
}

impl Look {
    /// Looks.
    pub fn take(tools: &Tools, here: &Here) -> Result<Self, Error> {
        let unread =
            |why: String| Error::Failed(format!("{} is not understood: {why}", tools.source()));
        let release = tools.ask("", &[LIMITS, "SHOW server_version_num"])?;
        let release: u32 = release.trim().parse().map_err(|_| unread(release.trim().to_owned()))?;
        if release < OLDEST {
            let text = format!(
                "{} is of release {}.{}, and 10 is the oldest that is read; upgrade it first",
                tools.source(),
                release / 10_000,
                release / 100 % 100
            );
            return Err(Error::Failed(text));
        }
        let said = tools.ask("", &[LIMITS, QUESTION])?;
        let mut found: Found =
            serde_json::from_str(said.trim()).map_err(|error| unread(error.to_string()))?;
        if found.replicates {
            match timeline(tools) {
                Ok(timeline) => found.timeline = Some(timeline),
                Err(why) => found.unsent = why,
            }
        }
        Ok(Self::judge(tools.source(), found, here))
    }

    fn judge(source: &Source, found: Found, here: &Here) -> Self {
        let mut look = Self {
            source: source.to_string(),
            database: source.database.clone(),
            base: against_base(source, &found, here),
            dump: against_dump(source, &found, here),
            notes: notes(&found),
            chosen: None,
            refused: None,
            found,
        };
        look.settle(Method::Auto);
        look
    }

    fn settle(&mut self, wanted: Method) {
        let choice = self.choose(wanted).map_err(|error| error.to_string());
        (self.chosen, self.refused) = (choice.as_ref().ok().cloned(), choice.err());
    }

    /// The source's database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Whether the source has a slot free for as long as it is copied.
    pub const fn has_slot(&self) -> bool {
        self.found.slots_used < self.found.slots_max
    }

    /// How it is imported, and why.
    ///
    /// # Errors
    /// What stands in the way, with the fixes.
    pub fn choose(&self, wanted: Method) -> Result<Chosen, Error> {
        let other = |name: &&String| **name != self.database && !RESERVED.contains(&name.as_str());
        let others: Vec<&str> =
            self.found.databases.iter().filter(other).map(String::as_str).collect();
        let chosen = |method, why: String| Ok(Chosen { method, why });
        match wanted {
            Method::Base if self.base.is_empty() => {
                chosen(Method::Base, "it was asked for".to_owned())
            }
            Method::Dump if self.dump.is_empty() => {
                chosen(Method::Dump, "it was asked for".to_owned())
            }
            Method::Auto if self.base.is_empty() && others.is_empty() => chosen(
                Method::Base,
                "the release is the same, the role may replicate and the server has no other \
                 database: all of it is copied as it is"
                    .to_owned(),
            ),
            Method::Auto if self.dump.is_empty() => {
                let why = match self.base.first() {
                    Some(first) => format!("base is not possible: {}", first.what),
                    None => format!(
                        "base would bring the server's other databases too: {}",
                        others.join(", ")
                    ),
                };
                chosen(Method::Dump, why)
            }
            Method::Auto if self.base.is_empty() => {
                chosen(Method::Base, format!("dump is not possible: {}", self.dump[0].what))
            }
            method => Err(Error::Failed(self.refusal(method))),
        }
    }

    fn refusal(&self, method: Method) -> String {
        let told = |name: &str, obstacles: &[Obstacle]| {
            let one = |o: &Obstacle| format!("{} ({})", o.what, o.fix);
            format!("{name}: {}", obstacles.iter().map(one).collect::<Vec<_>>().join("; "))
        };
        let what = match method {
            Method::Base => told("base", &self.base),
            Method::Dump => told("dump", &self.dump),
            Method::Auto => {
                format!("{}. {}", told("base", &self.base), told("dump", &self.dump))
            }
        };
        format!("{} cannot be imported by {what}", self.source)
    }
}

/// The timeline of its log, by a connection as a copy would have it.
fn timeline(tools: &Tools) -> Result<u32, String> {
    // Of the same role, to no database.
    let said = tools.ask("replication=true", &["IDENTIFY_SYSTEM"]);
    let said = said.map_err(|error| error.to_string())?;
    let timeline = said.trim().split('|').nth(1).and_then(|number| number.parse().ok());
    timeline.ok_or_else(|| format!("it answers {:?} to a copy", said.trim()))
}

fn against_base(source: &Source, found: &Found, here: &Here) -> Vec<Obstacle> {
    let mut all = Vec::new();
    let mut add = |what: String, fix: &str| all.push(Obstacle { what, fix: fix.to_owned() });
    let (major, user) = (found.release / 10_000, &source.user);
    if major != here.major {
        add(
            format!(
                "the source is of release {major}, the software of {} of {}",
                here.host, here.major
            ),
            "use --method dump, or a host with that release",
        );
    }
    match found.timeline {
        _ if !found.replicates => add(
            format!("role {user} has no REPLICATION"),
            "ALTER ROLE ... REPLICATION at the source, or use --method dump",
        ),
        None => add(
            format!("the source sends role {user} no log: {}", found.unsent),
            "add `host replication ROLE ADDRESS scram-sha-256` to its pg_hba.conf, or use --method dump",
        ),
        Some(timeline) if timeline >= TERM.0 => add(
            format!("its log is on timeline {timeline}, and at most {} is taken", TERM.0 - 1),
            "use --method dump",
        ),
        Some(_) => {}
    }
    if found.recovering {
        add("the source is a standby".to_owned(), "name its primary, or use --method dump");
    }
    if !found.tablespaces.is_empty() {
        let names = found.tablespaces.join(", ");
        add(format!("the source has tablespaces: {names}"), "use --method dump, which needs none");
    }
    if found.prepared > 0 {
        let text = format!("the source has {} prepared transactions", found.prepared);
        add(text, "commit or roll them back there, or use --method dump");
    }
    if found.log == "minimal" || found.senders_used + 2 > found.senders_max {
        let text = format!(
            "the source has {} of {} senders of its log at work, and wal_level {}",
            found.senders_used, found.senders_max, found.log
        );
        add(
            text,
            "have two senders free (max_wal_senders) and wal_level replica, or use --method dump",
        );
    }
    all.extend(against_names(source, found, here));
    all.extend(missing(found, here));
    all
}

/// What a copy's names and extensions stand in the way of.
fn against_names(source: &Source, found: &Found, here: &Here) -> Vec<Obstacle> {
    let mut all = Vec::new();
    let database = &source.database;
    let mut add = |what: String, fix: &str| all.push(Obstacle { what, fix: fix.to_owned() });
    if !found.clashes.is_empty() {
        let text = format!("names at the source are Evenkeel's: {}", found.clashes.join(", "));
        add(text, "rename them there, or use --method dump");
    }
    if RESERVED.contains(&database.as_str()) {
        let text = format!("every service has a database {database} of its own already");
        add(text, "use --method dump, or rename the database at the source");
    }
    if let Some(owner) =
        here.owner.as_ref().filter(|o| *o != database && found.databases.contains(o))
    {
        add(
            format!("the source has another database {owner}, the service's name"),
            "choose another name for the service, or use --method dump",
        );
    }
    for extension in found.extensions.iter().filter(|e| NEVER.contains(&e.name.as_str())) {
        add(
            format!("extension {} reaches the host, as no owner may here", extension.name),
            "drop it at the source, or use --method dump, which leaves it out",
        );
    }
    all
}

fn against_dump(source: &Source, found: &Found, here: &Here) -> Vec<Obstacle> {
    let mut all = Vec::new();
    let major = found.release / 10_000;
    if major > here.major {
        let what = format!(
            "the source is of release {major}, the software of {} of {}",
            here.host, here.major
        );
        all.push(Obstacle {
            what,
            fix: "import on a host with that release or a later one".to_owned(),
        });
    }
    if !found.unreadable.is_empty() {
        let what =
            format!("role {} may not read all of it: {}", source.user, found.unreadable.join(", "));
        let fix = "GRANT pg_read_all_data (or SELECT on all of it) to the role at the source";
        all.push(Obstacle { what, fix: fix.to_owned() });
    }
    if found.provider.as_deref() == Some("b") {
        let what = "its database orders texts by a locale built into its release".to_owned();
        all.push(Obstacle { what, fix: "use --method base".to_owned() });
    }
    all.extend(missing(found, here));
    all
}

/// Extensions that the software here lacks.
fn missing(found: &Found, here: &Here) -> Vec<Obstacle> {
    let Some(known) = &here.extensions else { return Vec::new() };
    let lacks = |e: &&Extension| !known.contains(&e.name) && !NEVER.contains(&e.name.as_str());
    let obstacle = |e: &Extension| Obstacle {
        what: format!("the software of {} has no extension {}", here.host, e.name),
        fix: format!("install it there (release {}), or drop it at the source", here.major),
    };
    found.extensions.iter().filter(lacks).map(obstacle).collect()
}

fn notes(found: &Found) -> Vec<String> {
    let mut notes = Vec::new();
    if !found.slots.is_empty() {
        let names = found.slots.join(", ");
        notes.push(format!("logical replication slots are not copied: {names}"));
    }
    if !found.checksums {
        notes.push("its pages have no checksums; by base the copy has none either".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        Found {
            release: 150_004,
            version: "15.4".to_owned(),
            superuser: false,
            replicates: true,
            recovering: false,
            size: 1 << 20,
            whole: 1 << 21,
            tablespaces: Vec::new(),
            extensions: Vec::new(),
            databases: vec!["postgres".to_owned(), "shop".to_owned()],
            slots: Vec::new(),
            slots_used: 0,
            slots_max: 10,
            senders_max: 10,
            senders_used: 0,
            log: "replica".to_owned(),
            prepared: 0,
            clashes: Vec::new(),
            checksums: true,
            segment: 16 << 20,
            encoding: "UTF8".to_owned(),
            collate: "C.UTF-8".to_owned(),
            ctype: "C.UTF-8".to_owned(),
            provider: Some("c".to_owned()),
            icu: None,
            unreadable: Vec::new(),
            timeline: Some(1),
            unsent: String::new(),
        }
    }

    fn judged(change: impl FnOnce(&mut Found)) -> Look {
        let mut found = found();
        change(&mut found);
        let known = ["pgcrypto".to_owned()].into();
        let owner = Some("orders".to_owned());
        let here = Here { major: 15, host: "h1".to_owned(), extensions: Some(known), owner };
        let source = Source::parse("postgres://app@old/shop").unwrap();
        Look::judge(&source, found, &here)
    }

    fn extension(name: &str) -> Extension {
        let (schema, version) = ("public".to_owned(), "1.0".to_owned());
        Extension { name: name.to_owned(), schema, version }
    }

    /// What is done if nobody says how: by the source's state.
    #[test]
    fn the_first_method_that_is_possible_is_chosen_and_the_reason_told() {
        type Change = fn(&mut Found);
        let rows: &[(Change, Option<Method>, &str)] = &[
            (|_| {}, Some(Method::Base), "all of it is copied"),
            (|f| f.databases.push("b".to_owned()), Some(Method::Dump), "other databases too: b"),
            (|f| f.databases.push("orders".to_owned()), Some(Method::Dump), "the service's name"),
            (
                |f| f.release = 140_001,
                Some(Method::Dump),
                "of release 14, the software of h1 of 15",
            ),
            (|f| f.release = 160_001, None, "or a later one"),
            (|f| f.replicates = false, Some(Method::Dump), "app has no REPLICATION"),
            (|f| f.timeline = None, Some(Method::Dump), "sends role app no log"),
            (|f| f.timeline = Some(300), Some(Method::Dump), "timeline 300"),
            (|f| f.recovering = true, Some(Method::Dump), "a standby"),
            (|f| f.tablespaces.push("fast".to_owned()), Some(Method::Dump), "tablespaces: fast"),
            (|f| f.prepared = 2, Some(Method::Dump), "2 prepared transactions"),
            (|f| f.senders_used = 9, Some(Method::Dump), "9 of 10 senders"),
            (|f| f.log = "minimal".to_owned(), Some(Method::Dump), "wal_level minimal"),
            (|f| f.clashes.push("role ek_m1_1".to_owned()), Some(Method::Dump), "role ek_m1_1"),
            (|f| f.unreadable.push("t".to_owned()), Some(Method::Base), "all of it is copied"),
            (|f| f.extensions.push(extension("plpython3u")), Some(Method::Dump), "plpython3u"),
            (|f| f.extensions.push(extension("pgcrypto")), Some(Method::Base), "all of it"),
            (|f| f.extensions.push(extension("postgis")), None, "no extension postgis (install it"),
            (|f| f.provider = Some("b".to_owned()), Some(Method::Base), "all of it"),
        ];
        for (number, (change, method, words)) in rows.iter().enumerate() {
            let look = judged(change);
            let chosen = look.chosen.as_ref().map(|chosen| chosen.method);
            assert_eq!(chosen, *method, "row {number}: {look:#?}");
            let told = look.chosen.as_ref().map(|chosen| &chosen.why).or(look.refused.as_ref());
            assert!(told.is_some_and(|told| told.contains(words)), "row {number}: {told:?}");
        }
    }

    #[test]
    fn what_was_asked_for_and_is_not_possible_is_refused_with_the_fix() {
        let look = judged(|found| found.tablespaces.push("fast".to_owned()));
        let refused = look.choose(Method::Base).unwrap_err().to_string();
        assert!(refused.contains("tablespaces: fast (use --method dump"), "{refused}");
        assert_eq!(look.choose(Method::Dump).unwrap().method, Method::Dump);
        let look = judged(|found| found.unreadable.push("public.t".to_owned()));
        let refused = look.choose(Method::Dump).unwrap_err().to_string();
        assert!(refused.contains("public.t (GRANT pg_read_all_data"), "{refused}");
        assert!(look.has_slot() && !judged(|found| found.slots_used = 10).has_slot());
    }
}
