//! What is the same for every kind that speaks HTTP: refusals, silence, dribbling, death, doubt.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use evenkeel_core::alert::Purpose;

use super::kinds::Kind;
use super::server::{Act, Asked, Certificate, Server, dribble, hang, listen, nobody};
use super::{PATIENCE, SECRET, channel, channels, deliver};

fn raise(
    kind: Kind,
    act: impl Fn(&Asked) -> Act + Send + Sync + 'static,
) -> Result<String, String> {
    let server = Server::start(act);
    let channels = channel(&kind.fields(&format!("http://{}", server.address)));
    let outcome = deliver(&channels, Purpose::Raise);
    assert!(!server.asked().is_empty(), "{kind:?} asked nothing");
    outcome
}

#[test]
fn every_kind_is_confirmed_by_its_provider() {
    for kind in Kind::ALL {
        for purpose in [Purpose::Raise, Purpose::Resolve, Purpose::Exercise] {
            let server = Server::start(kind.provider());
            let channels = channel(&kind.fields(&format!("http://{}", server.address)));
            deliver(&channels, purpose).unwrap_or_else(|why| panic!("{kind:?} {purpose:?}: {why}"));
        }
    }
}

#[test]
fn a_refusal_is_a_failure_that_quotes_it_without_secrets() {
    for kind in Kind::ALL {
        for status in [400, 401, 403, 404, 429, 500, 503] {
            let why = raise(kind, move |_| Act::Echo(status)).expect_err("refused");
            assert!(why.contains(&status.to_string()), "{kind:?} {status}: {why}");
        }
    }
}

#[test]
fn a_redirect_is_not_followed() {
    for kind in Kind::ALL {
        let other = Server::start(kind.provider());
        let to = format!("http://{}/else", other.address);
        raise(kind, move |_| Act::Redirect(to.clone())).expect_err("not followed");
        assert!(other.asked().is_empty(), "{kind:?} followed");
    }
}

#[test]
fn silence_and_dribbling_end_with_the_patience() {
    for kind in Kind::ALL {
        for act in [Act::Hang, Act::DribbleHead, Act::DribbleBody] {
            let doing = act.clone();
            let why = raise(kind, move |_| doing.clone()).expect_err("not confirmed");
            assert!(why.contains("took longer than 1s"), "{kind:?} {act:?}: {why}");
        }
    }
}

#[test]
fn a_server_that_never_ends_its_handshake_is_left_and_its_connection_closed() {
    for silent in [true, false] {
        let left = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&left);
        let address = listen(move |mut stream| {
            if silent {
                hang(&mut stream);
            } else {
                // A record of a handshake, byte by byte: each byte comes well within any timeout.
                let _ = stream.write_all(&[22, 3, 3, 0x3f, 0xff, 2, 0, 0x3f, 0xf0]);
                dribble(&mut stream, 0);
            }
            own.store(true, Ordering::SeqCst);
        });
        let channels = channel(&Kind::Webhook.fields(&format!("https://{address}")));
        let why = deliver(&channels, Purpose::Raise).expect_err("no handshake");
        assert!(why.contains("took longer than 1s"), "{why}");
        let until = std::time::Instant::now() + super::BOUND;
        while !left.load(Ordering::SeqCst) {
            assert!(std::time::Instant::now() < until, "the connection is still held");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_server_that_dies_did_not_confirm() {
    for kind in Kind::ALL {
        raise(kind, |_| Act::Die).expect_err("it died");
        let status = kind.confirming_status();
        let begun = kind.confirming_body();
        raise(kind, move |_| Act::DieInBody(status, begun.clone())).expect_err("half an answer");
    }
}

#[test]
fn a_provider_that_is_not_there_is_said_to_be() {
    for kind in Kind::ALL {
        let channels = channel(&kind.fields(&format!("http://{}", nobody())));
        let why = deliver(&channels, Purpose::Raise).expect_err("nobody listens");
        assert!(why.contains("refuses connections"), "{kind:?}: {why}");
    }
    let channels = channel(&Kind::Webhook.fields("https://alerts.invalid"));
    let why = deliver(&channels, Purpose::Raise).expect_err("no such host");
    assert!(why.starts_with("alerts.invalid"), "{why}");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_and_an_authority_of_ones_own_is_taken() {
    let certificate = Certificate::new();
    let dir = tempfile::tempdir().expect("a directory");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &certificate.pem).expect("written");
    for kind in Kind::ALL {
        let server = Server::start_tls(&certificate, kind.provider());
        let fields = kind.fields(&format!("https://{}", server.address));
        let why = deliver(&channel(&fields), Purpose::Raise).expect_err("not trusted");
        assert!(why.contains("not trusted") && why.contains("ca_file"), "{kind:?}: {why}");
        assert!(server.asked().is_empty(), "{kind:?} told a secret to a stranger");
        let trusted = format!("{fields}\nca_file = {ca:?}");
        deliver(&channel(&trusted), Purpose::Raise).expect("trusted");
    }
}

#[test]
fn who_one_is_goes_with_every_request() {
    for (fields, header) in [
        (format!("bearer_token = \"{SECRET}\""), format!("authorization: Bearer {SECRET}")),
        (
            format!("username = \"u\"\npassword = \"{SECRET}\""),
            "authorization: Basic dTpzM2NyM3QrWHl6".to_owned(),
        ),
    ] {
        let server = Server::start(|_| Act::Echo(401));
        let url = format!("http://{}/hook", server.address);
        let channels = channels(&format!(
            "{PATIENCE}[[channel]]\nname = \"c\"\nkind = \"webhook\"\nurl = \"{url}\"\n{fields}\n"
        ));
        let why = deliver(&channels, Purpose::Raise).expect_err("refused");
        assert!(!why.contains("dTpzM2NyM3QrWHl6"), "{why}");
        let asked = server.asked();
        assert!(asked[0].head.contains(&header), "{}", asked[0].head);
    }
}
