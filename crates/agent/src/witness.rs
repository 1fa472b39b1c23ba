//! A witness's look at another host's member: does its port greet as its kind does? Holds no secret.

use std::io;
use std::time::Duration;

use evenkeel_core::report::{Question, Sight};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for an answer, whatever the question says.
const PATIENCE_MAX: Duration = Duration::from_secs(10);

/// Looks; `None` when nothing was learnt, which is no evidence either way.
pub(crate) async fn look(question: &Question) -> Option<Sight> {
    let (greeting, proofs) = evenkeel_kinds::kind(&question.kind)?.greeting();
    let patience = Duration::from_millis(question.patience.0).min(PATIENCE_MAX);
    let address = (question.address.as_str(), question.port);
    let greeted = tokio::time::timeout(patience, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(greeting).await?;
        let mut first = [0];
        let read = stream.read(&mut first).await?;
        Ok::<_, io::Error>(read == 1 && proofs.contains(&first[0]))
    });
    match greeted.await {
        Ok(Ok(true)) => Some(Sight::Answered),
        // Whatever sits there, it is not a server of this kind that works.
        Ok(Ok(false)) | Err(_) => Some(Sight::Silent),
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Sight::Refused),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Some(Sight::Unreachable)
            }
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Some(Sight::Silent),
            // The witness's own trouble, such as no descriptors left.
            _ => None,
        },
    }
}
