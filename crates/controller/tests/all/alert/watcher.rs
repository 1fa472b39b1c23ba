//! The outside watcher: hears that the cell lives, where its journal ends, and nothing once it is dead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use evenkeel_controller::alert::{Channels, Head, Status, Watch};

use super::server::{Act, Asked, Server};
use super::{BOUND, SECRET, assert_clean, config};

const CHANNEL: &str = "[[channel]]\nname = \"c\"\nkind = \"command\"\nargv = [\"/bin/true\"]\n";

fn head(position: u64) -> Head {
    Head { position, digest: format!("d{position}") }
}

/// A watcher that tells of each ping, and what pings it.
fn watched(
    method: &str,
    act: impl Fn() -> Act + Send + Sync + 'static,
) -> (Watch, mpsc::Receiver<Asked>) {
    let (sender, receiver) = mpsc::channel();
    let server = Server::start(move |asked| {
        let _ = sender.send(asked.clone());
        act()
    });
    let url = format!("http://{}/ping/{SECRET}", server.address);
    let text =
        format!("{CHANNEL}[watcher]\nurl = \"{url}\"\nevery = \"1s\"\nmethod = \"{method}\"\n");
    let (_, watcher) = Channels::new(config(&text).expect("right"), "st");
    let watcher = watcher.expect("there is one");
    assert_clean(&format!("{watcher:?} {}", watcher.describe()));
    (watcher.watch("st").expect("a thread"), receiver)
}

/// Beats until the status is as it should be.
fn beat_until(watch: &Watch, position: u64, seen: impl Fn(&Status) -> bool) -> Status {
    let until = Instant::now() + BOUND;
    loop {
        watch.beat(head(position));
        let status = watch.status();
        assert_clean(&format!("{status:?}"));
        if seen(&status) {
            return status;
        }
        assert!(Instant::now() < until, "{status:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn it_hears_where_the_journal_ends_for_as_long_as_there_are_beats() {
    let (watch, pings) = watched("POST", || Act::Answer(200, "OK".to_owned()));
    assert_eq!(watch.status().sent, 0, "before the first beat nothing is said");
    beat_until(&watch, 5, |status| status.sent == 1);
    let ping = pings.recv_timeout(BOUND).expect("a ping");
    assert!(ping.line.starts_with("POST /ping/"), "{}", ping.line);
    let said = ping.json();
    assert_eq!((&said["store"], &said["position"]), (&"st".into(), &5.into()));
    assert_eq!(said["head"], "d5");
    let status = beat_until(&watch, 6, |status| status.sent == 2);
    assert_eq!(pings.recv_timeout(BOUND).expect("a ping").json()["head"], "d6");
    assert!(status.confirmed.is_some() && status.failed == 0, "{status:?}");
    // The cell hangs: this thread lives, and says nothing for it.
    let until = Instant::now() + BOUND;
    while watch.status().withheld < 2 {
        assert!(Instant::now() < until, "{:?}", watch.status());
        std::thread::sleep(Duration::from_millis(10));
    }
    while pings.try_recv().is_ok() {}
    let sent = watch.status().sent;
    beat_until(&watch, 7, |status| status.sent > sent);
}

#[test]
fn once_it_is_dropped_it_is_silent() {
    let (watch, pings) = watched("GET", || Act::Answer(200, String::new()));
    beat_until(&watch, 5, |status| status.sent == 1);
    assert!(pings.recv_timeout(BOUND).expect("a ping").body.is_empty());
    drop(watch);
    // Whoever sends pings has ended when nothing can come any more: its server is asked by nobody.
    let silence = pings.recv_timeout(Duration::from_secs(3));
    assert_eq!(silence.err(), Some(mpsc::RecvTimeoutError::Timeout));
}

#[test]
fn failures_are_counted_and_said_and_tried_again_sooner() {
    let well = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&well);
    let (watch, _pings) = watched("POST", move || match own.load(Ordering::SeqCst) {
        true => Act::Answer(200, "OK".to_owned()),
        false => Act::Echo(500),
    });
    let status = beat_until(&watch, 5, |status| status.failed_in_a_row == 2);
    assert!(status.failure.expect("said").contains("500"));
    assert_eq!(status.confirmed, None);
    well.store(true, Ordering::SeqCst);
    let status = beat_until(&watch, 5, |status| status.sent == 1);
    assert_eq!(status.failed_in_a_row, 0);
    assert!(status.failed >= 2, "{status:?}");
}
