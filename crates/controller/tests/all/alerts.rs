//! The alert port: deliveries go out once they are recorded, outcomes come back, and all of it replays.

use std::sync::{Arc, Mutex};

use evenkeel_controller::recorder::replay;
use evenkeel_controller::{AlertPort, Alerts, Teller};
use evenkeel_core::alert::{Delivery, Purpose, Receipt, Told};
use evenkeel_core::incident::chain::Step;
use evenkeel_core::label::Label;
use evenkeel_core::time::Span;

use crate::toy::KINDS;
use crate::world::{World, until};

type Sent = Arc<Mutex<Vec<Delivery>>>;

/// Two channels: the first confirms, the second refuses.
struct Port {
    sent: Sent,
    teller: Teller,
}

impl AlertPort for Port {
    fn send(&self, delivery: Delivery) {
        let outcome = match delivery.channel.as_str() {
            "pager" => Ok(Receipt { text: "key 7".to_owned() }),
            _ => Err("it takes nothing now".to_owned()),
        };
        self.teller.told(Told::new(delivery.number, outcome));
        self.sent.lock().expect("nobody panics with it").push(delivery);
    }
}

fn alerts(sent: &Sent) -> Alerts {
    let step =
        |name| Step { channel: Label::new(name).expect("a label"), ack_within: Span::mins(5) };
    let sent = Arc::clone(sent);
    Alerts {
        chain: vec![step("pager"), step("mail")],
        open: Box::new(move |teller| Box::new(Port { sent, teller })),
    }
}

#[test]
fn an_exercise_goes_through_every_channel_and_what_came_of_it_is_shown() {
    let sent = Sent::default();
    let mut world = World::telling(alerts(&sent), |_| {});
    let accepted = world.client.test_alerts().expect("accepted");
    assert!(accepted.text.contains("pager, mail"), "{}", accepted.text);
    let exercised = |channel: usize| {
        let channel = world.client.alerts().expect("there").channels[channel].clone();
        channel.exercised.map(|outcome| (outcome.confirmed, outcome.text))
    };
    until("both answered", || exercised(0).is_some() && exercised(1).is_some());
    assert_eq!(exercised(0), Some((true, "key 7".to_owned())));
    assert_eq!(exercised(1), Some((false, "it takes nothing now".to_owned())));
    let findings = world.client.fleet().expect("there").findings;
    assert!(findings.iter().any(|f| f.check == "alert-chain" && f.evidence.contains("mail")));
    assert!(sent.lock().unwrap().iter().all(|d| d.notice.purpose == Purpose::Exercise));
    world.stop();
    let same = replay(&world.recordings()[0], KINDS, std::sync::Arc::default(), None).unwrap();
    assert_eq!(same.differing_turns, 0, "{:?}", same.differing);
    assert!(same.turns >= 2, "{}", same.turns);
}

#[test]
fn without_channels_a_finding_says_so_and_an_exercise_is_refused() {
    let world = World::new();
    let error = world.client.test_alerts().expect_err("there is nobody").to_string();
    assert!(error.contains("no alert channel is configured"), "{error}");
    let findings = world.client.fleet().expect("there").findings;
    assert!(findings[0].evidence.contains("no alert channel"), "{findings:?}");
    assert!(world.client.incidents(true).expect("there").is_empty());
    let error = world.client.incident("i7").expect_err("there is none").to_string();
    assert!(error.contains("no incident i7"), "{error}");
    let error = world.client.acknowledge("i7", None).expect_err("there is none").to_string();
    assert!(error.contains("no incident i7"), "{error}");
}
