//! What clients see.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::{
    Gateway, HERE, Place, Server, assert_closed, assert_cut, assert_echo, connect, free_port,
    letter, route, soon,
};

/// What is long against a round trip on one machine, and short against a test.
const A_WHILE: Duration = Duration::from_millis(150);

#[tokio::test]
async fn bytes_go_both_ways_and_beats_count_connections() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, server) = (free_port(), Server::start(b'a'));
    let (seq, failed) = session.order(1, vec![route(port, 1, Some((1, server.port)))]).await;
    assert_eq!((seq, failed), (1, vec![]));

    let mut client = connect(port).await;
    assert_eq!(letter(&mut client).await, b'a');
    assert_echo(&mut client, b"x").await;
    let megabyte: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_be_bytes()[3]).collect();
    let (mut reader, mut writer) = client.split();
    let sent = async { writer.write_all(&megabyte).await };
    let mut back = vec![0; megabyte.len()];
    let (sent, read) =
        soon("a megabyte", async { tokio::join!(sent, reader.read_exact(&mut back)) }).await;
    sent.unwrap();
    read.unwrap();
    assert!(back == megabyte);

    session.beat((1, 1, 0)).await;
    drop(client);
    session.beat((0, 1, 0)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, server) = (free_port(), TcpListener::bind((HERE, 0)).await.unwrap());
    let at = server.local_addr().unwrap().port();
    session.order(1, vec![route(port, 1, Some((1, at)))]).await;

    let mut client = connect(port).await;
    let (mut served, _) = soon("accept", server.accept()).await.unwrap();
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    soon("question", served.read_to_string(&mut question)).await.unwrap();
    assert_eq!(question, "question");
    served.write_all(b"answer").await.unwrap();
    drop(served);
    let mut answer = String::new();
    soon("answer", client.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "answer");
    gateway.stop().await;
}

#[tokio::test]
async fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, server) = (free_port(), TcpListener::bind((HERE, 0)).await.unwrap());
    let at = server.local_addr().unwrap().port();
    session.order(1, vec![route(port, 1, Some((1, at)))]).await;

    let mut client = connect(port).await;
    let (mut served, _) = soon("accept", server.accept()).await.unwrap();
    // A reset before it is forwarded would be tried again.
    served.write_u8(b'a').await.unwrap();
    assert_eq!(letter(&mut client).await, b'a');
    served.set_zero_linger().unwrap();
    drop(served);
    assert_cut(&mut client).await;

    let client = connect(port).await;
    let (mut served, _) = soon("accept", server.accept()).await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    assert_cut(&mut served).await;
    gateway.stop().await;
}

#[tokio::test]
async fn held_without_a_target_then_delivered() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, server) = (free_port(), Server::start(b'a'));
    session.order(1, vec![route(port, 1, None)]).await;

    let mut client = connect(port).await;
    client.write_all(b"early").await.unwrap();
    assert!(timeout(A_WHILE, client.read_u8()).await.is_err(), "nothing comes while held");
    session.order(2, vec![route(port, 2, Some((1, server.port)))]).await;
    assert_eq!(letter(&mut client).await, b'a');
    let mut back = [0; 5];
    soon("echo", client.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"early");
    gateway.stop().await;
}

#[tokio::test]
async fn held_while_the_server_restarts() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, server) = (free_port(), Server::start(b'a'));
    let at = server.port;
    session.order(1, vec![route(port, 1, Some((1, at)))]).await;
    server.stop().await;

    let mut client = connect(port).await;
    assert!(timeout(A_WHILE, client.read_u8()).await.is_err(), "nothing comes while held");
    let _server = Server::start_on(at, b'b');
    let back = Instant::now();
    assert_eq!(letter(&mut client).await, b'b');
    assert!(back.elapsed() < Duration::from_secs(2), "tried again within 100 ms");
    gateway.stop().await;
}

#[tokio::test]
async fn held_no_longer_than_told_and_no_more_than_there_is_room_for() {
    let place = Place::new().await;
    let mut options = place.options();
    (options.hold, options.held_max) = (Duration::from_secs(1), 1);
    let hold = options.hold;
    let gateway = Gateway::start(options);
    let mut session = place.controller.accept().await;
    let port = free_port();
    session.order(1, vec![route(port, 1, None)]).await;

    let began = Instant::now();
    let mut first = connect(port).await;
    session.beat((1, 1, 0)).await;
    let mut second = connect(port).await;
    assert_cut(&mut second).await;
    assert!(began.elapsed() < hold, "without room it is closed at once");
    assert_cut(&mut first).await;
    assert!(began.elapsed() >= hold, "held for {:?}", began.elapsed());
    session.beat((0, 2, 2)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_gives_up_frees_its_room() {
    let place = Place::new().await;
    let mut options = place.options();
    options.held_max = 1;
    let gateway = Gateway::start(options);
    let mut session = place.controller.accept().await;
    let port = free_port();
    session.order(1, vec![route(port, 1, None)]).await;

    let mut impatient = connect(port).await;
    impatient.write_all(b"hello").await.unwrap();
    session.beat((1, 1, 0)).await;
    drop(impatient);
    session.beat((0, 1, 0)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn no_more_connections_than_there_is_room_for() {
    let place = Place::new().await;
    let mut options = place.options();
    options.connections_max = 2;
    let gateway = Gateway::start(options);
    let mut session = place.controller.accept().await;
    let (port, server) = (free_port(), Server::start(b'a'));
    session.order(1, vec![route(port, 1, Some((1, server.port)))]).await;

    let (mut first, mut second) = (connect(port).await, connect(port).await);
    assert_eq!((letter(&mut first).await, letter(&mut second).await), (b'a', b'a'));
    assert_cut(&mut connect(port).await).await;
    drop(first);
    session.beat((1, 3, 1)).await;
    assert_eq!(letter(&mut connect(port).await).await, b'a');
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_at_once() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, server) = (free_port(), Server::start(b'a'));
    session.order(1, vec![route(port, 1, Some((1, server.port)))]).await;

    let clients: Vec<_> = (0..1000_u32)
        .map(|n| {
            tokio::spawn(async move {
                let mut client = connect(port).await;
                assert_eq!(letter(&mut client).await, b'a');
                assert_echo(&mut client, &n.to_be_bytes()).await;
                client
            })
        })
        .collect();
    let mut open = Vec::new();
    for client in clients {
        open.push(client.await.unwrap());
    }
    session.beat((1000, 1000, 0)).await;
    for client in &mut open {
        assert_echo(client, b"still here").await;
    }
    drop(open);
    session.beat((0, 1000, 0)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn at_its_end_ports_are_free_and_connections_are_cut() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.options());
    let mut session = place.controller.accept().await;
    let (port, waiting) = (free_port(), free_port());
    let server = Server::start(b'a');
    session.order(1, vec![route(port, 1, Some((1, server.port))), route(waiting, 1, None)]).await;
    let (mut client, mut held) = (connect(port).await, connect(waiting).await);
    assert_eq!(letter(&mut client).await, b'a');
    session.beat((2, 2, 0)).await;

    gateway.stop().await;
    assert_cut(&mut client).await;
    assert_cut(&mut held).await;
    assert_closed(port).await;
    assert_closed(waiting).await;
}
