//! `diagnose`: how a service stands, check by check.

use clap::Args;
use evenkeel_core::view::{Diagnosed, Light};
use serde_json::json;

use super::{check, explain, show};
use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Print every check of a service: red, yellow, green, or not read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel diagnose orders
  evenkeel diagnose orders --history
  evenkeel diagnose orders --json | jq '.checks[] | select(.light == \"red\")'")]
pub struct Diagnose {
    /// Its name.
    name: String,
    /// Print what came and went lately too.
    #[arg(long)]
    history: bool,
}

impl Diagnose {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let diagnosis = client.diagnosis(&self.name)?;
        let history =
            self.history.then(|| check::history(context, &self.name, None)).transpose()?;
        if context.json {
            return match history {
                None => print::json(&diagnosis),
                Some(history) => print::json(&json!({
                    "service": diagnosis.service, "state": diagnosis.state,
                    "checks": diagnosis.checks, "history": history,
                })),
            };
        }
        print::heading(&format!("{}: {}", diagnosis.service, print::state(diagnosis.state)));
        let mut family = None;
        for check in &diagnosis.checks {
            if family.replace(check.family) != Some(check.family) {
                print::heading(&check.family.to_string());
            }
            line(check);
        }
        if let Some(history) = history {
            print::heading("what came and went");
            explain::entries(&history, Some(client.fleet()?.now));
        }
        Ok(())
    }
}

fn line(check: &Diagnosed) {
    let light = match check.light {
        Light::Red => "red",
        Light::Yellow => "yellow",
        Light::Unread => "unread",
        Light::Green => "green",
        Light::NotApplicable => "n/a",
    };
    let Diagnosed { check: name, text, findings, .. } = check;
    if findings.is_empty() {
        return print::line(&format!("  {}  {name}: {text}", print::light(check.light, light)));
    }
    for finding in findings {
        let since = print::span(finding.since_ms);
        print::line(&format!(
            "  {}  {name}: {}: {} (for {since})",
            print::light(check.light, light),
            finding.subject,
            finding.evidence
        ));
        show::items(finding);
    }
}
