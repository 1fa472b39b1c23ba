//! Remedies as files: TOML, read once, explained where they are wrong.
//!
//! ```
//! use evenkeel_core::remedy::file;
//! let remedy = file::parse(r#"
//!     name = "hung"
//!     doc = "A server that answers nobody is ended hard and started."
//!     when = "condition == 'hung'"
//!     operation = "recover"
//!     level = "auto"
//!     manual_minutes = 20
//!     budget = { tries_max = 3, window = "30m", cooldown = "30s" }
//! "#).unwrap();
//! assert_eq!(&*remedy.name, "hung");
//! assert!(file::parse("name = 'hung'").is_err());
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use super::guard;
use super::{Budget, Course, Guard, Level, Remedy};
use crate::operation::SPECS;
use crate::time::{BadSpan, Span};

/// Longest name, in bytes.
const NAME_MAX: usize = 40;

/// The postures that a file may name in `held_in`.
pub const POSTURES: [&str; 5] =
    ["observer_suspect", "recovering", "succeeded", "storage_down", "pager_down"];

/// A file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    doc: String,
    when: String,
    operation: Option<String>,
    procedure: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    #[serde(default)]
    held_in: Vec<String>,
    level: Level,
    manual_minutes: u16,
    budget: RawBudget,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBudget {
    tries_max: u8,
    window: String,
    #[serde(default)]
    cooldown: Option<String>,
    #[serde(default)]
    fleet_max: Option<u16>,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no TOML of this shape.
    #[error("it cannot be read: {0}")]
    Shape(String),
    /// Its name is no name.
    #[error("{0:?} is no name: lower case words joined by '-', at most {NAME_MAX} bytes")]
    Name(String),
    /// It says nothing about itself.
    #[error(
        "`doc` says what it does and why that suffices, as sentences that end with a full stop"
    )]
    Doc,
    /// Its guard is unsound.
    #[error("`when`: {0}")]
    Guard(#[from] guard::Error),
    /// It does nothing, or two things.
    #[error("it needs one of `operation` and `procedure`")]
    Course,
    /// Parameters without a procedure.
    #[error("`parameters` are a procedure's; an operation takes none")]
    Parameters,
    /// No such operation.
    #[error("no operation is named {name:?}; there are: {known}")]
    Operation {
        /// As given.
        name: String,
        /// Those there are.
        known: String,
    },
    /// No such posture.
    #[error("no posture is named {0:?}; there are: {known}", known = POSTURES.join(", "))]
    Posture(String),
    /// A budget that allows nothing, or for ever.
    #[error("`budget`: {0}")]
    Budget(String),
}

impl From<BadSpan> for Error {
    fn from(bad: BadSpan) -> Self {
        Self::Budget(bad.to_string())
    }
}

/// Reads one file.
///
/// # Errors
/// [`Error`] names what is wrong, and what would do.
pub fn parse(text: &str) -> Result<Remedy, Error> {
    let raw: Raw = toml::from_str(text).map_err(|error| Error::Shape(error.to_string()))?;
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if raw.name.is_empty() || raw.name.len() > NAME_MAX || !raw.name.bytes().all(word) {
        return Err(Error::Name(raw.name));
    }
    if !raw.doc.trim_end().ends_with('.') {
        return Err(Error::Doc);
    }
    let unknown = raw.held_in.iter().find(|posture| !POSTURES.contains(&posture.as_str()));
    if let Some(posture) = unknown {
        return Err(Error::Posture(posture.clone()));
    }
    let course = match (raw.operation, raw.procedure) {
        (Some(_), None) if !raw.parameters.is_empty() => return Err(Error::Parameters),
        (Some(name), None) => {
            let spec = SPECS.iter().find(|spec| spec.name == name);
            let known = || SPECS.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ");
            let spec =
                spec.ok_or_else(|| Error::Operation { name: name.clone(), known: known() })?;
            Course::Operation(spec.kind)
        }
        (None, Some(name)) => Course::Procedure { name: name.into(), parameters: raw.parameters },
        _ => return Err(Error::Course),
    };
    let budget = Budget {
        tries_max: raw.budget.tries_max,
        window: raw.budget.window.parse()?,
        cooldown: raw.budget.cooldown.map_or(Ok(Span(0)), |text| text.parse())?,
        fleet_max: raw.budget.fleet_max,
    };
    if budget.tries_max == 0 || budget.window == Span(0) || budget.fleet_max == Some(0) {
        let text = "`tries_max`, `window` and `fleet_max` are at least 1; to switch a remedy off, set \
                    its level";
        return Err(Error::Budget(text.to_owned()));
    }
    Ok(Remedy {
        name: raw.name.into(),
        doc: words(&raw.doc),
        guard: Guard::new(&words(&raw.when))?,
        held_in: raw.held_in,
        course,
        budget,
        level: raw.level,
        manual_minutes: raw.manual_minutes,
    })
}

/// A text in one line.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "
        name = 'end-idlers'
        doc = 'Sessions that hold a transaction open and do nothing are ended.'
        when = \"'idle-transactions' in findings\"
        procedure = 'end-idle-transactions'
        parameters = { older_than_seconds = '600' }
        held_in = ['observer_suspect']
        level = 'approve'
        manual_minutes = 10
        budget = { tries_max = 3, window = '1h', cooldown = '5m', fleet_max = 10 }
    ";

    #[test]
    fn a_file_says_everything() {
        let remedy = parse(SOUND).expect("sound");
        assert_eq!(remedy.level, Level::Approve);
        assert_eq!(remedy.budget.cooldown, Span::mins(5));
        assert_eq!(remedy.course.to_string(), "procedure end-idle-transactions");
    }

    #[test]
    fn what_is_wrong_names_the_input_and_the_fix() {
        let with = |from: &str, to: &str| {
            assert!(SOUND.contains(from), "{from}");
            parse(&SOUND.replace(from, to)).expect_err("unsound").to_string()
        };
        assert!(with("'end-idlers'", "'End Idlers'").contains("lower case words"));
        assert!(with("are ended.", "are ended").contains("full stop"));
        assert!(with("in findings", "in finding").contains("a guard may ask for"));
        assert!(with("procedure =", "operation =").contains("a procedure's"));
        assert!(with("level = 'approve'", "level = 'perhaps'").contains("perhaps"));
        assert!(with("'1h'", "'1 fortnight'").contains("fortnight"));
        assert!(with("tries_max = 3", "tries_max = 0").contains("at least 1"));
        assert!(with("observer_suspect", "sunday").contains("storage_down"));
        assert!(with("manual_minutes", "minutes").contains("minutes"));
        let no_parameters = SOUND.replace("parameters = { older_than_seconds = '600' }", "");
        let unknown = no_parameters.replace("procedure = 'end", "operation = 'end");
        assert!(parse(&unknown).expect_err("unsound").to_string().contains("restart, recover"));
    }
}
