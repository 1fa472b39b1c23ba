//! A witness's look at a port: answering, silent, closed.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use evenkeel_core::id::MemberId;
use evenkeel_core::report::{FromAgent, Question, Sight, ToAgent};
use evenkeel_core::time::Span;

use crate::controller::Controller;
use crate::toy::Host;

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("an address").port()
}

/// A port whose one connection is answered with these bytes.
fn answering(with: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = port_of(&listener);
    std::thread::spawn(move || {
        let (mut io, _) = listener.accept().expect("a connection");
        let mut greeting = [0; 64];
        let _ = io.read(&mut greeting);
        let _ = io.write_all(with);
    });
    port
}

#[test]
fn a_witness_tells_an_answer_from_silence_and_from_a_closed_port() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = port_of(&closed);
    drop(closed);
    let (_, proofs) = evenkeel_kinds::kind("postgres").unwrap().greeting();
    let expected = [
        (answering(&proofs[..1]), Sight::Answered),
        (answering(b"HTTP/1.1 400"), Sight::Silent),
        (answering(b""), Sight::Silent),
        (port_of(&silent), Sight::Silent),
        (closed_port, Sight::Refused),
    ];
    let question = |(id, port): (u64, u16)| Question {
        id,
        member: MemberId(7),
        kind: "postgres".to_owned(),
        address: "127.0.0.1".to_owned(),
        port,
        patience: Span::millis(400),
    };
    let ports = (0..).zip(expected.iter().map(|(port, _)| *port));
    let asked = Instant::now();
    stream.send(&ToAgent::Ask(ports.map(question).collect()));
    let mut seen = vec![None; expected.len()];
    while seen.contains(&None) {
        let answers = stream.hear("answers", |message| match message {
            FromAgent::Answers(answers) => Some(answers.clone()),
            _ => None,
        });
        for answer in answers {
            seen[usize::try_from(answer.id).unwrap()] = Some(answer.sight);
        }
    }
    let sights: Vec<Sight> = seen.into_iter().flatten().collect();
    assert_eq!(sights, expected.map(|(_, sight)| sight));
    assert!(asked.elapsed() < Duration::from_secs(3), "patience is the question's");
    agent.stop();
}
