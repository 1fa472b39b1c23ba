//! Imports as a cell carries them out: what is asked of an agent, what is kept, and for how long.

use evenkeel_core::agent::{Action, Brain, Input, Outcome};
use evenkeel_core::driver::{Directory, Process};
use evenkeel_core::goal::{Goal, Password, StoreId, Want};
use evenkeel_core::id::HostId;
use evenkeel_core::import::{Import, Method, Secret, Source, Stage, Told};
use evenkeel_core::order::{Keys, Order};
use evenkeel_core::report::{FromAgent, ToAgent};
use evenkeel_core::service::State;
use evenkeel_core::time::{Span, Time};

use crate::agent::config;
use crate::world::World;

const SEALED: &str = "what-only-the-fleet-opens";

fn import(world: &mut World, from: &str) -> String {
    let import = Import {
        source: Source::parse(from).expect("an address"),
        method: Method::Auto,
        password: Some(Secret::Sealed(SEALED.to_owned())),
    };
    let order = Order::Import {
        name: "orders".to_owned(),
        kind: "toy".to_owned(),
        plan: None,
        import: Box::new(import),
        secret: Vec::new(),
        keys: Keys {
            key: Password("k".to_owned()),
            wrapped: "w".to_owned(),
            engine: evenkeel_core::backup::engine::Engine::Native,
        },
    };
    world.order(order).expect("accepted").text
}

/// The newest goal sent.
fn goal(world: &World) -> &Goal {
    world.sent.values().next_back().expect("goals were sent")
}

fn stored(world: &World) -> String {
    world.rows.values().map(|row| String::from_utf8_lossy(row).into_owned()).collect()
}

#[test]
fn an_import_tells_what_it_does_and_forgets_the_password() {
    let mut world = World::new(1);
    let text = import(&mut world, "postgres://app@old:5432/shop");
    assert_eq!(text, "orders is being imported from app@old:5432/shop");
    assert_eq!(world.state(), State::Available);
    for said in [
        "imports by dump: it is asked for",
        "role boss is no superuser any more",
        "\"look at the source and choose how\" done",
        "\"copy, take over and prove a write\" done",
    ] {
        assert!(world.said(said), "{said}: {:#?}", world.journal);
    }
    let times = world.journal.iter().filter(|line| line.contains("no superuser")).count();
    assert_eq!(times, 1, "what is told once is noted once");
    let asked =
        world.sent.values().find_map(|goal| goal.import.as_ref()).expect("it was asked for");
    assert_eq!(asked.password, Some(Secret::Sealed(SEALED.to_owned())));
    assert!(goal(&world).import.is_none() && goal(&world).want == Want::Running);
    assert!(!stored(&world).contains(SEALED), "it is kept though nobody needs it");
    let import = world.service().expect("there").import.expect("it was imported");
    assert_eq!((import.method.as_str(), import.failed, import.progress), ("dump", None, None));
    assert_eq!(import.changes.len(), 1);
    // Its terms are far from the timelines that its source may be on.
    assert!(goal(&world).term >= evenkeel_core::import::TERM);
}

#[test]
fn an_import_that_failed_for_good_says_why_and_can_be_ended() {
    let mut world = World::new(1);
    import(&mut world, "postgres://app@wrong:5432/shop");
    assert_eq!(world.state(), State::Installing);
    let service = world.service().expect("it is there");
    assert!(service.operation.is_none(), "{service:#?}");
    let finding = service.findings.iter().find(|finding| finding.check == "import");
    let evidence = &finding.expect("it is told").evidence;
    assert!(evidence.contains("password authentication failed"), "{evidence}");
    assert!(evidence.contains("evenkeel terminate orders --confirm orders"), "{evidence}");
    assert!(world.said("failed: password authentication failed"), "{:#?}", world.journal);
    // Never an empty database in the place of the one that was not had.
    assert_eq!((goal(&world).want, &goal(&world).import), (Want::Stopped, &None));
    assert!(!stored(&world).contains(SEALED));
    world.pass(Span::mins(20));
    assert!(!world.said("page:"), "a person was told by the verb: {:#?}", world.journal);
    let name = "orders".to_owned();
    world.order(Order::Terminate { confirm: name.clone(), name }).expect("accepted");
    assert_eq!(world.state(), State::Terminated);
}

#[test]
fn an_import_that_is_ended_forgets_the_password_too() {
    let mut world = World::new(1);
    world.agents[0].works = false;
    import(&mut world, "postgres://app@old:5432/shop");
    assert_eq!(world.state(), State::Installing);
    assert!(goal(&world).import.is_some() && stored(&world).contains(SEALED));
    let name = "orders".to_owned();
    world.order(Order::Terminate { confirm: name.clone(), name }).expect("accepted");
    assert!(goal(&world).import.is_none(), "{:?}", goal(&world));
    assert!(!stored(&world).contains(SEALED));
}

#[test]
fn an_agent_tells_how_far_an_import_is_and_ends_one_that_nobody_wants() {
    let now = Time(1_000_000);
    let mut brain = Brain::new(config(), Vec::new(), Vec::new(), None);
    let store = (StoreId("s".into()), 1);
    let welcome = ToAgent::Welcome {
        checks: Box::default(),
        starts_max: None,
        host: HostId(1),
        store,
        beat: Span::secs(1),
        seal: None,
        succession: None,
    };
    brain.turn(now, &[Input::Opened, Input::Message(welcome)]);
    let mut wanted = crate::agent::goal(1, Want::Running, 0);
    wanted.import = Some(Box::new(Import {
        source: Source::parse("postgres://app@old/shop").expect("an address"),
        method: Method::Base,
        password: None,
    }));
    let goals = |goal: &Goal| ToAgent::Goals { whole: false, goals: vec![goal.clone().into()] };
    let out = brain.turn(now, &[Input::Message(goals(&wanted))]);
    let (member, look) = (wanted.member, &out.calls[0]);
    let outcome = Outcome::Looked(Directory::Absent, Process::None);
    let out = brain.turn(now, &[Input::Outcome { member, number: look.number, outcome }]);
    assert_eq!(out.calls[0].action, Action::Initialize);
    let copied = |done| Told { stage: Stage::Copying, done, total: 1000 << 20, ..Told::default() };
    let mut told = |done: u64| {
        let told = Box::new(copied(done));
        let out = brain.turn(now, &[Input::Importing { member, told }]);
        assert!(out.interrupts.is_empty(), "it is wanted");
        let progress = out.send.iter().find_map(|message| match message {
            FromAgent::Members { members, .. } => members[0].import.clone(),
            _ => None,
        });
        progress.map(|told| told.done >> 20)
    };
    assert_eq!((told(20 << 20), told(21 << 20), told(30 << 20)), (Some(20), None, Some(30)));
    // What is ended while it is made must not go on for hours.
    let ended = crate::agent::goal(2, Want::Removed, 0);
    brain.turn(now, &[Input::Message(goals(&ended))]);
    let told = Box::new(copied(40 << 20));
    let out = brain.turn(now, &[Input::Importing { member, told }]);
    assert_eq!(out.interrupts, vec![ended.into()]);
}
