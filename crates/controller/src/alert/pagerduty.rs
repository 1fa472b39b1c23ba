//! PagerDuty, by its Events API v2.
//!
//! An incident is one alert there: raised and resolved by the same key. An event is confirmed by 202,
//! a JSON body whose status is "success", and that same key; whatever else says "fine" is not PagerDuty.
//! An exercise resolves a key that was never raised: key, address and acceptance are tried, and nobody
//! is woken.

use evenkeel_core::alert::{Purpose, Receipt};
use evenkeel_core::check::Severity;
use serde_json::{Value, json};

use super::fields::{Fault, Fields};
use super::http::{Answer, Ask, Content, Site};
use super::secret::Secret;
use super::{Call, Channel, cut};

/// Where events go, unless said otherwise; one in the EU has another host.
const ADDRESS: &str = "https://events.pagerduty.com/v2/enqueue";
/// Longest summary it takes, in characters (its Events API reference).
const SUMMARY_MAX: usize = 1024;

struct PagerDuty {
    site: Site,
    routing_key: Secret,
}

/// Opens one.
pub(super) fn open(fields: &mut Fields<'_>) -> Result<Box<dyn Channel>, Fault> {
    let routing_key = fields.needed_secret("routing_key")?;
    let site = Site::take(fields, Some(ADDRESS), Content::Secret)?;
    Ok(Box::new(PagerDuty { site, routing_key }))
}

impl PagerDuty {
    fn event(&self, call: &Call<'_>, key: &str) -> Value {
        let notice = call.notice();
        let mut event = json!({ "routing_key": self.routing_key.reveal(), "dedup_key": key });
        if notice.purpose != Purpose::Raise {
            event["event_action"] = "resolve".into();
            return event;
        }
        event["event_action"] = "trigger".into();
        event["client"] = "Evenkeel".into();
        event["payload"] = json!({
            "summary": cut(&notice.title, SUMMARY_MAX),
            "source": notice.domain,
            "severity": severity(notice.severity),
            "timestamp": notice.since,
            "component": notice.domain,
            "group": call.store,
            "class": "evenkeel",
            "custom_details": {
                "incident": notice.incident.to_string(),
                "since": notice.since,
                "evidence": notice.evidence,
            },
        });
        event
    }
}

impl Channel for PagerDuty {
    fn deliver(&self, call: &Call<'_>) -> Result<Receipt, String> {
        let key = match call.notice().purpose {
            Purpose::Raise | Purpose::Resolve => call.incident_key(),
            Purpose::Exercise => call.exercise_key(),
        };
        let event = self.event(call, &key);
        let answer = self.site.ask(&Ask::post(&event), &call.deadline)?;
        judge(&self.site.host, &answer, &key)?;
        let text = match call.notice().purpose {
            Purpose::Exercise => format!("exercise accepted, nobody is woken by it (key {key})"),
            Purpose::Raise | Purpose::Resolve => format!("accepted as {key}"),
        };
        Ok(Receipt { text })
    }

    fn describe(&self) -> String {
        format!("events to {}", self.site.host)
    }
}

/// Whether this answer is PagerDuty's word that it has the event.
fn judge(host: &str, answer: &Answer, key: &str) -> Result<(), String> {
    let body = answer.json();
    match answer.status {
        202 => {}
        400 => return Err(format!("{host} refused the event, {}", answer.quote())),
        401 | 403 => return Err(format!("{host} does not take the key, {}", answer.quote())),
        429 => return Err(format!("{host} takes no more events now (429)")),
        status @ 200..=299 => {
            return Err(format!(
                "{host} answered {status} where PagerDuty answers 202: it is another server"
            ));
        }
        _ => return Err(format!("{host} failed, {}", answer.quote())),
    }
    if body["status"] != "success" {
        return Err(format!("{host} did not say success, {}", answer.quote()));
    }
    match body["dedup_key"].as_str() {
        Some(said) if said == key => Ok(()),
        said => Err(format!("{host} confirmed {said:?} and not {key:?}")),
    }
}

/// Its four words for ours.
const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "info",
        Severity::Warning => "warning",
        Severity::Critical => "error",
        Severity::Page => "critical",
    }
}
