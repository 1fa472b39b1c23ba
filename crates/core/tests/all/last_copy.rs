//! A last copy is never deleted: members go only by a last proof that holds at that moment.

use evenkeel_core::backup::engine::Engine;
use evenkeel_core::backup::lineage::{Location, Repository, Target};
use evenkeel_core::backup::retention::Keep;
use evenkeel_core::backup::schedule::Schedule;
use evenkeel_core::goal::{Password, Want};
use evenkeel_core::member;
use evenkeel_core::order::{Error, Keys, Order};
use evenkeel_core::policy::Policy;
use evenkeel_core::service::State;
use evenkeel_core::time::Span;

use crate::world::World;

/// The primary's agent, and its standby's.
const PRIMARY: usize = 0;
const STANDBY: usize = 1;
/// The agent of the one host without members.
const EMPTY: usize = 2;

/// Adds a repository.
pub fn repository(name: &str) -> Order {
    let location = Location::Directory { path: format!("/mnt/{name}") };
    Order::AddRepository { repository: Repository { name: name.to_owned(), location } }
}

fn removal(name: &str) -> Order {
    Order::RemoveRepository { name: name.to_owned(), confirm: name.to_owned() }
}

fn archive() -> Order {
    Order::Archive { name: "orders".to_owned() }
}

/// Keys of an archive.
pub fn keys() -> Keys {
    Keys { key: Password("k".to_owned()), wrapped: "w".to_owned(), engine: Engine::Native }
}

/// A service with a standby that serves.
fn serving() -> World {
    let mut world = World::new(3);
    serve(&mut world);
    world
}

fn serve(world: &mut World) {
    world.order(repository("north")).expect("accepted");
    let order = Order::Create {
        name: "orders".to_owned(),
        kind: "toy".to_owned(),
        plan: Some("kept".to_owned()),
        secret: Vec::new(),
        keys: Some(keys()),
    };
    world.order(order).expect("accepted");
    world.pass(Span::secs(10));
    assert_eq!(world.home(), PRIMARY);
}

fn backup() -> Order {
    Order::Backup { name: "orders".to_owned(), keys: keys() }
}

/// A retired service with a standby and a backup.
fn retired() -> World {
    let mut world = serving();
    world.order(backup()).expect("accepted");
    world.order(Order::Retire { name: "orders".to_owned() }).expect("accepted");
    world.pass(Span::secs(2));
    assert_eq!(world.state(), State::Retired, "{:#?}", world.journal);
    world
}

/// What a host's disk has of the service.
fn disk(world: &World, at: usize) -> Vec<member::State> {
    world.agents[at].members.values().map(|member| member.state).collect()
}

/// Whether an agent was told to remove what it has, and was not told otherwise since.
fn goes(world: &World, at: usize) -> bool {
    world.agents[at].goals.values().any(|goal| goal.want == Want::Removed)
}

fn comes_back(world: &mut World, at: usize) {
    (world.agents[at].alive, world.agents[at].dies_of) = (true, None);
    world.dial();
    world.turn();
}

#[test]
fn a_backup_that_is_under_way_is_the_one_that_is_asked_for() {
    let mut world = serving();
    world.agents.iter_mut().for_each(|agent| agent.jobs = None);
    let first = world.order(backup()).expect("accepted");
    let again = world.order(backup()).expect("accepted");
    assert!(first.job.is_some() && again.job == first.job, "{again:?}");
    assert!(again.text.contains("under way already"), "{}", again.text);
    let proof = world.order(Order::Prove { name: "orders".to_owned() });
    assert!(matches!(proof, Err(Error::JobRunning { .. })), "{proof:?}");
}

#[test]
fn a_restore_knows_that_its_sources_log_is_whole_as_soon_as_that_is_heard() {
    let mut world = serving();
    world.order(backup()).expect("accepted");
    world.agents.iter_mut().for_each(|agent| agent.flushes = false);
    // Its server has not come up yet.
    world.agents[EMPTY].works = false;
    let order = Order::Fork {
        source: "orders".to_owned(),
        name: "copy".to_owned(),
        target: Target::Latest,
        secret: Vec::new(),
        keys: keys(),
    };
    world.order(order).expect("accepted");
    world.turn();
    let covered = |world: &World| {
        let goals = world.agents[EMPTY].goals.values();
        goals.filter_map(|goal| goal.seed.as_ref()).map(|seed| seed.covered).next()
    };
    assert_eq!(covered(&world), Some(false), "{:#?}", world.journal);
    world.agents[PRIMARY].flushes = true;
    world.obey(PRIMARY);
    world.turn();
    assert_eq!(covered(&world), Some(true), "{:#?}", world.journal);
}

