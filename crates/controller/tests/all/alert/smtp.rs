//! Mail, to servers that take it and servers that do not.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use evenkeel_core::alert::Purpose;
use tokio_rustls::rustls::{ServerConnection, StreamOwned};

use super::server::{Both, Certificate, dribble, hang, listen, nobody};
use super::{SECRET, channel, deliver};

/// Where a server stops being helpful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Accepts,
    RefusesOneReader,
    RefusesReaders,
    RefusesLogin,
    RefusesMessage,
    HangsAtGreeting,
    DribblesGreeting,
    HangsAfterData,
    DiesAfterData,
    DiesAtGreeting,
    TalksNonsense,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    Plain,
    Tls,
    StartTls,
}

struct Smtp {
    address: SocketAddr,
    heard: Arc<Mutex<String>>,
}

fn start(mode: Mode, security: Security, certificate: &Certificate) -> Smtp {
    let heard: Arc<Mutex<String>> = Arc::default();
    let (own, config) = (Arc::clone(&heard), certificate.config());
    let address = listen(move |stream| {
        let encrypted = |stream| {
            let tls = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            BufReader::new(Both(Box::new(StreamOwned::new(tls, stream))))
        };
        let copy = stream.try_clone().expect("a copy");
        let mut wire = match security {
            Security::Tls => encrypted(stream),
            Security::Plain | Security::StartTls => BufReader::new(Both(Box::new(stream))),
        };
        if greet(&mut wire, mode) && talk(&mut wire, mode, security, &own).is_some() {
            let _ = talk(&mut encrypted(copy), mode, Security::Tls, &own);
        }
    });
    Smtp { address, heard }
}

fn say(wire: &mut BufReader<Both>, text: &str) {
    // Whoever speaks may be gone; that is not the server's business.
    let wire = wire.get_mut();
    let _ = wire.write_all(format!("{text}\r\n").as_bytes()).and_then(|()| wire.flush());
}

/// Whether there is more to come.
fn greet(wire: &mut BufReader<Both>, mode: Mode) -> bool {
    match mode {
        Mode::HangsAtGreeting => hang(wire.get_mut()),
        Mode::DribblesGreeting => {
            let _ = wire.get_mut().write_all(b"220 ");
            dribble(wire.get_mut(), b'a');
        }
        Mode::DiesAtGreeting => {}
        Mode::TalksNonsense => say(wire, "HTTP/1.1 400 Bad Request"),
        _ => say(wire, "220 mail.test ESMTP"),
    }
    !matches!(mode, Mode::HangsAtGreeting | Mode::DribblesGreeting | Mode::DiesAtGreeting)
}

/// A session; `Some` if it is to go on encrypted.
fn talk(
    wire: &mut BufReader<Both>,
    mode: Mode,
    security: Security,
    heard: &Mutex<String>,
) -> Option<()> {
    let mut readers = 0;
    loop {
        let mut line = String::new();
        if wire.read_line(&mut line).ok()? == 0 {
            return None;
        }
        heard.lock().expect("sound").push_str(&line);
        let line = line.trim();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" if security == Security::StartTls => say(wire, "250-mail.test\r\n250 STARTTLS"),
            "EHLO" => say(wire, "250-mail.test\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME"),
            "STARTTLS" => {
                say(wire, "220 go on");
                return Some(());
            }
            "AUTH" if mode == Mode::RefusesLogin => {
                say(wire, &format!("535 no: {line} ({SECRET})"))
            }
            "AUTH" => say(wire, "235 welcome"),
            "MAIL" => say(wire, "250 ok"),
            "RCPT" => {
                readers += 1;
                let one = mode == Mode::RefusesOneReader && readers == 1;
                let refused = one || mode == Mode::RefusesReaders;
                say(wire, if refused { "550 5.1.1 no such reader" } else { "250 ok" });
            }
            "DATA" => {
                say(wire, "354 go on");
                let mut line = String::new();
                while wire.read_line(&mut line).ok()? > 0 && !line.ends_with("\r\n.\r\n") {}
                heard.lock().expect("sound").push_str(&line);
                match mode {
                    Mode::DiesAfterData => return None,
                    Mode::HangsAfterData => hang(wire.get_mut()),
                    Mode::RefusesMessage => say(wire, "554 5.7.1 it looks like spam"),
                    _ => say(wire, "250 2.0.0 queued as 4711"),
                }
            }
            _ => say(wire, "502 what?"),
        }
    }
}

