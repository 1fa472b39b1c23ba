//! `incident`: what needs a person, grouped by cause.

use clap::{Args, Subcommand};
use evenkeel_core::alert::IncidentId;
use evenkeel_core::view;

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print;

/// Incidents: list, show, ack.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel incident list              # those that are not over
  evenkeel incident list --all
  evenkeel incident show i7
  evenkeel incident ack i7 --note \"looking at the switch of rack 4\"

An incident is everything that went wrong with one cause: a host, an image, a repository, a zone, or one
service alone. Channels are told one after the other until a person acknowledges it.")]
pub struct Incident {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List incidents, newest first.
    List {
        /// Those that are over too.
        #[arg(long)]
        all: bool,
    },
    /// Show an incident and its members.
    Show {
        /// Its number, as `incident list` shows it.
        id: String,
    },
    /// Say that you know of it: nobody else is told.
    Ack {
        /// Its number, as `incident list` shows it.
        id: String,
        /// For the journal, and for whoever looks next.
        #[arg(long)]
        note: Option<String>,
    },
}

impl Incident {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match &self.verb {
            Verb::List { all } => list(context, &context.client()?.incidents(*all)?),
            Verb::Show { id } => page(context, &context.client()?.incident(&number(id)?)?),
            Verb::Ack { id, note } => {
                let accepted = context.client()?.acknowledge(&number(id)?, note.clone())?;
                if context.json {
                    return print::json(&accepted);
                }
                print::line(&accepted.text);
                Ok(())
            }
        }
    }
}

/// The number as the API takes it.
fn number(id: &str) -> Result<String, Failure> {
    let text = || format!("{id:?} is no incident's number; `evenkeel incident list` shows them");
    let found = IncidentId::parse(id).ok_or_else(|| Failure::new(Kind::Usage, text()))?;
    Ok(found.to_string())
}

fn list(context: &Context, incidents: &[view::Incident]) -> Result<(), Failure> {
    if context.json {
        return print::json(&incidents);
    }
    if incidents.is_empty() {
        print::note("no incidents; `evenkeel incident list --all` shows those that are over");
        return Ok(());
    }
    let heading = ["INCIDENT", "STATE", "FOR", "MEMBERS", "CAUSE", "TOLD", "ACKNOWLEDGED BY"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for incident in incidents {
        rows.push(vec![
            incident.id.to_string(),
            incident.state.clone(),
            print::span(incident.opened_ms),
            incident.folded.to_string(),
            incident.domain.clone(),
            or_dash(&incident.told.join(", ")),
            incident.acknowledged.as_ref().map_or_else(|| "-".to_owned(), |ack| ack.by.clone()),
        ]);
    }
    print::table(&rows);
    Ok(())
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn page(context: &Context, incident: &view::Incident) -> Result<(), Failure> {
    if context.json {
        return print::json(incident);
    }
    print::heading(&format!("{}: {}", incident.id, incident.title));
    let mut rows = vec![
        vec!["state".into(), format!("{} for {}", incident.state, print::span(incident.since_ms))],
        vec!["cause".into(), incident.domain.clone()],
        vec!["opened".into(), incident.opened_at.clone()],
        vec!["told".into(), or_dash(&incident.told.join(", "))],
    ];
    if let (Some(text), Some(bits)) = (&incident.stands_out, incident.bits) {
        rows.push(vec!["stands out".into(), format!("{text} ({bits} bits)")]);
    }
    if let Some(ack) = &incident.acknowledged {
        let note = ack.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
        let text = format!("by {}, {} ago{note}", ack.by, print::span(ack.ago_ms));
        rows.push(vec!["acknowledged".into(), text]);
    }
    if let Some(next) = &incident.next {
        rows.push(vec!["next".into(), next.clone()]);
    }
    if let Some(into) = incident.merged_into {
        rows.push(vec!["part of".into(), into.to_string()]);
    }
    let recordings = incident.recordings.iter().enumerate();
    rows.extend(
        recordings.map(|(at, path)| {
            vec![if at == 0 { "recordings" } else { "" }.to_owned(), path.clone()]
        }),
    );
    print::table(&rows);
    let mut members = vec![["MEMBER", "FOR", "WHAT"].map(str::to_owned).to_vec()];
    for member in &incident.members {
        members.push(vec![
            member.subject.clone(),
            member.since_ms.map_or_else(|| "-".to_owned(), print::span),
            member.text.clone(),
        ]);
    }
    if members.len() > 1 {
        print::table(&members);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_with_and_without_their_letter() {
        assert_eq!(number("i7").unwrap(), "i7");
        assert_eq!(number("7").unwrap(), "i7");
        assert_eq!(number("seven").unwrap_err().code(), 2);
    }
}
