//! `findings`: what is not as it should be, in the whole fleet.

use clap::Args;
use evenkeel_api::FindingsQuery;
use evenkeel_core::check::{Family, Severity};
use serde::de::DeserializeOwned;

use super::show;
use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Print what is not as it should be, worst first, of services and hosts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel findings
  evenkeel findings --service orders
  evenkeel findings --family security --severity critical --json")]
pub struct Findings {
    /// Only those of this service.
    #[arg(long)]
    service: Option<String>,
    /// Only those of a family: backups, replication, security, performance, host.
    #[arg(long, value_parser = word::<Family>)]
    family: Option<Family>,
    /// Only those so bad, or worse: note, warning, critical, page.
    #[arg(long, value_parser = word::<Severity>)]
    severity: Option<Severity>,
}

/// One of the words that stand for something.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let read = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    read.map_err(|error: serde_json::Error| error.to_string())
}

impl Findings {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let query = FindingsQuery {
            service: self.service.clone(),
            family: self.family,
            severity: self.severity,
        };
        let found = context.client()?.findings(&query)?;
        if context.json {
            return print::json(&found);
        }
        if found.is_empty() {
            print::note("nothing is found");
            return Ok(());
        }
        let heading = ["SEVERITY", "FAMILY", "CHECK", "SERVICE", "SUBJECT", "FOR", "EVIDENCE"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for finding in &found {
            rows.push(vec![
                print::severity(finding.severity),
                finding.family.to_string(),
                finding.check.clone(),
                finding.service.clone().unwrap_or_else(|| "-".to_owned()),
                finding.subject.clone(),
                print::span(finding.since_ms),
                finding.evidence.clone(),
            ]);
        }
        print::table(&rows);
        found.iter().for_each(show::items);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_that_are_printed() {
        for family in [Family::Backups, Family::Host] {
            assert_eq!(word(&family.to_string()), Ok(family));
        }
        assert_eq!(word(&Severity::Page.to_string()), Ok(Severity::Page));
        let wrong = word::<Severity>("bad").unwrap_err();
        assert!(wrong.contains("critical"), "{wrong}");
    }
}
