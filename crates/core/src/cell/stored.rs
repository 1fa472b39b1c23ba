//! The form a service's row is stored in: everything side by side, whatever it lies behind in memory.
//!
//! Written by hand beside [`rows::Service`], so that the row can be laid out as memory has it and the bytes
//! stay what they are.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::backups::rows::Archive;
use super::compact::Few;
use super::rows::{Extra, Findings, Member, Offer, People, Secret, Service, Upkeep};
use crate::alert::IncidentId;
use crate::decide::Run;
use crate::id::{ServiceId, Term};
use crate::label::Label;
use crate::name::ServiceName;
use crate::operation::Operation;
use crate::promise::Promise;
use crate::service::{Health, Phase};
use crate::time::Time;

#[derive(Serialize)]
struct Written<'a> {
    id: ServiceId,
    name: &'a ServiceName,
    kind: &'a str,
    plan: &'a str,
    phase: Phase,
    health: Health,
    open: bool,
    endpoint_port: u16,
    pooled_port: u16,
    since: Time,
    term: Term,
    #[serde(skip_serializing_if = "Option::is_none")]
    promise: Option<&'a Promise>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    failed_over: bool,
    members: &'a [Member],
    #[serde(serialize_with = "crate::hex::serialize")]
    secret: &'a Secret,
    operation: Option<&'a Operation>,
    runs: Option<&'a [Run]>,
    paged: bool,
    #[serde(skip_serializing_if = "IncidentId::is_none")]
    incident: IncidentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<&'a Archive>,
    #[serde(skip_serializing_if = "Option::is_none")]
    people: Option<&'a People>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upkeep: Option<&'a Upkeep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<&'a Findings>,
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            id: self.id,
            name: &self.name,
            kind: self.offer.kind.as_str(),
            plan: self.offer.plan.as_str(),
            phase: self.phase,
            health: self.health,
            open: self.open,
            endpoint_port: self.endpoint_port,
            pooled_port: self.pooled_port,
            since: self.since,
            term: self.term,
            promise: self.promise.as_deref(),
            failed_over: self.failed_over,
            members: &self.members,
            secret: &self.secret,
            operation: self.operation.as_deref(),
            runs: Some(self.runs()).filter(|runs| !runs.is_empty()),
            paged: self.paged,
            incident: self.incident,
            archive: self.archive.as_deref(),
            people: self.people(),
            upkeep: self.upkeep(),
            findings: Some(&self.findings).filter(|findings| !findings.is_empty()),
        };
        written.serialize(to)
    }
}

#[derive(Deserialize)]
struct Read {
    id: ServiceId,
    name: ServiceName,
    kind: Label,
    plan: Label,
    phase: Phase,
    health: Health,
    open: bool,
    endpoint_port: u16,
    #[serde(default)]
    pooled_port: u16,
    since: Time,
    term: Term,
    #[serde(default)]
    promise: Option<Box<Promise>>,
    #[serde(default)]
    failed_over: bool,
    members: SmallVec<[Member; 1]>,
    #[serde(deserialize_with = "crate::hex::deserialize")]
    secret: Secret,
    operation: Option<Box<Operation>>,
    runs: Option<Box<[Run]>>,
    paged: bool,
    #[serde(default)]
    incident: IncidentId,
    #[serde(default)]
    archive: Option<Box<Archive>>,
    #[serde(default)]
    people: Option<Box<People>>,
    #[serde(default)]
    upkeep: Option<Box<Upkeep>>,
    #[serde(default)]
    findings: Option<Findings>,
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let read = Read::deserialize(from)?;
        let mut few = Few::default();
        if read.runs.is_some() || read.people.is_some() || read.upkeep.is_some() {
            let (people, upkeep) = (read.people, read.upkeep);
            let runs = read.runs.unwrap_or_default();
            few.change(|few| *few = Extra { runs, people, upkeep });
        }
        Ok(Self {
            id: read.id,
            name: read.name,
            offer: Arc::new(Offer { kind: read.kind, plan: read.plan }),
            phase: read.phase,
            health: read.health,
            open: read.open,
            endpoint_port: read.endpoint_port,
            pooled_port: read.pooled_port,
            since: read.since,
            term: read.term,
            promise: read.promise,
            failed_over: read.failed_over,
            members: read.members,
            secret: read.secret,
            operation: read.operation,
            paged: read.paged,
            incident: read.incident,
            archive: read.archive,
            few,
            findings: read.findings.unwrap_or_default(),
        })
    }
}
