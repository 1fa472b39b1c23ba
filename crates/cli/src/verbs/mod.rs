//! The verbs. A new one is a file and a line in [`Verb`].

mod agent;
mod alert;
mod backup;
mod bench;
mod breakglass;
mod check;
mod completions;
mod connect;
mod controller;
mod create;
mod demo;
mod diagnose;
mod doctor;
mod down;
mod drill;
mod explain;
mod findings;
mod fork;
mod gateway;
mod handover;
mod host;
mod import;
mod incident;
mod journal;
pub mod key;
mod kind;
mod list;
mod maintenance;
mod operate;
mod procedure;
mod recover;
mod remedy;
mod replay;
pub mod repository;
mod show;
mod sim;
mod store;
mod terminate;
mod toil;
mod up;
mod url;
mod wait;
mod watch;

use clap::Subcommand;

use crate::failure::Failure;
use crate::find::Context;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Up(up::Up),
    Down(down::Down),
    Create(create::Create),
    List(list::List),
    Show(show::Show),
    Explain(explain::Explain),
    Diagnose(diagnose::Diagnose),
    Findings(findings::Findings),
    Check(check::Check),
    Connect(connect::Connect),
    Url(url::Url),
    Switchover(handover::Switchover),
    Failover(handover::Failover),
    Drill(drill::Drill),
    Restart(operate::Restart),
    Retire(operate::Retire),
    Revive(operate::Revive),
    Archive(operate::Archive),
    Terminate(terminate::Terminate),
    Backup(backup::Backup),
    Prove(backup::Prove),
    Fork(fork::Fork),
    Rollback(fork::Rollback),
    Import(import::Import),
    Repository(repository::Repository),
    Remedy(remedy::Remedy),
    Approve(remedy::Approve),
    Pin(remedy::Pin),
    Brake(remedy::Brake),
    Posture(remedy::Posture),
    Procedure(procedure::Procedure),
    Breakglass(breakglass::Breakglass),
    Host(host::Host),
    Incident(incident::Incident),
    Alert(alert::Alert),
    Watch(watch::Watch),
    Kind(kind::Kind),
    Journal(journal::Journal),
    Key(key::Key),
    Recover(recover::Recover),
    Maintenance(maintenance::Maintenance),
    Toil(toil::Toil),
    Doctor(doctor::Doctor),
    Replay(replay::Replay),
    Store(store::Store),
    Demo(demo::Demo),
    Sim(sim::Sim),
    Bench(bench::Bench),
    Controller(controller::Controller),
    Agent(agent::Agent),
    Gateway(gateway::Gateway),
    Completions(completions::Completions),
}

impl Verb {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Up(verb) => verb.run(context),
            Self::Down(verb) => verb.run(context),
            Self::Create(verb) => verb.run(context),
            Self::List(verb) => verb.run(context),
            Self::Show(verb) => verb.run(context),
            Self::Explain(verb) => verb.run(context),
            Self::Diagnose(verb) => verb.run(context),
            Self::Findings(verb) => verb.run(context),
            Self::Check(verb) => verb.run(context),
            Self::Connect(verb) => verb.run(context),
            Self::Url(verb) => verb.run(context),
            Self::Switchover(verb) => verb.run(context),
            Self::Failover(verb) => verb.run(context),
            Self::Drill(verb) => verb.run(context),
            Self::Restart(verb) => verb.run(context),
            Self::Retire(verb) => verb.run(context),
            Self::Revive(verb) => verb.run(context),
            Self::Archive(verb) => verb.run(context),
            Self::Terminate(verb) => verb.run(context),
            Self::Backup(verb) => verb.run(context),
            Self::Prove(verb) => verb.run(context),
            Self::Fork(verb) => verb.run(context),
            Self::Rollback(verb) => verb.run(context),
            Self::Import(verb) => verb.run(context),
            Self::Repository(verb) => verb.run(context),
            Self::Remedy(verb) => verb.run(context),
            Self::Approve(verb) => verb.run(context),
            Self::Pin(verb) => verb.run(context),
            Self::Brake(verb) => verb.run(context),
            Self::Posture(verb) => verb.run(context),
            Self::Procedure(verb) => verb.run(context),
            Self::Breakglass(verb) => verb.run(context),
            Self::Host(verb) => verb.run(context),
            Self::Incident(verb) => verb.run(context),
            Self::Alert(verb) => verb.run(context),
            Self::Watch(verb) => verb.run(),
            Self::Kind(verb) => verb.run(context),
            Self::Journal(verb) => verb.run(context),
            Self::Key(verb) => verb.run(context),
            Self::Recover(verb) => verb.run(context),
            Self::Maintenance(verb) => verb.run(context),
            Self::Toil(verb) => verb.run(context),
            Self::Doctor(verb) => verb.run(context),
            Self::Replay(verb) => verb.run(context),
            Self::Store(verb) => verb.run(context),
            Self::Demo(verb) => verb.run(),
            Self::Sim(verb) => verb.run(context),
            Self::Bench(verb) => verb.run(context),
            Self::Controller(verb) => verb.run(context),
            Self::Agent(verb) => verb.run(),
            Self::Gateway(verb) => verb.run(),
            Self::Completions(verb) => verb.run(),
        }
    }
}