fn fields(address: SocketAddr, security: Security) -> String {
    let security = match security {
        Security::Plain => "plain",
        Security::Tls => "tls",
        Security::StartTls => "starttls",
    };
    format!(
        "kind = \"mail\"\nserver = \"127.0.0.1\"\nport = {}\nsecurity = \"{security}\"\n\
         username = \"u\"\npassword = \"{SECRET}\"\nfrom = \"Evenkeel <e@example.com>\"\n\
         to = [\"a@example.com\", \"b@example.com\"]",
        address.port()
    )
}

fn send(mode: Mode) -> (Result<String, String>, String) {
    let server = start(mode, Security::Plain, &Certificate::new());
    let outcome = deliver(&channel(&fields(server.address, Security::Plain)), Purpose::Raise);
    let heard = server.heard.lock().expect("sound").clone();
    (outcome, heard)
}

#[test]
fn a_mail_is_confirmed_by_the_servers_word_after_the_message() {
    let (said, heard) = send(Mode::Accepts);
    let said = said.expect("confirmed");
    assert!(said.starts_with("250") && said.contains("queued as 4711"), "{said}");
    for part in [
        "MAIL FROM:<e@example.com>",
        "RCPT TO:<a@example.com>",
        "RCPT TO:<b@example.com>",
        "Subject: [PAGE] host ha1 is gone",
        "Message-ID: <st-d41@example.com>",
        "References: <st-i7@example.com>",
        "Auto-Submitted: auto-generated",
        "two witnesses do not reach it",
    ] {
        assert!(heard.contains(part), "no {part:?} in {heard}");
    }
}

#[test]
fn a_reader_who_is_refused_keeps_no_other_from_being_told() {
    let said = send(Mode::RefusesOneReader).0.expect("the other one is told");
    assert!(said.contains("queued") && said.contains("not to a@example.com"), "{said}");
    let why = send(Mode::RefusesReaders).0.expect_err("nobody is told");
    assert!(why.contains("none of the readers") && why.contains("550"), "{why}");
}

#[test]
fn whatever_else_a_mail_server_does_is_a_failure() {
    for (mode, part) in [
        (Mode::RefusesLogin, "535"),
        (Mode::RefusesMessage, "554"),
        (Mode::HangsAtGreeting, "took longer than 1s"),
        (Mode::DribblesGreeting, "took longer than 1s"),
        (Mode::HangsAfterData, "took longer than 1s"),
        (Mode::DiesAfterData, "did not confirm the message"),
        (Mode::DiesAtGreeting, "did not greet"),
        (Mode::TalksNonsense, "did not greet"),
    ] {
        let (outcome, _) = send(mode);
        let why = outcome.expect_err("not confirmed");
        assert!(why.contains(part), "{mode:?}: {why}");
    }
    let why = deliver(&channel(&fields(nobody(), Security::Plain)), Purpose::Raise);
    assert!(why.expect_err("nobody listens").contains("refused"));
}

#[test]
fn a_mail_server_is_trusted_by_its_certificate_only() {
    let certificate = Certificate::new();
    let dir = tempfile::tempdir().expect("a directory");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &certificate.pem).expect("written");
    for security in [Security::Tls, Security::StartTls] {
        let server = start(Mode::Accepts, security, &certificate);
        let fields = fields(server.address, security);
        let why = deliver(&channel(&fields), Purpose::Raise).expect_err("not trusted");
        assert!(why.contains("certificate"), "{security:?}: {why}");
        assert!(!server.heard.lock().expect("sound").contains("AUTH"), "told a stranger who it is");
        let trusted = format!("{fields}\nca_file = {ca:?}");
        let said = deliver(&channel(&trusted), Purpose::Raise);
        assert!(said.expect("trusted").contains("queued"), "{security:?}");
    }
}

#[test]
fn a_server_that_does_not_encrypt_is_told_nothing() {
    let server = start(Mode::Accepts, Security::Plain, &Certificate::new());
    let channels = channel(&fields(server.address, Security::StartTls));
    let why = deliver(&channels, Purpose::Raise).expect_err("it has no STARTTLS");
    assert!(why.contains("did not start TLS"), "{why}");
    assert!(!server.heard.lock().expect("sound").contains("AUTH"));
}
