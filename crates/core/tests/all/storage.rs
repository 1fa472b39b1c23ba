//! While storage is down: what waits for it goes on when it is back, whatever ended that.

use evenkeel_core::moment::Moment;
use evenkeel_core::order::Order;
use evenkeel_core::time::Span;

use crate::last_copy::{keys, repository};
use crate::world::World;

fn create(world: &mut World, name: &str) {
    let (name, kind, secret) = (name.to_owned(), "toy".to_owned(), Vec::new());
    let order =
        Order::Create { name, kind, plan: Some("kept".to_owned()), secret, keys: Some(keys()) };
    world.order(order).expect("accepted");
}

/// The log of the first service waits from now on, by its agent's word.
fn says_it_waits(world: &mut World) {
    let since = Some(Moment::of_millis(world.now.0));
    let home = world.home();
    world.report_all(home, |member| {
        if let Some(archive) = member.archive.as_mut() {
            archive.behind_since = since;
        }
    });
}

/// Two services that serve and have no backup yet, and the log of one of them waits.
fn half_waits() -> World {
    half_waits_beside(0)
}

/// The same, beside others that have no archive.
fn half_waits_beside(others: usize) -> World {
    let mut world = World::new(4);
    world.order(repository("north")).expect("accepted");
    create(&mut world, "orders");
    create(&mut world, "users");
    for n in 0..others {
        let (name, kind, plan) = (format!("visits-{n}"), "toy".to_owned(), Some("dev".to_owned()));
        let order = Order::Create { name, kind, plan, secret: Vec::new(), keys: None };
        world.order(order).expect("accepted");
    }
    world.pass(Span::secs(2));
    says_it_waits(&mut world);
    world.pass(Span::mins(2));
    let posture = world.cell.posture(world.now).name();
    assert_eq!(posture, "storage_down", "{:#?}", world.journal);
    assert!(!world.said("users: backup b"), "{:#?}", world.journal);
    world
}

#[test]
fn backups_are_made_when_log_that_waited_is_stored() {
    let mut world = half_waits();
    let home = world.home();
    world.report_all(home, |member| {
        if let Some(archive) = member.archive.as_mut() {
            archive.behind_since = None;
        }
    });
    world.pass(Span::mins(2));
    assert!(world.said("users: backup b"), "{:#?}", world.journal);
}

#[test]
fn backups_are_made_when_whoever_alone_waited_for_storage_is_gone() {
    let mut world = half_waits();
    let name = "orders".to_owned();
    world.order(Order::Terminate { confirm: name.clone(), name }).expect("accepted");
    world.pass(Span::mins(2));
    assert!(world.said("orders: nothing remains"), "{:#?}", world.journal);
    assert!(world.said("users: backup b"), "{:#?}", world.journal);
}

#[test]
fn backups_are_made_when_whoever_alone_waited_for_storage_is_at_rest() {
    let mut world = half_waits();
    world.order(Order::Retire { name: "orders".to_owned() }).expect("accepted");
    world.pass(Span::secs(2));
    assert!(world.said("phase Retiring -> Retired"), "{:#?}", world.journal);
    // Nobody tries to store its log any more: what is said of it is no news of storage.
    says_it_waits(&mut world);
    world.pass(Span::mins(2));
    assert!(world.said("users: backup b"), "{:#?}", world.journal);
}

#[test]
fn who_has_no_archive_does_not_make_it_look_as_if_storage_were_there() {
    drop(half_waits_beside(4));
}
