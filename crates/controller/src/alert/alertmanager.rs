//! Prometheus' Alertmanager, by its API v2.
//!
//! It confirms with 200 what it may then drop, so it is asked whether it has the alert. An alert that a
//! silence or another alert keeps from people is not delivered: the chain must go on.
//!
//! An alert there is its labels. The severity of an incident may have changed since it was raised, so
//! a resolution ends every alert that bears the incident's label. It also ends by itself what nobody
//! repeats: a raised alert says until when it is to be kept.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_core::alert::{Purpose, Receipt};
use evenkeel_core::moment::Moment;
use serde_json::{Value, json};
use ureq::http::Method;

use super::fields::{Fault, Fields};
use super::http::{Ask, Content, Site};
use super::{Call, Channel};
use crate::clock::wall;

/// Below its address.
const ALERTS: &str = "/api/v2/alerts";
/// A raised alert is kept so long, unless said otherwise.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// An exercise is kept so long.
const KEEP_EXERCISE: Duration = Duration::from_secs(300);
/// It is asked so often whether it has what it took.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

struct Alertmanager {
    site: Site,
    verify: bool,
    keep: Duration,
}

/// Opens one.
pub(super) fn open(fields: &mut Fields<'_>) -> Result<Box<dyn Channel>, Fault> {
    let site = Site::take(fields, None, Content::Plain)?;
    let verify = fields.flag("verify", true)?;
    let bounds = (Duration::from_secs(3600), Duration::from_secs(90 * 24 * 3600));
    let keep = fields.span("keep", KEEP, bounds)?;
    Ok(Box::new(Alertmanager { site, verify, keep }))
}

type Labels = BTreeMap<String, String>;