#[test]
fn what_takes_anothers_place_is_available_where_that_one_was() {
    let mut world = serving();
    world.order(backup()).expect("accepted");
    let before = world.service().expect("it is there");
    let (name, target) = ("orders".to_owned(), Target::Latest);
    world.order(Order::Rollback { name, target, keys: keys() }).expect("accepted");
    world.pass(Span::secs(10));
    // That an endpoint is open as soon as its service is available is seen to in every turn.
    let after = world.cell.service("orders", world.now).expect("it is there");
    assert_eq!(after.state, State::Available, "{:#?}", world.journal);
    assert_ne!(after.id, before.id);
    assert_eq!(after.endpoint_port, before.endpoint_port);
    assert_eq!(world.routes[&after.id].port, before.endpoint_port);
    assert!(world.said("\"take its source's place, if it should\" done"), "{:#?}", world.journal);
}

#[test]
fn a_proof_that_holds_lets_every_member_go() {
    let mut world = retired();
    world.order(archive()).expect("accepted");
    assert_eq!(world.state(), State::Archived, "{:#?}", world.journal);
}

#[test]
fn the_primary_goes_last() {
    let mut world = retired();
    world.agents[STANDBY].dies_of = Some(Want::Removed);
    world.order(archive()).expect("accepted");
    assert!(!goes(&world, PRIMARY));
    assert_eq!(disk(&world, PRIMARY), [member::State::Sealed]);
}

#[test]
fn what_a_host_comes_back_with_is_not_removed_by_a_proof_from_before() {
    for away in [PRIMARY, STANDBY] {
        for restarts in [false, true] {
            let mut world = retired();
            world.agents[away].dies_of = Some(Want::Removed);
            world.order(archive()).expect("accepted");
            assert_ne!(world.state(), State::Archived);
            if restarts {
                world.restart_controller();
            }
            world.kill_agent(away);
            assert!(world.service().expect("it is there").operation.is_none());
            world.agents.iter_mut().for_each(|agent| agent.jobs = Some(Err("lost".to_owned())));
            comes_back(&mut world, away);
            world.pass(Span::mins(10));
            assert_eq!(world.state(), State::Retired, "{:#?}", world.journal);
            assert_eq!(disk(&world, PRIMARY), [member::State::Sealed]);
            assert!(!goes(&world, PRIMARY));
            // The disk that is left is its way back.
            let order = Order::Revive { name: "orders".to_owned(), keys: None };
            world.order(order).expect("accepted");
            world.pass(Span::mins(10));
            assert_eq!(world.state(), State::Available, "{:#?}", world.journal);
            let members = world.service().expect("it is there").members;
            assert!(members.iter().any(|member| member.state == Some(member::State::Following)));
            // And when the archive is whole again, a new proof lets all of it go.
            world.agents.iter_mut().for_each(|agent| agent.jobs = Some(Ok(())));
            world.order(Order::Retire { name: "orders".to_owned() }).expect("accepted");
            world.pass(Span::secs(2));
            world.order(archive()).expect("accepted");
            world.pass(Span::mins(1));
            assert_eq!(world.state(), State::Archived, "{:#?}", world.journal);
        }
    }
}

#[test]
fn a_host_that_stays_away_costs_no_proof_after_another() {
    let mut world = retired();
    world.kill_agent(STANDBY);
    world.pass(Span::secs(10));
    world.order(archive()).expect("accepted");
    world.pass(Span::mins(30));
    let proofs = world.journal.iter().filter(|line| line.contains("last proof")).count();
    assert_eq!((world.state(), proofs), (State::Retired, 0), "{:#?}", world.journal);
    comes_back(&mut world, STANDBY);
    world.pass(Span::secs(10));
    assert_eq!(world.state(), State::Archived, "{:#?}", world.journal);
}

