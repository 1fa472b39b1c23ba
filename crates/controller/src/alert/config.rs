//! `alerts.toml`: which channels there are, in which order people are told through them, and who
//! watches from outside. Read once, strictly; all that is wrong is said at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_core::label::{LENGTH_MAX, Label};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::deadman::Watcher;
use super::fields::{Fault, Fields, Sources, line_of, span_text};
use super::secret::Secrets;
use super::{Channel, KINDS};

/// A confirmation is waited for so long, unless said otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A person has so long to acknowledge before the next channel is used too, unless said otherwise.
const ACK_WITHIN: Duration = Duration::from_secs(300);
const ACK_BOUNDS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(24 * 3600));
/// Most channels of a chain.
const CHANNELS_MAX: usize = 16;

/// A file that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{} cannot be read; name the file that says whom to alert", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not as it must be.
    #[error("{}", faults.iter().map(|fault| format!("{}:{}: {}", path.display(), fault.line, fault.text)).collect::<Vec<_>>().join("\n"))]
    Wrong {
        /// Which.
        path: PathBuf,
        /// All that is wrong, in the order of lines.
        faults: Vec<Fault>,
    },
}

/// One channel of the chain.
pub(super) struct Entry {
    pub name: Label,
    pub kind: &'static str,
    pub patience: Duration,
    pub ack_within: Duration,
    pub channel: Box<dyn Channel>,
    pub secrets: Secrets,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.kind)
    }
}

/// What `alerts.toml` says, resolved.
#[derive(Debug)]
pub struct Config {
    pub(super) entries: Vec<Entry>,
    /// Who watches from outside, if anybody.
    pub watcher: Option<Watcher>,
}

impl Config {
    /// Reads a file. Variables that it names are asked of `env`; files that it names relatively are
    /// beside it.
    ///
    /// # Errors
    /// [`Error`], with every line that is wrong, and never with a secret.
    pub fn load(path: &Path, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
        let dir = path.parent().map(Path::to_owned).unwrap_or_default();
        let sources = Sources { dir, env: &env };
        parse(&text, &sources).map_err(|mut faults| {
            faults.sort_by_key(|fault| fault.line);
            Error::Wrong { path: path.to_owned(), faults }
        })
    }

    /// What works and could be better, a sentence each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for entry in &self.entries {
            let found = entry.channel.notes();
            notes.extend(found.into_iter().map(|note| format!("channel {}: {note}", entry.name)));
        }
        if self.entries.len() == 1 {
            notes.push("there is one channel: if its provider is down, nobody is told".to_owned());
        }
        if self.watcher.is_none() {
            notes
                .push("there is no [watcher]: if Evenkeel itself stops, nobody is told".to_owned());
        }
        notes
    }
}

/// Defaults of all channels.
struct Defaults {
    patience: Duration,
    ack_within: Duration,
}

fn parse(text: &str, sources: &Sources<'_>) -> Result<Config, Vec<Fault>> {
    // The parser's own display quotes the line, in which a secret may be.
    let whole = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        vec![Fault { line: line_of(text, at), text: format!("not TOML: {}", error.message()) }]
    })?;
    let mut table = whole.into_inner();
    let mut faults = Vec::new();
    let mut keep = |fault: Fault| faults.push(fault);
    let channels = table.remove("channel");
    let watcher = table.remove("watcher");
    let defaults = defaults(text, table, sources).map_err(&mut keep).ok();
    let defaults = defaults.unwrap_or(Defaults { patience: PATIENCE, ack_within: ACK_WITHIN });
    let tables = tables(text, channels).map_err(&mut keep).unwrap_or_default();
    let mut entries: Vec<Entry> = Vec::new();
    for (table, at) in tables {
        let line = line_of(text, at);
        match entry(Fields::new("channel", text, table, at, sources), &defaults) {
            Ok(entry) if entries.iter().any(|other| other.name == entry.name) => {
                let text = format!("channel {:?} is there twice", entry.name.as_str());
                keep(Fault { line, text });
            }
            Ok(entry) => entries.push(entry),
            Err(fault) => keep(fault),
        }
    }
    let watcher = watcher.map(|found| open_watcher(text, found, sources)).transpose();
    let watcher = watcher.map_err(&mut keep).unwrap_or_default();
    if faults.is_empty() { Ok(Config { entries, watcher }) } else { Err(faults) }
}

