//! A webhook that is given the whole notice as JSON. Any status from 200 to 299 confirms it.
//!
//! The same delivery bears the same key each time it is sent, so that a receiver can tell a repetition.

use evenkeel_core::alert::Receipt;
use ureq::http::Method;

use super::fields::{Fault, Fields};
use super::http::{Ask, Content, Site};
use super::{Call, Channel};

struct Webhook {
    site: Site,
}

/// Opens one.
pub(super) fn open(fields: &mut Fields<'_>) -> Result<Box<dyn Channel>, Fault> {
    let site = Site::take(fields, None, Content::Secret)?;
    Ok(Box::new(Webhook { site }))
}

impl Channel for Webhook {
    fn deliver(&self, call: &Call<'_>) -> Result<Receipt, String> {
        let document = call.document();
        let headers = [("idempotency-key", call.delivery_key())];
        let ask = Ask { method: Method::POST, below: "", headers: &headers, json: Some(&document) };
        let answer = self.site.ask(&ask, &call.deadline)?;
        let host = &self.site.host;
        match answer.status {
            200..=299 => Ok(Receipt { text: format!("{host} answered {}", answer.status) }),
            300..=399 => Err(format!(
                "{host} answered {}, and redirects are not followed: name the address it leads to",
                answer.status
            )),
            _ => Err(format!("{host} did not take the notice, {}", answer.quote())),
        }
    }

    fn describe(&self) -> String {
        format!("notices as JSON to {}", self.site.host)
    }
}