#[test]
fn a_proof_from_a_repository_that_was_removed_meanwhile_removes_nothing() {
    let mut world = retired();
    world.order(repository("south")).expect("accepted");
    world.agents.iter_mut().for_each(|agent| agent.jobs = None);
    world.order(archive()).expect("accepted");
    world.order(removal("north")).expect("accepted");
    // The proof that was under way is good, and is of what is gone.
    world.agents.iter_mut().for_each(|agent| agent.jobs = Some(Ok(())));
    (0..world.agents.len()).for_each(|at| world.obey(at));
    world.agents.iter_mut().for_each(|agent| agent.jobs = None);
    world.turn();
    assert_eq!(world.state(), State::Retired, "{:#?}", world.journal);
    assert!(!goes(&world, STANDBY) && !goes(&world, PRIMARY));
}

#[test]
fn a_repository_that_is_removed_while_members_go_keeps_the_rest() {
    let mut world = retired();
    world.order(repository("south")).expect("accepted");
    world.agents[STANDBY].dies_of = Some(Want::Removed);
    world.order(archive()).expect("accepted");
    world.order(removal("north")).expect("accepted");
    comes_back(&mut world, STANDBY);
    world.agents.iter_mut().for_each(|agent| agent.jobs = Some(Err("not there".to_owned())));
    world.pass(Span::mins(10));
    assert_eq!(world.state(), State::Retired, "{:#?}", world.journal);
    assert_eq!(disk(&world, PRIMARY), [member::State::Sealed]);
    assert!(!goes(&world, PRIMARY));
}

#[test]
fn a_proof_whose_end_was_told_late_is_taken_again() {
    let mut world = retired();
    world.agents.iter_mut().for_each(|agent| agent.jobs = None);
    world.order(archive()).expect("accepted");
    world.kill_agent(PRIMARY);
    world.pass(Span::mins(60));
    // It ended an hour ago, for all that is known.
    world.agents[PRIMARY].jobs = Some(Ok(()));
    world.agents[STANDBY].dies_of = Some(Want::Removed);
    (0..world.agents.len()).for_each(|at| world.obey(at));
    comes_back(&mut world, PRIMARY);
    world.pass(Span::mins(1));
    let of = |text: &str| world.journal.iter().filter(|line| line.contains(text)).count();
    assert!(of("told late") > 0 && of("last proof b3 begins") > 0, "{:#?}", world.journal);
}

#[test]
fn a_removal_that_never_works_is_given_up_and_proofs_grow_rare() {
    let mut world = retired();
    world.agents[STANDBY].works = false;
    world.order(archive()).expect("accepted");
    world.pass(Span::mins(60));
    let proofs = world.journal.iter().filter(|line| line.contains("last proof")).count();
    assert!(proofs < 24, "{proofs} lines");
    assert_eq!(disk(&world, PRIMARY), [member::State::Sealed]);
    world.agents[STANDBY].works = true;
    world.obey(STANDBY);
    world.pass(Span::mins(60));
    assert_eq!(world.state(), State::Archived, "{:#?}", world.journal);
}

#[test]
fn what_cannot_be_tidied_up_keeps_no_backup_and_no_proof_waiting() {
    let hour = Span::mins(60);
    let policy = Policy {
        backup: Schedule { every: hour, ..Policy::default().backup },
        backup_keep: Some(Keep { count: 1, window: Span(0) }),
        prove_every: hour.times(3),
        ..Policy::default()
    };
    let mut world = World::with(3, policy);
    serve(&mut world);
    world.agents.iter_mut().for_each(|agent| agent.expires = false);
    world.pass(hour.times(12));
    let begun = |world: &World, what: &str| {
        world.journal.iter().filter(|line| line.contains(what) && line.contains("begins")).count()
    };
    assert!(begun(&world, "expiry") > 0, "{:#?}", world.journal);
    assert!(begun(&world, "backup b") >= 11, "{:#?}", world.journal);
    assert!(begun(&world, "proof b") >= 3, "{:#?}", world.journal);
    // It is done as soon as it can be.
    world.agents.iter_mut().for_each(|agent| agent.expires = true);
    world.pass(hour.times(2));
    let page = world.cell.backups("orders").expect("there");
    assert!(page.len() <= 3, "{page:#?}");
}
