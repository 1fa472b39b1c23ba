//! An incoming webhook as Slack's, which Mattermost and others take too: one text.
//!
//! Slack confirms with 200 and the body "ok"; others may say something else, which is then `expect`.

use evenkeel_core::alert::Receipt;
use serde_json::json;

use super::fields::{Fault, Fields};
use super::http::{Ask, Content, Site};
use super::{Call, Channel, cut, wording};

/// Longest text, in characters; Slack cuts at 40,000 and hides long ones.
const TEXT_MAX: usize = 4_000;

struct Slack {
    site: Site,
    expect: String,
}

/// Opens one.
pub(super) fn open(fields: &mut Fields<'_>) -> Result<Box<dyn Channel>, Fault> {
    let site = Site::take(fields, None, Content::Secret)?;
    let expect = fields.text("expect")?.unwrap_or_else(|| "ok".to_owned());
    Ok(Box::new(Slack { site, expect }))
}

/// Its three special characters, so that nothing in a notice becomes a mention or a link.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Channel for Slack {
    fn deliver(&self, call: &Call<'_>) -> Result<Receipt, String> {
        let (subject, body) = (wording::subject(call.notice()), wording::body(call));
        let text = format!("*{}*\n{}", plain(&subject), plain(&body));
        let message = json!({ "text": cut(&text, TEXT_MAX) });
        let answer = self.site.ask(&Ask::post(&message), &call.deadline)?;
        let (host, expect) = (&self.site.host, &self.expect);
        match answer.status {
            200 if answer.body.trim() == expect => {
                Ok(Receipt { text: format!("{host} answered {expect:?}") })
            }
            200 => Err(format!("{host} did not answer {expect:?}, {}", answer.quote())),
            _ => Err(format!("{host} did not take the message, {}", answer.quote())),
        }
    }

    fn describe(&self) -> String {
        format!("messages to {}", self.site.host)
    }
}
