//! A store's first rows when it comes after another: from an older copy's, or from nothing.

use serde::{Deserialize, Serialize};

use super::super::incidents::{self, alerts};
use super::super::load::Error;
use super::super::rows as stored;
use super::rows::Recovery;
use crate::backup::lineage::Repository;
use crate::goal::StoreId;
use crate::id::{HostId, OperationId};
use crate::journal::{Entry, Topic};
use crate::row::{Key, Table, Write, Writes, decode, encode};
use crate::service::{Phase, State, shown};
use crate::time::{Span, Time};

/// No cell began before 2020: what was counted since is less than its seconds, as a cell begins fewer than
/// one operation or job in a second.
const FIRST: Time = Time(1_577_836_800_000);

/// What a store is made anew from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The rows of its copy; none: everything is what its hosts show.
    pub rows: &'a [(Key, Vec<u8>)],
    /// The stores that it succeeds.
    pub succeeds: &'a [StoreId],
    /// Whether hosts may name others.
    pub open: bool,
    /// How many hosts there are, where it is known better than by the rows.
    pub hosts: Option<u32>,
    /// The moment, by the machine's clock.
    pub now: Time,
}

/// A service in a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundService {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its plan.
    pub plan: String,
    /// Its state then.
    pub state: State,
    /// Its members' hosts.
    pub hosts: Vec<String>,
}

/// What was found in a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Until when it tells.
    pub as_of: Time,
    /// Its sequence.
    pub sequence: u64,
    /// The stores that it succeeded itself.
    pub succeeds: Vec<StoreId>,
    /// Where archives go. Never printed: credentials are among it.
    #[serde(skip)]
    pub repositories: Vec<Repository>,
    /// Services.
    pub services: Vec<FoundService>,
    /// Hosts.
    pub hosts: Vec<String>,
}

/// The writes that make a copy's rows those of its successor, and what is in them.
///
/// # Errors
/// The first row that cannot be read.
pub fn begin(source: &Source<'_>) -> Result<(Writes, Found), Error> {
    let (mut cell, hosts, services) = read(source.rows)?;
    let found = found(&cell, &hosts, &services);
    let as_of = cell.clock;
    let from = if source.rows.is_empty() { FIRST } else { as_of };
    let ahead = u32::try_from(source.now.since(from).0 / Span::secs(1).0).unwrap_or(u32::MAX);
    cell.jobs = cell.jobs.saturating_add(ahead);
    cell.operations = OperationId(cell.operations.0.saturating_add(u64::from(ahead)));
    (cell.sequence, cell.clock) = (cell.sequence + 1, as_of.max(source.now));
    let of_before = cell.recovery.take().map_or_else(Vec::new, |before| before.succeeds);
    let mut succeeds = source.succeeds.to_vec();
    succeeds.extend(of_before.into_iter().filter(|store| !source.succeeds.contains(store)));
    let (open, hosts_wanted) = (source.open, source.hosts);
    cell.recovery = Some(Box::new(Recovery { succeeds, open, hosts: hosts_wanted, done: false }));
    let mut rows =
        vec![Write { key: Key { table: Table::Cell, id: 0 }, body: Some(encode(&cell)) }];
    for mut service in services {
        // Archives stay where they are: under the name of the store that began them.
        if let (Some(archive), Some(store)) = (service.archive.as_mut(), source.succeeds.first()) {
            archive.home.get_or_insert_with(|| store.clone());
        }
        if let Some(promise) = service.promise.as_mut() {
            promise.unknown = true;
        }
        let key = Key { table: Table::Service, id: u64::from(service.id.0) };
        rows.push(Write { key, body: Some(encode(&service)) });
    }
    rows.extend(alerts_ahead(source.rows, ahead)?);
    let text = match source.rows.is_empty() {
        true => "this store was made anew: what is on its hosts is what there is".to_owned(),
        false => format!("this store was made from a copy with {} services", found.services.len()),
    };
    let entry = Entry {
        at: cell.clock,
        topic: Topic::Fleet,
        subject: "fleet".to_owned(),
        text,
        evidence: source.succeeds.iter().map(|store| format!("succeeds {}", store.0)).collect(),
    };
    Ok((Writes { rows, journal: vec![entry] }, found))
}

/// What is in a store.
///
/// # Errors
/// The first row that cannot be read.
pub fn look(rows: &[(Key, Vec<u8>)]) -> Result<Found, Error> {
    let (cell, hosts, services) = read(rows)?;
    Ok(found(&cell, &hosts, &services))
}

type Rows = (stored::Cell, Vec<stored::Host>, Vec<stored::Service>);

fn read(rows: &[(Key, Vec<u8>)]) -> Result<Rows, Error> {
    let bad = |key: Key| move |source| Error::Row { key, source };
    let (mut cell, mut hosts, mut services) = (stored::Cell::default(), Vec::new(), Vec::new());
    for (key, body) in rows {
        match key.table {
            Table::Cell => cell = decode(body).map_err(bad(*key))?,
            Table::Host => hosts.push(decode(body).map_err(bad(*key))?),
            Table::Service => services.push(decode(body).map_err(bad(*key))?),
            // What other rooms keep is theirs to read.
            Table::Toil => {}
            // What was done stays as it is; what was under way ends by itself.
            Table::Act => {}
            // They stay as they are in the copy; see `alerts_ahead`.
            Table::Incident => {}
        }
    }
    Ok((cell, hosts, services))
}

/// The chain's row, with numbers that were not drawn since the copy: an incident's number means the same
/// trouble to every channel for ever. There was one incident a minute at most.
fn alerts_ahead(rows: &[(Key, Vec<u8>)], seconds: u32) -> Result<Option<Write>, Error> {
    let Some((key, body)) = rows.iter().find(|(key, _)| *key == alerts::CHAIN) else {
        return Ok(None);
    };
    let row = decode(body).map_err(|source| Error::Row { key: *key, source })?;
    let mut row: incidents::rows::Alerts = row;
    row.incidents.0 = row.incidents.0.saturating_add(seconds / 60 + 1);
    row.deliveries = row.deliveries.saturating_add(u64::from(seconds));
    Ok(Some(Write { key: *key, body: Some(encode(&row)) }))
}

fn found(cell: &stored::Cell, hosts: &[stored::Host], services: &[stored::Service]) -> Found {
    let name = |id: HostId| {
        let host = hosts.iter().find(|host| host.id == id);
        host.map_or_else(|| id.to_string(), |host| host.name.clone())
    };
    let service = |row: &stored::Service| FoundService {
        name: row.name.as_str().to_owned(),
        kind: row.offer.kind.to_string(),
        plan: row.offer.plan.to_string(),
        state: shown(row.phase, row.health),
        hosts: row.members.iter().map(|member| name(member.host)).collect(),
    };
    let there = services.iter().filter(|row| row.phase != Phase::Terminated);
    let mut services: Vec<FoundService> = there.map(service).collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    Found {
        as_of: cell.clock,
        sequence: cell.sequence,
        succeeds: cell.recovery.as_ref().map_or_else(Vec::new, |r| r.succeeds.clone()),
        repositories: cell.repositories.clone(),
        services,
        hosts: hosts.iter().map(|host| host.name.clone()).collect(),
    }
}
