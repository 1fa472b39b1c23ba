//! Which routes are followed, and what becomes of connections when they change.

use std::fs;
use std::time::Duration;

use evenkeel_core::route::Route;
use evenkeel_gateway::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::controller::Controller;
use crate::support::{
    Gateway, HERE, Place, Server, assert_closed, assert_cut, assert_echo, connect, free_port,
    letter, route, soon,
};

#[tokio::test]
async fn open_connections_are_cut_only_when_another_member_takes_over() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let port = free_port();
    let (a, b) = (Server::start(b'a'), Server::start(b'b'));
    let to_a = |term| vec![route(port, term, Some((1, a.port)))];
    session.order(1, to_a(1)).await;
    let mut client = connect(port).await;
    assert_eq!(letter(&mut client).await, b'a');

    session.order(2, to_a(2)).await;
    assert_echo(&mut client, b"the same member in a newer term").await;
    session.order(3, vec![route(port, 3, None)]).await;
    assert_echo(&mut client, b"no target").await;
    session.order(4, to_a(4)).await;
    assert_echo(&mut client, b"the same member again").await;

    session.order(5, vec![route(port, 5, None)]).await;
    let mut held = connect(port).await;
    session.order(6, vec![route(port, 6, Some((2, b.port)))]).await;
    assert_cut(&mut client).await;
    assert_eq!(letter(&mut held).await, b'b');
    assert_eq!(letter(&mut connect(port).await).await, b'b');
    gateway.stop().await;
}

#[tokio::test]
async fn what_changed_is_taken_in_beside_what_is_held() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (one, two, three) = (free_port(), free_port(), free_port());
    let (a, b) = (Server::start(b'a'), Server::start(b'b'));
    let to = |port, server: &Server| route(port, 1, Some((u32::from(server.port), server.port)));
    session.order(1, vec![to(one, &a), to(two, &a)]).await;
    let (mut kept, mut moved) = (connect(one).await, connect(two).await);
    assert_eq!((letter(&mut kept).await, letter(&mut moved).await), (b'a', b'a'));

    session.update(2, vec![to(two, &b), to(three, &b)], Vec::new()).await;
    assert_cut(&mut moved).await;
    assert_eq!(letter(&mut connect(two).await).await, b'b');
    assert_eq!(letter(&mut connect(three).await).await, b'b');
    assert_echo(&mut kept, b"not named and not touched").await;

    session.update(3, Vec::new(), vec![to(one, &a).service]).await;
    assert_cut(&mut kept).await;
    assert_closed(one).await;
    assert_eq!(letter(&mut connect(two).await).await, b'b');
    gateway.stop().await;
}

#[tokio::test]
async fn a_hold_ends_with_the_stream_that_said_it() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, a) = (free_port(), Server::start(b'a'));
    let open = route(port, 1, Some((1, a.port)));
    session.order(1, vec![open.clone()]).await;
    let mut client = connect(port).await;
    assert_eq!(letter(&mut client).await, b'a');

    session.order(2, vec![Route { holds: true, ..open }]).await;
    let mut held = connect(port).await;
    let soon = timeout(Duration::from_millis(200), held.read_u8()).await;
    assert!(soon.is_err(), "a new connection waits: {soon:?}");
    assert_echo(&mut client, b"an open one goes on").await;
    drop(session);
    assert_eq!(letter(&mut held).await, b'a');
    gateway.stop().await;
}

#[tokio::test]
async fn a_route_that_is_dropped_closes_its_port_and_no_other() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (one, two, server) = (free_port(), free_port(), Server::start(b'a'));
    let to = |port| route(port, 1, Some((1, server.port)));
    session.order(1, vec![to(one), to(two)]).await;
    let (mut dropped, mut kept) = (connect(one).await, connect(two).await);
    assert_eq!((letter(&mut dropped).await, letter(&mut kept).await), (b'a', b'a'));

    session.order(2, vec![to(two)]).await;
    assert_cut(&mut dropped).await;
    assert_closed(one).await;
    assert_echo(&mut kept, b"kept").await;
    gateway.stop().await;
}

#[tokio::test]
async fn an_older_sequence_is_refused() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let port = free_port();
    let (a, b) = (Server::start(b'a'), Server::start(b'b'));
    let to = |member, server: &Server| vec![route(port, 1, Some((member, server.port)))];
    assert_eq!(session.order(7, to(1, &a)).await.0, 7);
    assert_eq!(session.order(6, to(2, &b)).await.0, 7);
    assert_eq!(letter(&mut connect(port).await).await, b'a');

    // Nor after a restart, from the word of another controller.
    gateway.stop().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    assert_eq!(session.held, 7);
    assert_eq!(session.order(6, to(2, &b)).await.0, 7);
    assert_eq!(letter(&mut connect(port).await).await, b'a');
    gateway.stop().await;
}