fn defaults(text: &str, table: DeTable<'_>, sources: &Sources<'_>) -> Result<Defaults, Fault> {
    let mut fields = Fields::new("the file", text, table, 0, sources);
    let defaults = Defaults {
        patience: fields.span("patience", PATIENCE, PATIENCE_BOUNDS)?,
        ack_within: fields.span("ack_within", ACK_WITHIN, ACK_BOUNDS)?,
    };
    fields.asked("[[channel]]");
    fields.asked("[watcher]");
    fields.end()?;
    Ok(defaults)
}

/// The channels' tables, and where each begins.
fn tables<'a>(
    text: &str,
    found: Option<Spanned<DeValue<'a>>>,
) -> Result<Vec<(DeTable<'a>, usize)>, Fault> {
    let at = found.as_ref().map_or(0, |found| found.span().start);
    let fault = |why: String| Fault { line: line_of(text, at), text: why };
    let list = match found.map(Spanned::into_inner) {
        Some(DeValue::Array(list)) => list,
        Some(_) => return Err(fault("channels begin with [[channel]], each".to_owned())),
        None => return Err(fault("there is no [[channel]]: nobody would be told".to_owned())),
    };
    if list.is_empty() || list.len() > CHANNELS_MAX {
        return Err(fault(format!("there must be 1 to {CHANNELS_MAX} channels")));
    }
    let mut tables = Vec::new();
    for one in list {
        let at = one.span().start;
        match one.into_inner() {
            DeValue::Table(table) => tables.push((table, at)),
            _ => return Err(fault("channels begin with [[channel]], each".to_owned())),
        }
    }
    Ok(tables)
}

fn entry(mut fields: Fields<'_>, defaults: &Defaults) -> Result<Entry, Fault> {
    let name = fields.needed("name", "\"pager\"")?;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label = Label::new(&name).ok().filter(|_| name.chars().all(good));
    let label = label.ok_or_else(|| {
        fields.fault(format!("name {name:?} must be 1 to {LENGTH_MAX} of a-z, 0-9 and -"))
    })?;
    fields.what = format!("channel {name:?}");
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let given = fields.needed("kind", &format!("\"{}\"", kinds[0]))?;
    let kind = KINDS.iter().find(|kind| kind.name == given).ok_or_else(|| {
        fields.fault(format!("there is no kind {given:?}; there are {}", kinds.join(", ")))
    })?;
    let patience = fields.span("patience", defaults.patience, PATIENCE_BOUNDS)?;
    let ack_within = fields.span("ack_within", defaults.ack_within, ACK_BOUNDS)?;
    if patience > ack_within {
        return Err(fields.fault(format!(
            "patience ({}) is longer than ack_within ({}); make it shorter",
            span_text(patience),
            span_text(ack_within)
        )));
    }
    let channel = (kind.open)(&mut fields)?;
    let secrets = fields.end()?;
    Ok(Entry { name: label, kind: kind.name, patience, ack_within, channel, secrets })
}

fn open_watcher<'a>(
    text: &'a str,
    found: Spanned<DeValue<'a>>,
    sources: &'a Sources<'a>,
) -> Result<Watcher, Fault> {
    let at = found.span().start;
    let DeValue::Table(table) = found.into_inner() else {
        let why = "the watcher begins with [watcher]".to_owned();
        return Err(Fault { line: line_of(text, at), text: why });
    };
    let mut fields = Fields::new("watcher", text, table, at, sources);
    let mut watcher = super::deadman::open(&mut fields)?;
    watcher.secrets = fields.end()?;
    Ok(watcher)
}
