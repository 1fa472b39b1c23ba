//! What each kind that speaks HTTP says to its provider, and which answers it believes.

use std::sync::{Arc, Mutex};

use evenkeel_core::alert::{IncidentId, Purpose};
use serde_json::{Value, json};

use super::server::{Act, Asked, Server};
use super::{SECRET, channel, deliver, deliver_this, delivery};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    PagerDuty,
    Alertmanager,
    Slack,
    Webhook,
}

type Provider = Box<dyn Fn(&Asked) -> Act + Send + Sync>;

impl Kind {
    pub const ALL: [Self; 4] = [Self::PagerDuty, Self::Alertmanager, Self::Slack, Self::Webhook];

    /// The fields of a channel that leads to a server.
    pub fn fields(self, origin: &str) -> String {
        match self {
            Self::PagerDuty => format!(
                "kind = \"pagerduty\"\nrouting_key = \"{SECRET}\"\nurl = \"{origin}/v2/enqueue\""
            ),
            Self::Alertmanager => format!(
                "kind = \"alertmanager\"\nurl = \"{origin}\"\nbearer_token_env = \"TEST_SECRET\""
            ),
            Self::Slack => format!("kind = \"slack\"\nurl = \"{origin}/services/{SECRET}\""),
            Self::Webhook => format!("kind = \"webhook\"\nurl = \"{origin}/hook?key={SECRET}\""),
        }
    }

    /// An honest provider.
    pub fn provider(self) -> Provider {
        match self {
            Self::PagerDuty => Box::new(|asked| {
                let key = &asked.json()["dedup_key"];
                let body =
                    json!({ "status": "success", "message": "Event processed", "dedup_key": key });
                Act::Answer(202, body.to_string())
            }),
            Self::Alertmanager => Manager::default().provider(),
            Self::Slack => Box::new(|_| Act::Answer(200, "ok".to_owned())),
            Self::Webhook => Box::new(|_| Act::Answer(204, String::new())),
        }
    }

    pub const fn confirming_status(self) -> u16 {
        if matches!(self, Self::PagerDuty) { 202 } else { 200 }
    }

    pub fn confirming_body(self) -> String {
        match self {
            Self::PagerDuty => json!({ "status": "success", "dedup_key": "st-i7" }).to_string(),
            Self::Alertmanager => String::new(),
            Self::Slack => "ok".to_owned(),
            Self::Webhook => String::new(),
        }
    }
}

/// An Alertmanager, as far as its alerts go; what it does to them is a test's.
#[derive(Clone, Default)]
struct Manager {
    alerts: Arc<Mutex<Vec<Value>>>,
    forgets: bool,
    silences: bool,
    never_ends: bool,
}

impl Manager {
    fn provider(self) -> Provider {
        Box::new(move |asked| {
            let mut alerts = self.alerts.lock().expect("sound");
            if asked.line.starts_with("GET /api/v2/alerts?filter=incident%3D%22st-") {
                return Act::Answer(200, Value::from(self.shown(&alerts)).to_string());
            }
            assert!(asked.line.starts_with("POST /api/v2/alerts "), "{}", asked.line);
            for alert in asked.json().as_array().expect("a list").clone() {
                alerts.retain(|other| other["labels"] != alert["labels"]);
                if !self.forgets {
                    alerts.push(alert);
                }
            }
            Act::Answer(200, String::new())
        })
    }

    fn shown(&self, alerts: &[Value]) -> Vec<Value> {
        let mut alerts = alerts.to_vec();
        for alert in &mut alerts {
            let silenced: &[&str] = if self.silences { &["sil-1"] } else { &[] };
            alert["status"] =
                json!({ "state": "active", "silencedBy": silenced, "inhibitedBy": [] });
            if self.never_ends {
                alert["endsAt"] = "2099-01-01T00:00:00Z".into();
            }
        }
        alerts
    }
}

fn against(
    kind: Kind,
    more: &str,
    act: Provider,
    purpose: Purpose,
) -> (Result<String, String>, Vec<Asked>) {
    let server = Server::start(act);
    let fields = kind.fields(&format!("http://{}", server.address));
    let outcome = deliver(&channel(&format!("{fields}\n{more}")), purpose);
    (outcome, server.asked())
}

fn lie(kind: Kind, status: u16, body: &str) -> String {
    let body = body.to_owned();
    let act = Box::new(move |_: &Asked| Act::Answer(status, body.clone()));
    against(kind, "", act, Purpose::Raise).0.expect_err(&format!("{kind:?} believed a lie"))
}