#[tokio::test]
async fn an_older_term_is_refused_and_the_newer_kept() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, other) = (free_port(), free_port());
    let (a, b) = (Server::start(b'a'), Server::start(b'b'));
    session.order(1, vec![route(port, 5, Some((1, a.port)))]).await;
    let mut client = connect(port).await;
    assert_eq!(letter(&mut client).await, b'a');

    let stale = vec![route(port, 4, Some((2, b.port))), route(other, 1, Some((2, b.port)))];
    assert_eq!(session.order(2, stale).await.0, 2);
    assert_echo(&mut client, b"not cut").await;
    assert_eq!(letter(&mut connect(port).await).await, b'a');
    assert_eq!(letter(&mut connect(other).await).await, b'b', "the other route is taken");

    gateway.stop().await;
    let gateway = Gateway::start(place.options());
    assert_eq!(letter(&mut connect(port).await).await, b'a', "what is on disk is the newer");
    gateway.stop().await;
}

#[tokio::test]
async fn serves_without_a_controller_and_starts_without_one() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, server) = (free_port(), Server::start(b'a'));
    session.order(3, vec![route(port, 1, Some((1, server.port)))]).await;
    let mut client = connect(port).await;
    assert_eq!(letter(&mut client).await, b'a');

    drop(session);
    place.controller.refuse("503 Service Unavailable").await;
    let (state, file) = (place.state(), place.controller_file());
    let Place { controller, .. } = &place;
    controller.refuse_within("not now").await;
    assert_echo(&mut client, b"without a controller").await;
    assert_eq!(letter(&mut connect(port).await).await, b'a');

    gateway.stop().await;
    fs::remove_file(&file).unwrap();
    let gateway = Gateway::start(place.options());
    assert_eq!(letter(&mut connect(port).await).await, b'a');
    assert!(state.join("routes.json").exists());

    let moved = Controller::start("token-2").await;
    moved.announce(&file);
    assert_eq!(moved.accept().await.held, 3, "a controller that moved is found");
    gateway.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_listened_on_once_free() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (taken, free, server) = (free_port(), free_port(), Server::start(b'a'));
    let squatter = TcpListener::bind((HERE, taken)).await.unwrap();
    let to = |port| route(port, 1, Some((1, server.port)));
    let (routes, failed) = session.order(1, vec![to(taken), to(free)]).await;
    assert_eq!((routes, failed.len(), failed[0].0), (1, 1, taken));
    assert!(failed[0].1.contains("in use"), "{failed:?}");
    assert_eq!(letter(&mut connect(free).await).await, b'a', "the other is served");

    drop(squatter);
    assert_eq!(session.took().await, (1, vec![]), "it is told without being asked");
    assert_eq!(letter(&mut connect(taken).await).await, b'a');
    gateway.stop().await;
}

#[tokio::test]
async fn routes_that_cannot_be_stored_are_not_followed_until_they_can() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, server) = (free_port(), Server::start(b'a'));
    // A directory in the place of the file that is written: even root cannot open it for writing.
    let obstacle = place.state().join("routes.new");
    fs::create_dir(&obstacle).unwrap();
    let all = vec![route(port, 1, Some((1, server.port)))];
    assert_eq!(session.order(1, all).await.0, 0);
    assert_closed(port).await;

    fs::remove_dir(&obstacle).unwrap();
    while session.took().await.0 != 1 {}
    assert_eq!(letter(&mut connect(port).await).await, b'a');
    gateway.stop().await;
}

#[tokio::test]
async fn damaged_routes_are_set_aside_and_asked_for_again() {
    let place = Place::new().await;
    fs::create_dir(place.state()).unwrap();
    let damaged = r#"{"version":1,"routes":4,"all":[{"#;
    fs::write(place.state().join("routes.json"), damaged).unwrap();
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    assert_eq!(session.held, 0);
    assert_eq!(fs::read_to_string(place.state().join("routes.json.bad")).unwrap(), damaged);
    let (port, server) = (free_port(), Server::start(b'a'));
    session.order(4, vec![route(port, 1, Some((1, server.port)))]).await;
    assert_eq!(letter(&mut connect(port).await).await, b'a');
    gateway.stop().await;
}

#[tokio::test]
async fn a_directory_serves_one_gateway() {
    let place = Place::new().await;
    let first = Gateway::start(place.options());
    let _session = place.controller.accept().await;
    let error = Gateway::start(place.options()).refusal().await;
    assert!(matches!(error, Error::Held { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&place.state().display().to_string()), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    first.stop().await;
    Gateway::start(place.options()).stop().await;
}

#[tokio::test]
async fn a_token_that_was_changed_is_read_again() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    place.controller.refuse("401 Unauthorized").await;
    let renewed = Controller::start("token-2").await;
    renewed.announce(&place.controller_file());
    assert_eq!(renewed.accept().await.held, 0);
    gateway.stop().await;
}

#[tokio::test]
async fn the_newest_of_many_routes_stands() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, server) = (free_port(), Server::start(b'z'));
    for routes in 1..200 {
        assert!(session.send(routes, vec![route(port, 1, None)]).await);
    }
    assert!(session.send(200, vec![route(port, 1, Some((1, server.port)))]).await);
    soon("the last is taken", async { while session.took().await.0 != 200 {} }).await;
    let mut client = connect(port).await;
    assert_eq!(letter(&mut client).await, b'z');
    let more = timeout(Duration::from_millis(50), client.read_u8()).await;
    assert!(more.is_err(), "one server, one letter");
    gateway.stop().await;
}
