//! Acts as stories: procedures that run, people who go in by hand, and how each of them ends.

use std::collections::BTreeMap;

use evenkeel_core::act::{Act, State};
use evenkeel_core::order::{Error, Glass, Order};
use evenkeel_core::procedure::{Login, Manifest, Operation, Procedure, Step};
use evenkeel_core::row::Table;
use evenkeel_core::service::State as Shown;
use evenkeel_core::time::Span;

use crate::world::World;

/// A procedure whose script's text says what the modelled agent makes of it: `ok`, `fail` or `wait`.
fn procedure(name: &str, steps: Vec<Step>, scripts: &[(&str, &str)]) -> Procedure {
    let text = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    Procedure {
        manifest: Manifest {
            name: name.to_owned(),
            doc: "For tests.".to_owned(),
            kind: "toy".to_owned(),
            interpreter: vec!["/bin/sh".to_owned()],
            time_limit_seconds: 3600,
            role: Login::Check,
            disruptive: true,
            repeatable: false,
            dry_run: false,
            second_person: name == "grave",
            manual_minutes: 5,
            parameters: Vec::new(),
            steps,
        },
        scripts: scripts.iter().map(text).collect(),
        bundled: false,
    }
}

fn world() -> World {
    let mut world = World::new(2);
    world.create("orders").expect("accepted");
    let script = |name: &str| Step::Script(name.to_owned());
    let restart = || Step::Operation(Operation::Restart);
    world.cell.equip(vec![
        procedure("good", Vec::new(), &[("good", "ok")]),
        procedure("bad", Vec::new(), &[("bad", "fail")]),
        procedure("long", Vec::new(), &[("long", "wait")]),
        procedure("grave", Vec::new(), &[("grave", "ok")]),
        procedure("many", vec![restart(), script("a"), restart()], &[("a", "ok")]),
        procedure("stops", vec![script("a"), restart()], &[("a", "fail")]),
    ]);
    world
}

fn run(world: &mut World, procedure: &str) -> Result<Act, Error> {
    let accepted = world.order(Order::Procedure {
        name: "orders".to_owned(),
        procedure: procedure.to_owned(),
        member: None,
        parameters: BTreeMap::new(),
        dry_run: false,
    })?;
    Ok(act(world, accepted.job.expect("an act's number")))
}

fn glass(world: &mut World, procedure: &str, lasts: Span) -> Result<Act, Error> {
    let glass = Glass {
        service: "orders".to_owned(),
        person: "kim".to_owned(),
        reason: "it is stuck".to_owned(),
        lasts,
        shell: procedure == "psql",
        procedure: procedure.to_owned(),
        member: None,
        parameters: BTreeMap::new(),
        dry_run: false,
        second: None,
    };
    let accepted = world.order(Order::BreakGlass { glass: Box::new(glass) })?;
    Ok(act(world, accepted.job.expect("an act's number")))
}

fn act(world: &World, id: u32) -> Act {
    world.cell.act(id).expect("it is kept")
}

/// Whether the service's member has a script in its goal.
fn scripted(world: &World) -> bool {
    let goals = world.agents.iter().flat_map(|agent| agent.goals.values());
    goals.into_iter().any(|goal| goal.script.is_some())
}

#[test]
fn a_procedure_runs_once_and_what_it_said_is_kept() {
    let mut world = world();
    let done = run(&mut world, "good").expect("accepted");
    assert_eq!((done.state, done.entries.len()), (State::Done, 1));
    assert_eq!(done.entries[0].ok, Some(true));
    let ran = done.entries[0].ran.as_ref().expect("what it said");
    assert!(ran.ok && !scripted(&world), "its goal has no script any more");
    assert!(world.said("run 1 of good, digest"));
    assert!(world.service().expect("there").operation.is_none());
    let again = run(&mut world, "good").expect("accepted");
    assert_ne!(done.id, again.id);
    assert!(world.rows.keys().any(|key| key.table == Table::Act));
    world.restart_controller();
    assert_eq!(act(&world, done.id), done, "it is on disk");
}

#[test]
fn a_script_that_fails_is_given_up_and_told_with_its_words() {
    let mut world = world();
    let failed = run(&mut world, "bad").expect("accepted");
    assert_eq!((failed.state, failed.how.as_str()), (State::Ended, "it was not to be"));
    assert!(world.said("given up") && !scripted(&world));
    assert_eq!(world.state(), Shown::Available);
    let error = run(&mut world, "none").expect_err("refused").to_string();
    assert!(error.contains("there are: bad, good, grave, long"), "{error}");
}

#[test]
fn steps_run_in_order_and_stop_at_the_first_failure() {
    let mut world = world();
    let before = world.service().expect("there").members[0].goal;
    let done = run(&mut world, "many").expect("accepted");
    let oks: Vec<_> = done.entries.iter().map(|entry| entry.ok).collect();
    assert_eq!((done.state, oks), (State::Done, vec![Some(true); 3]), "{done:?}");
    assert!(world.service().expect("there").members[0].goal > before);
    let failed = run(&mut world, "stops").expect("accepted");
    assert_eq!((failed.state, failed.entries.len()), (State::Ended, 1));
}