#[test]
fn pagerduty_is_told_one_alert_for_an_incident_and_believed_only_with_its_key() {
    let kind = Kind::PagerDuty;
    let (said, asked) = against(kind, "", kind.provider(), Purpose::Raise);
    assert_eq!(said.expect("confirmed"), "accepted as st-i7");
    let event = asked[0].json();
    assert!(asked[0].line.starts_with("POST /v2/enqueue "), "{}", asked[0].line);
    assert_eq!(event["event_action"], "trigger");
    assert_eq!(event["routing_key"], SECRET);
    assert_eq!(event["dedup_key"], "st-i7");
    assert_eq!(event["payload"]["severity"], "critical");
    assert_eq!(event["payload"]["source"], "host ha1");
    assert_eq!(event["payload"]["custom_details"]["evidence"][0], "two witnesses do not reach it");
    let (_, asked) = against(kind, "", kind.provider(), Purpose::Resolve);
    assert_eq!(asked[0].json()["event_action"], "resolve");
    assert_eq!(asked[0].json()["dedup_key"], "st-i7");
    let (said, asked) = against(kind, "", kind.provider(), Purpose::Exercise);
    assert!(said.expect("confirmed").contains("nobody is woken"));
    assert_eq!(asked[0].json()["event_action"], "resolve", "an exercise raises nothing");
    assert_eq!(asked[0].json()["dedup_key"], "st-exercise-41");

    for (status, body) in [
        (200, r#"{"status":"success","dedup_key":"st-i7"}"#),
        (200, "<html>Welcome to the network</html>"),
        (202, "<html>Welcome to the network</html>"),
        (202, ""),
        (202, r#"{"status":"success","dedup_key":"st-i8"}"#),
        (202, r#"{"status":"success"}"#),
        (202, r#"{"status":"throttled","dedup_key":"st-i7"}"#),
        (202, r#"["success","st-i7"]"#),
    ] {
        lie(kind, status, body);
    }
}

#[test]
fn what_was_told_under_another_number_is_known_by_that_and_names_both() {
    for (kind, key) in [(Kind::PagerDuty, "st-i3"), (Kind::Webhook, "st-i3"), (Kind::Slack, "")] {
        for purpose in [Purpose::Raise, Purpose::Resolve] {
            let server = Server::start(kind.provider());
            let fields = kind.fields(&format!("http://{}", server.address));
            let mut delivery = delivery(purpose);
            delivery.notice.under = Some(IncidentId(3));
            deliver_this(&channel(&fields), &delivery).expect("confirmed");
            let said = server.asked()[0].json();
            match kind {
                Kind::PagerDuty => assert_eq!(said["dedup_key"], key),
                Kind::Webhook => assert_eq!(said["key"], key),
                _ => assert!(said["text"].as_str().unwrap().contains("i7 (told as i3)"), "{said}"),
            }
        }
    }
}

#[test]
fn slack_is_believed_only_with_its_word_and_shows_no_mentions() {
    let (_, asked) = against(Kind::Slack, "", Kind::Slack.provider(), Purpose::Raise);
    let text = asked[0].json()["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("host ha1 is gone &amp; &lt;nobody&gt; answers"), "{text}");
    assert!(text.contains("- two witnesses do not reach it"), "{text}");
    for (status, body) in [(200, ""), (200, "<html>ok</html>"), (200, "invalid_token"), (201, "ok")]
    {
        lie(Kind::Slack, status, body);
    }
    let other: Provider = Box::new(|_| Act::Answer(200, "1\n".to_owned()));
    against(Kind::Slack, "expect = \"1\"", other, Purpose::Raise).0.expect("its own word");
}

#[test]
fn a_webhook_is_given_the_whole_notice_under_a_key() {
    let (said, asked) = against(Kind::Webhook, "", Kind::Webhook.provider(), Purpose::Raise);
    said.expect("confirmed");
    let document = asked[0].json();
    let notice = serde_json::to_value(super::delivery(Purpose::Raise).notice).expect("JSON");
    assert_eq!(document["notice"], notice);
    assert_eq!(document["key"], "st-i7");
    assert!(asked[0].head.contains("idempotency-key: st-d41"), "{}", asked[0].head);
}

#[test]
fn an_alertmanager_that_forgets_or_silences_is_found_out() {
    let kind = Kind::Alertmanager;
    let forgets = || Manager { forgets: true, ..Manager::default() }.provider();
    let why = against(kind, "", forgets(), Purpose::Raise).0.expect_err("forgotten");
    assert!(why.contains("does not have it"), "{why}");
    let (said, asked) = against(kind, "verify = false", forgets(), Purpose::Raise);
    assert!(said.expect("believed, as told to").contains("not asked"));
    assert_eq!(asked.len(), 1);

    let silences = Manager { silences: true, ..Manager::default() }.provider();
    let why = against(kind, "", silences, Purpose::Raise).0.expect_err("silenced");
    assert!(why.contains("silence sil-1"), "{why}");

    let never_ends = Manager { never_ends: true, ..Manager::default() }.provider();
    let why = against(kind, "", never_ends, Purpose::Resolve).0.expect_err("goes on");
    assert!(why.contains("still shows it"), "{why}");

    let html: Provider = Box::new(|_| Act::Answer(200, "<html>Welcome</html>".to_owned()));
    let why = against(kind, "", html, Purpose::Raise).0.expect_err("no Alertmanager");
    assert!(why.contains("no Alertmanager"), "{why}");
}

#[test]
fn an_alertmanagers_alert_lasts_until_it_is_resolved_whatever_its_severity_became() {
    let manager = Manager::default();
    let server = Server::start(manager.clone().provider());
    let channels = channel(&Kind::Alertmanager.fields(&format!("http://{}", server.address)));
    let mut worse = super::delivery(Purpose::Raise);
    worse.notice.severity = evenkeel_core::check::Severity::Warning;
    channels.deliver(&worse).outcome.expect("raised");
    deliver(&channels, Purpose::Raise).expect("raised");
    let alerts = manager.alerts.lock().expect("sound").clone();
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[1]["labels"]["alertname"], "EvenkeelIncident");
    assert_eq!(alerts[1]["labels"]["incident"], "st-i7");
    assert_eq!(alerts[1]["labels"]["domain"], "host ha1");
    let ends = |alert: &Value| alert["endsAt"].as_str().expect("a time").to_owned();
    let now = evenkeel_core::moment::Moment(evenkeel_controller::wall() * 1000).to_string();
    assert!(alerts.iter().all(|alert| ends(alert) > now), "{now} {alerts:?}");
    deliver(&channels, Purpose::Resolve).expect("resolved");
    let alerts = manager.alerts.lock().expect("sound").clone();
    let now = evenkeel_core::moment::Moment(evenkeel_controller::wall() * 1000).to_string();
    assert_eq!(alerts.len(), 2);
    assert!(alerts.iter().all(|alert| ends(alert) <= now), "{now} {alerts:?}");
}
