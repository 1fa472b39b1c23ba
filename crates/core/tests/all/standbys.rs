//! Whom commits wait for, while standbys come and go and primaries start.

use evenkeel_core::goal::Role;
use evenkeel_core::member::State;
use evenkeel_core::time::Span;

use crate::world::World;

/// A service of two, and the agents of its primary and its standby.
fn pair() -> (World, usize, usize) {
    let mut world = World::new(3);
    world.create_as("pay", Some("pair")).expect("accepted");
    world.pass(Span::secs(10));
    let members = world.service().expect("it is there").members;
    let at = |n: usize| world.agents.iter().position(|agent| agent.name == members[n].host);
    let (primary, standby) = (at(0).expect("a host"), at(1).expect("a host"));
    assert_eq!(acks(&world, primary), 1);
    (world, primary, standby)
}

/// How many commits wait for, by the newest goal of the primary.
fn acks(world: &World, primary: usize) -> u8 {
    let goal = world.agents[primary].goals.values().next().expect("it leads");
    let Role::Primary { set, .. } = &goal.role else { panic!("{:?}", goal.role) };
    set.acks()
}

/// An agent's member is down, and stays so.
fn down(world: &mut World, at: usize, state: State) {
    world.agents[at].works = false;
    world.report_all(at, |member| {
        (member.state, member.write_proven, member.replication) = (state, false, None);
    });
}

/// It is back.
fn back(world: &mut World, at: usize) {
    world.agents[at].works = true;
    world.obey(at);
    world.turn();
}

#[test]
fn a_standby_that_dies_again_and_again_is_counted_on_later_each_time() {
    let (mut world, primary, standby) = pair();
    // It has to follow for so many seconds before it is counted on again.
    for wait in [0, 10, 20, 30, 30] {
        down(&mut world, standby, State::Failed);
        world.pass(Span::secs(5));
        assert_eq!(acks(&world, primary), 0, "commits are let go");
        back(&mut world, standby);
        if wait > 0 {
            world.pass(Span::secs(wait - 1));
            assert_eq!(acks(&world, primary), 0, "not before {wait} s");
        }
        world.pass(Span::secs(2));
        assert_eq!(acks(&world, primary), 1, "after {wait} s");
    }
    // What was long ago is forgotten.
    world.pass(Span::mins(61));
    down(&mut world, standby, State::Failed);
    world.pass(Span::secs(5));
    back(&mut world, standby);
    world.pass(Span::secs(2));
    assert_eq!(acks(&world, primary), 1);
}

#[test]
fn a_primary_that_starts_keeps_those_who_could_take_its_place() {
    let (mut world, primary, standby) = pair();
    down(&mut world, primary, State::Recovering);
    world.pass(Span::secs(20));
    assert!(!world.said("pay: relax"), "its standby answers");
    assert_eq!(acks(&world, primary), 1);
    // A standby that answers, and is not found by the one that starts, keeps nobody waiting for ever.
    world.pass(Span::secs(15));
    assert!(world.said("pay: wanted: commits wait for nobody"));
    // One that does not answer is waited for no longer than by a primary that serves.
    let (mut world, primary, _) = (pair().0, primary, standby);
    down(&mut world, standby, State::Failed);
    down(&mut world, primary, State::Recovering);
    world.pass(Span::secs(5));
    assert!(world.said("pay: wanted: commits wait for nobody"));
}

#[test]
fn to_let_go_counts_on_nobody_anew() {
    let (mut world, primary, standby) = pair();
    down(&mut world, standby, State::Failed);
    // Its agent hears the order and does nothing yet; meanwhile the standby is back.
    world.agents[primary].works = false;
    world.pass(Span::secs(4));
    assert!(world.said("pay: wanted: commits wait for nobody"));
    back(&mut world, standby);
    world.pass(Span::secs(15));
    let restored = |world: &World| world.said("pay: wanted: commits wait for any 1 of");
    let before = world.journal.len();
    back(&mut world, primary);
    world.turn();
    assert!(restored(&world));
    let since = &world.journal[before..];
    let ended = since.iter().position(|line| line.contains("relax") && line.contains(" done in"));
    let restores = since.iter().position(|line| line.contains("wanted: commits wait for any"));
    assert!(ended.is_some() && ended < restores, "{since:#?}");
}

#[test]
fn a_standby_whose_agent_begins_anew_is_counted_on_by_its_primarys_word() {
    // Its agent is gone, and its host was there to end the stream: its server is seen by the primary.
    let (mut world, primary, standby) = pair();
    world.kill_agent(standby);
    world.pass(Span::secs(25));
    assert!(!world.said("pay: relax"), "{:#?}", world.journal);
    world.agents[standby].alive = true;
    world.dial();
    world.pass(Span::secs(60));
    assert!(!world.said("pay: relax"), "{:#?}", world.journal);
    assert_eq!(acks(&world, primary), 1);
    // One that stays away is not counted on for ever.
    world.kill_agent(standby);
    world.pass(Span::secs(29));
    assert_eq!(acks(&world, primary), 1);
    world.pass(Span::secs(6));
    assert_eq!(acks(&world, primary), 0);

    // Its server went with it, and the primary says so.
    let (mut world, primary, standby) = pair();
    world.kill_agent(standby);
    world.agents[primary].feeds = (false, 0);
    world.obey(primary);
    world.pass(Span::secs(6));
    assert_eq!(acks(&world, primary), 0);

    // Nobody was there to end the stream.
    let (mut world, primary, standby) = pair();
    world.agents[standby].alive = false;
    world.pass(Span::secs(9));
    assert_eq!(acks(&world, primary), 0);
    // That its stream is ended by the controller then is no news of its host.
    world.kill_agent(standby);
    world.report_all(primary, |_| {});
    world.pass(Span::secs(20));
    assert_eq!(acks(&world, primary), 0);
}

#[test]
fn nobody_is_counted_on_anew_by_its_primarys_word_alone() {
    let (mut world, primary, standby) = pair();
    for wait in [2, 0] {
        down(&mut world, standby, State::Failed);
        world.pass(Span::secs(5));
        back(&mut world, standby);
        world.pass(Span::secs(wait));
    }
    assert_eq!(acks(&world, primary), 0, "it has to follow for ten seconds now");
    world.kill_agent(standby);
    world.report_all(primary, |_| {});
    world.pass(Span::secs(20));
    assert_eq!(acks(&world, primary), 0);
}
