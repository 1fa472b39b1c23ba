//! Every operation's runbook as a page.

use std::fmt::Write as _;

use evenkeel_core::operation::{OnDeath, Past, SPECS, Spec};

use crate::golden;

fn page(spec: &Spec) -> String {
    let mut page = format!(
        "# The operation: {}\n\nRendered from its runbook; do not edit.\n\n{}\n\n\
         Claim: {:?}. Expected write outage: {} s. By hand: {} min.\n\n\
         | step | orders | proven by | within | else | if a member dies |\n|---|---|---|---|---|---|\n",
        spec.name, spec.story, spec.lane, spec.outage_seconds, spec.manual_minutes
    );
    for step in spec.steps {
        let past = match step.past {
            Past::Insist { tries: 0 } => "page, go on waiting".to_owned(),
            Past::Insist { tries } => format!("order again ({tries}), then page and go on waiting"),
            Past::GiveUp => "page, give up".to_owned(),
            Past::GoOn => "go on".to_owned(),
        };
        let death = match step.on_death {
            OnDeath::Continue => "goes on",
            OnDeath::HandOver => "ends; remedies take over",
        };
        let (order, proof, within) = (step.order, step.proof, step.deadline);
        writeln!(page, "| {} | {order:?} | {proof:?} | {within} | {past} | {death} |", step.name)
            .expect("text");
    }
    page
}

#[test]
fn pages_are_current() {
    for spec in SPECS {
        golden::page(&format!("operations/{}.md", spec.name), &page(spec));
    }
}