#[test]
fn a_controller_that_restarts_goes_on_with_what_was_pinned() {
    let mut world = world();
    world.agents.iter_mut().for_each(|agent| agent.works = false);
    let open = run(&mut world, "many").expect("accepted");
    assert_eq!(open.state, State::Open);
    // The next controller has other procedures, or none.
    world.restart_controller();
    world.agents.iter_mut().for_each(|agent| agent.works = true);
    (0..world.agents.len()).for_each(|at| world.obey(at));
    world.pass(Span::secs(5));
    assert_eq!(act(&world, open.id).state, State::Done, "{:?}", act(&world, open.id));
}

#[test]
fn a_break_glass_ends_by_itself_and_takes_its_script_along() {
    let mut world = world();
    let open = glass(&mut world, "long", Span::secs(60)).expect("accepted");
    assert!(open.state == State::Open && scripted(&world));
    let limit = world.agents.iter().flat_map(|a| a.goals.values()).find_map(|g| g.script.clone());
    assert!(limit.expect("a script").limit <= Span::secs(60), "no longer than the glass is broken");
    let busy = glass(&mut world, "good", Span::secs(60)).expect_err("one at a time").to_string();
    assert!(busy.contains("break-glass 1"), "{busy}");
    world.pass(Span::secs(58));
    assert!(scripted(&world));
    world.pass(Span::secs(4));
    let ended = act(&world, open.id);
    assert_eq!((ended.state, ended.how.as_str()), (State::Ended, "its time is over"));
    assert_eq!(ended.entries[0].ok, Some(false));
    assert!(!scripted(&world) && world.service().expect("there").operation.is_none());
    for (lasts, words) in [(Span(0), "lasts between"), (Span::mins(60 * 24), "lasts between")] {
        let error = glass(&mut world, "good", lasts).expect_err("refused").to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_second_person_is_another_one() {
    let mut world = world();
    let waits = glass(&mut world, "grave", Span::mins(5)).expect("accepted");
    assert_eq!((waits.state, waits.entries.len()), (State::Waiting, 0));
    let approve = |world: &mut World, person: &str| {
        world.order(Order::ApproveAct { act: waits.id, person: person.to_owned() })
    };
    let error = approve(&mut world, "kim").expect_err("the same").to_string();
    assert!(error.contains("another person than kim"), "{error}");
    assert_eq!(act(&world, waits.id).state, State::Waiting);
    approve(&mut world, "sam").expect("another");
    let done = act(&world, waits.id);
    assert_eq!(done.state, State::Done);
    assert_eq!(done.approved.expect("said").by, "sam");
    assert!(approve(&mut world, "sam").is_err(), "it waits for nobody");
    // Nobody said yes: it ends and nothing ran.
    let waits = glass(&mut world, "grave", Span::secs(30)).expect("accepted");
    world.pass(Span::secs(32));
    assert_eq!(
        (act(&world, waits.id).state, act(&world, waits.id).entries.len()),
        (State::Ended, 0)
    );
}

#[test]
fn what_was_typed_is_kept_and_counted_as_done_by_hand() {
    let mut world = world();
    let open = glass(&mut world, "psql", Span::mins(5)).expect("accepted");
    let (typed, shown) = ("SELECT 1;\nSELECT 2;\n".to_owned(), "1\n2\n".to_owned());
    world.order(Order::RecordAct { act: open.id, typed, shown }).expect("kept");
    let journal = world.journal.len();
    world.order(Order::EndAct { act: open.id, person: "kim".to_owned() }).expect("ended");
    assert!(world.journal.len() > journal);
    let done = act(&world, open.id);
    assert_eq!(done.state, State::Done);
    assert_eq!(done.recording.expect("kept").typed, "SELECT 1;\nSELECT 2;\n");
    assert!(world.said("by hand: kim in a psql shell: 2 lines"));
    let again = world.order(Order::EndAct { act: open.id, person: "kim".to_owned() });
    assert!(again.expect_err("it has").to_string().contains("has ended already"));
}

#[test]
fn a_loss_goes_before_a_script() {
    use evenkeel_core::operation::{Kind, preempts};
    for urgent in [Kind::Failover, Kind::Recover, Kind::Relax, Kind::Restore, Kind::Terminate] {
        assert!(preempts(urgent, Kind::Procedure), "{urgent:?}");
    }
    assert!(!preempts(Kind::Restart, Kind::Procedure));
    let mut world = world();
    let open = glass(&mut world, "long", Span::mins(5)).expect("accepted");
    world.terminates = true;
    let name = "orders".to_owned();
    world.order(Order::Terminate { confirm: name.clone(), name }).expect("accepted");
    let ended = act(&world, open.id);
    assert_eq!(ended.state, State::Ended, "{ended:?}");
    assert!(ended.how.contains("gave way to terminate"), "{}", ended.how);
}
