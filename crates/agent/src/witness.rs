//! Looking at another host's member for a controller: does its port answer a startup packet? A
//! witness holds no secret; it greets and hangs up.

use std::io::ErrorKind;
use std::time::Duration;

use evenkeel_core::agent::Input;
use evenkeel_core::report::{Answer, Question, Sight};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::events::Event;

/// Looks, and tells what was seen.
pub async fn look(question: Question, events: mpsc::Sender<Event>) {
    let patience = Duration::from_millis(question.patience.0);
    let seen = tokio::time::timeout(patience, greet(&question)).await;
    let sight = seen.unwrap_or(Sight::Silent);
    let answer = Answer { id: question.id, member: question.member, sight };
    let _ = events.send(Event::Input(Input::Saw(answer))).await;
}

async fn greet(question: &Question) -> Sight {
    let Some(kind) = evenkeel_kinds::kind(&question.kind) else { return Sight::Silent };
    let (greeting, answers) = kind.greeting();
    let mut stream = match TcpStream::connect((question.address.as_str(), question.port)).await {
        Ok(stream) => stream,
        Err(error) => return refused(error.kind()),
    };
    if stream.write_all(greeting).await.is_err() {
        return Sight::Refused;
    }
    let mut first = [0];
    match stream.read_exact(&mut first).await {
        Ok(_) if answers.contains(&first[0]) => Sight::Answered,
        // Something listens that is no server of this kind.
        Ok(_) => Sight::Refused,
        Err(_) => Sight::Refused,
    }
}

/// What an error of connecting says about the other side.
fn refused(kind: ErrorKind) -> Sight {
    match kind {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Sight::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Sight::Unreachable,
        _ => Sight::Silent,
    }
}