fn labels(call: &Call<'_>) -> Labels {
    let notice = call.notice();
    let (name, incident) = match notice.purpose {
        Purpose::Raise | Purpose::Resolve => ("EvenkeelIncident", call.incident_key()),
        Purpose::Exercise => ("EvenkeelExercise", call.exercise_key()),
    };
    let pairs = [
        ("alertname", name.to_owned()),
        ("incident", incident),
        ("domain", notice.domain.clone()),
        ("severity", notice.severity.to_string()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The wall clock, so much later.
fn in_time(later: Duration) -> String {
    let later = i64::try_from(later.as_millis()).unwrap_or(i64::MAX);
    Moment(wall().saturating_add(later).saturating_mul(1000)).to_string()
}

impl Alertmanager {
    fn alert(call: &Call<'_>, labels: &Labels, ends: &str) -> Value {
        let notice = call.notice();
        // The cell's clock may be ahead of the wall's, and what ends before it began is refused.
        let since: Option<Moment> = notice.since.parse().ok();
        let now = Moment(wall().saturating_mul(1000));
        let since = since.map_or(now, |since| since.min(now));
        json!({
            "labels": labels,
            "annotations": { "summary": notice.title, "description": notice.evidence.join("\n") },
            "startsAt": since.to_string(),
            "endsAt": ends,
        })
    }

    /// The alerts that bear the incident's label and are not over.
    fn found(&self, call: &Call<'_>, incident: &str) -> Result<Vec<Found>, String> {
        let filter = format!("incident=\"{incident}\"");
        let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let below = format!("{ALERTS}?filter={filter}");
        let ask = Ask { method: Method::GET, below: &below, headers: &[], json: None };
        let answer = self.site.ask(&ask, &call.deadline)?;
        let host = &self.site.host;
        if answer.status != 200 {
            return Err(format!("{host} does not say which alerts it has, {}", answer.quote()));
        }
        let found: Vec<Found> = serde_json::from_str(&answer.body)
            .map_err(|_| format!("{host} answers no list of alerts: it is no Alertmanager"))?;
        // An older one, or one that only looks like it, may not filter.
        let ours = |found: &Found| found.labels.get("incident").is_some_and(|is| is == incident);
        Ok(found.into_iter().filter(ours).collect())
    }

    fn post(&self, call: &Call<'_>, alerts: &Value) -> Result<(), String> {
        let ask = Ask { method: Method::POST, below: ALERTS, headers: &[], json: Some(alerts) };
        let answer = self.site.ask(&ask, &call.deadline)?;
        match answer.status {
            200 => Ok(()),
            401 | 403 => Err(format!("{} does not let us in ({})", self.site.host, answer.status)),
            _ => Err(format!("{} did not take the alert, {}", self.site.host, answer.quote())),
        }
    }

    /// Asks until it is as it should be, as long as there is time.
    fn until(
        &self,
        call: &Call<'_>,
        incident: &str,
        shown: impl Fn(&[Found]) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            match shown(&self.found(call, incident)?) {
                Ok(()) => return Ok(()),
                Err(why) if call.deadline.left().is_none_or(|left| left <= LOOK_AGAIN) => {
                    return Err(format!("{} took the alert, and {why}", self.site.host));
                }
                Err(_) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    fn raise(&self, call: &Call<'_>, keep: Duration) -> Result<Receipt, String> {
        let labels = labels(call);
        let incident = &labels["incident"];
        self.post(call, &json!([Self::alert(call, &labels, &in_time(keep))]))?;
        if self.verify {
            self.until(call, incident, |found| {
                let ours = found.iter().find(|found| found.labels == labels);
                ours.ok_or("does not have it when asked")?.reaches_people()
            })?;
        }
        let seen = if self.verify { "and has it" } else { "(not asked whether it has it)" };
        Ok(Receipt { text: format!("accepted as incident {incident} {seen}") })
    }

    fn resolve(&self, call: &Call<'_>) -> Result<Receipt, String> {
        let own = labels(call);
        let incident = own["incident"].clone();
        let mut ending = vec![own];
        if self.verify {
            let others = self.found(call, &incident)?.into_iter().map(|found| found.labels);
            ending.extend(others);
            ending.sort();
            ending.dedup();
        }
        let now = in_time(Duration::ZERO);
        let alerts: Vec<_> = ending.iter().map(|one| Self::alert(call, one, &now)).collect();
        self.post(call, &Value::from(alerts))?;
        if self.verify {
            self.until(call, &incident, |found| match found.iter().all(Found::is_over) {
                true => Ok(()),
                false => Err("still shows it as going on".to_owned()),
            })?;
        }
        Ok(Receipt { text: format!("incident {incident} is over there") })
    }
}

impl Channel for Alertmanager {
    fn deliver(&self, call: &Call<'_>) -> Result<Receipt, String> {
        match call.notice().purpose {
            Purpose::Raise => self.raise(call, self.keep),
            Purpose::Exercise => self.raise(call, KEEP_EXERCISE),
            Purpose::Resolve => self.resolve(call),
        }
    }

    fn describe(&self) -> String {
        let verified = if self.verify { "" } else { ", not asked whether it has them" };
        format!("alerts to {}{verified}", self.site.host)
    }
}

/// An alert as it shows it.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    labels: Labels,
    #[serde(default)]
    ends_at: String,
    #[serde(default)]
    status: Status,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    silenced_by: Vec<String>,
    #[serde(default)]
    inhibited_by: Vec<String>,
}

impl Found {
    fn reaches_people(&self) -> Result<(), String> {
        match (self.status.silenced_by.first(), self.status.inhibited_by.first()) {
            (None, None) if self.is_over() => Err("shows it as over".to_owned()),
            (None, None) => Ok(()),
            (Some(silence), _) => Err(format!("silence {silence} there keeps it from everybody")),
            (None, Some(alert)) => Err(format!("alert {alert} there inhibits it")),
        }
    }

    fn is_over(&self) -> bool {
        let ends: Option<Moment> = self.ends_at.parse().ok();
        ends.is_some_and(|ends| ends.0 <= wall().saturating_mul(1000))
    }
}
