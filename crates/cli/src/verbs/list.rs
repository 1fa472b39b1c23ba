//! `list`: every service.

use clap::Args;

use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// List every service, with the incident that it is part of while there is one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel list
  evenkeel list --json | jq -r '.[].name'
  evenkeel list --json | jq -r '.[] | select(.incident) | .name'    # those in an open incident")]
pub struct List {}

impl List {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let services = context.client()?.services()?;
        if context.json {
            return print::json(&services);
        }
        if services.is_empty() {
            print::note("no services yet; create one with `evenkeel create postgres NAME`");
            return Ok(());
        }
        let heading = ["NAME", "KIND", "PLAN", "STATE", "FOR", "HOST", "INCIDENT", "NOTES"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for service in &services {
            let host = service.members.first().map_or(String::new(), |m| m.host.clone());
            let worst = service.findings.first().map(|f| f.check.clone()).unwrap_or_default();
            let busy = service.operation.as_ref().map(|o| o.name.clone());
            rows.push(vec![
                service.name.clone(),
                service.kind.clone(),
                service.plan.clone(),
                print::state(service.state),
                print::span(service.since_ms),
                host,
                service.incident.map_or_else(|| "-".to_owned(), |incident| incident.to_string()),
                busy.unwrap_or(worst),
            ]);
        }
        print::table(&rows);
        Ok(())
    }
}
