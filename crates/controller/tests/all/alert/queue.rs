//! Deliveries on threads: nothing blocks, everything is answered once, in an incident's order.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};

use evenkeel_controller::alert::spawn;
use evenkeel_core::alert::{Delivery, IncidentId, Purpose};
use evenkeel_core::label::Label;

use super::server::{Act, Server};
use super::{BOUND, PATIENCE, channels};

fn delivery(number: u64, incident: u32, channel: &str) -> Delivery {
    let mut delivery = super::delivery(Purpose::Raise);
    delivery.number = number;
    delivery.notice.incident = IncidentId(incident);
    delivery.channel = Label::new(channel).expect("short");
    delivery
}

#[test]
fn a_provider_that_hangs_delays_no_other_channel_and_a_full_queue_is_a_failure() {
    let hangs = Server::start(|_| Act::Hang);
    let takes = Server::start(|_| Act::Answer(200, String::new()));
    let channels = channels(&format!(
        "{PATIENCE}[[channel]]\nname = \"hangs\"\nkind = \"webhook\"\nurl = \"http://{}\"\n\
         [[channel]]\nname = \"takes\"\nkind = \"webhook\"\nurl = \"http://{}\"\n",
        hangs.address, takes.address
    ));
    let (told, answers) = mpsc::channel();
    let sender = spawn(Arc::new(channels), move |answer| {
        let _ = told.send(answer);
    })
    .expect("threads");
    // All of one incident: one lane, and more than it holds.
    (0..100).for_each(|number| sender.send(delivery(number, 3, "hangs")));
    sender.send(delivery(100, 3, "takes"));
    sender.send(delivery(101, 3, "nobody"));
    let mut seen = BTreeSet::new();
    let mut full = 0;
    while !(seen.contains(&100) && seen.contains(&101) && full > 0) {
        let answer = answers.recv_timeout(BOUND).expect("an answer");
        assert!(seen.insert(answer.number), "{} is answered twice", answer.number);
        match (answer.number, answer.outcome) {
            (100, outcome) => assert!(outcome.is_ok(), "{outcome:?}"),
            (101, outcome) => {
                assert!(outcome.expect_err("unknown").contains("alerts.toml has hangs, takes"));
            }
            (_, outcome) => {
                let why = outcome.expect_err("it hangs");
                full += u32::from(why.contains("too many deliveries"));
            }
        }
    }
    assert!(full >= 30, "{full}");
}

#[test]
fn what_concerns_one_incident_arrives_in_order_and_is_answered_once_each() {
    let server = Server::start(|_| Act::Answer(200, String::new()));
    let channels = channels(&format!(
        "{PATIENCE}[[channel]]\nname = \"c\"\nkind = \"webhook\"\nurl = \"http://{}\"\n",
        server.address
    ));
    let (told, answers) = mpsc::channel();
    let sender = spawn(Arc::new(channels), move |answer| {
        let _ = told.send(answer);
    })
    .expect("threads");
    (0..40)
        .for_each(|number| sender.send(delivery(number, u32::try_from(number % 5).unwrap(), "c")));
    drop(sender);
    // The sender's end ends nothing that is on its way, and then the answers.
    let answered: BTreeSet<u64> = answers.iter().map(|answer| answer.number).collect();
    assert_eq!(answered, (0..40).collect());
    let mut newest = [0; 5];
    for asked in server.asked() {
        let document = asked.json();
        let incident = usize::try_from(document["notice"]["incident"].as_u64().unwrap()).unwrap();
        let number = document["delivery"].as_u64().unwrap();
        assert!(number >= newest[incident], "{number} came after {}", newest[incident]);
        newest[incident] = number;
    }
}
