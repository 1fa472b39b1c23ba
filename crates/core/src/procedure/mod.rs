//! Procedures: runbooks that are scripts, with a manifest, a contract, and a digest that pins them.
//!
//! The story: a script runs beside a member's server, as the agent's own unprivileged user, in a scratch
//! directory and a clean environment. It reads one JSON object on its standard input ([`Script::input`]), logs
//! to its standard error, and answers on its standard output with one JSON object (`{"ok": true, "text": "...",
//! "changed": [...]}`), which [`judge`] takes. Whoever runs it gives text and digest; a text that is another
//! one's is refused.

mod ran;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::digest::Digest;
use crate::goal::{Goal, Role};
use crate::id::OperationId;
use crate::operation;
use crate::time::Span;

pub use ran::{Ended, Ran, judge};

/// Longest name of a procedure or a parameter, in bytes.
pub const NAME_MAX_BYTES: usize = 48;
/// Longest script, in bytes: it travels with a goal and is kept with what was done.
pub const TEXT_MAX_BYTES: usize = 64 << 10;
/// Most steps of one procedure.
pub const STEPS_MAX: usize = 16;
/// Longest value of a parameter, in bytes.
pub const VALUE_MAX_BYTES: usize = 4 << 10;
/// Longest time that a script may be given.
pub const LIMIT_MAX: Span = Span::mins(12 * 60);
/// What is kept of a script's standard output and of its log, in bytes each: the end of it.
pub const OUTPUT_MAX_BYTES: usize = 64 << 10;

/// Which login at the database a script gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// Low privileges: statistics and settings are readable, no user's data is.
    Check,
    /// Evenkeel's own, which may do everything.
    Maintenance,
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Any text.
    Text,
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// Any text.
    Text(String),
}

impl Value {
    const fn is(&self, of: Type) -> bool {
        matches!(
            (self, of),
            (Self::Integer(_), Type::Integer)
                | (Self::Boolean(_), Type::Boolean)
                | (Self::Text(_), Type::Text)
        )
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A parameter of a procedure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub of: Type,
    /// What it does, as a sentence.
    pub doc: String,
    /// What it is where nobody says; without one it must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// An operation of Evenkeel that a procedure may have as a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// An orderly restart.
    Restart,
    /// A standby takes the primary's place, in order.
    Switchover,
}

impl Operation {
    /// Its runbook.
    #[must_use]
    pub const fn kind(self) -> operation::Kind {
        match self {
            Self::Restart => operation::Kind::Restart,
            Self::Switchover => operation::Kind::Switchover,
        }
    }
}

/// A step of a procedure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// An operation of Evenkeel.
    Operation(Operation),
    /// A script, by the name of its file.
    Script(String),
}

/// What a procedure says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// What it is for and what it does, as sentences.
    pub doc: String,
    /// The kind of service that it is for.
    pub kind: String,
    /// The program that runs its scripts, with its arguments; the script's file comes after them.
    pub interpreter: Vec<String>,
    /// How long each of its scripts may take, in seconds.
    pub time_limit_seconds: u32,
    /// Which login at the database its scripts get.
    pub role: Login,
    /// Whether clients may notice it: it waits its turn among what is planned then.
    pub disruptive: bool,
    /// Whether a script that was interrupted may simply be begun again.
    #[serde(default)]
    pub repeatable: bool,
    /// Whether it can say what it would do, without doing it.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether a second person must agree before it runs under break-glass.
    #[serde(default)]
    pub second_person: bool,
    /// Minutes a person would need for the same.
    pub manual_minutes: u16,
    /// Its parameters.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Its steps, in order; without any it is the one script of its name.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// Everything that decides what a script does on a host; its digest pins it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The program that runs it, with its arguments.
    pub interpreter: Vec<String>,
    /// How long it may take.
    pub limit: Span,
    /// Which login it gets.
    pub login: Login,
    /// Whether clients may notice it.
    pub disruptive: bool,
    /// Whether it may be begun again.
    pub repeatable: bool,
    /// The script.
    pub text: String,
}

impl Code {
    /// What pins it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_json(self)
    }
}

/// A procedure: its manifest, and the scripts that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Procedure {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its scripts by name.
    pub scripts: BTreeMap<String, String>,
    /// Whether it came with Evenkeel.
    pub bundled: bool,
}

/// Why a procedure cannot be used, or not like that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The manifest says something that cannot be.
    #[error("procedure {name:?}: {what}")]
    Manifest {
        /// Its name.
        name: String,
        /// What is wrong, and what would do.
        what: String,
    },
    /// No such parameter.
    #[error("procedure {procedure} has no parameter {name:?}; it has: {known}")]
    NoSuchParameter {
        /// The procedure.
        procedure: String,
        /// What was given.
        name: String,
        /// Those it has.
        known: String,
    },
    /// A value that the parameter does not take.
    #[error("parameter {name} of procedure {procedure} is {wanted}, not {given:?}")]
    BadValue {
        /// The procedure.
        procedure: String,
        /// The parameter.
        name: String,
        /// What it takes.
        wanted: &'static str,
        /// What was given.
        given: String,
    },
    /// A value is missing.
    #[error(
        "procedure {procedure} needs parameter {name}: {doc} Give it with `--param {name}=...`"
    )]
    Missing {
        /// The procedure.
        procedure: String,
        /// The parameter.
        name: String,
        /// What it does.
        doc: String,
    },
    /// It cannot say what it would do.
    #[error(
        "procedure {procedure} cannot say what it would do without doing it; leave out --dry-run"
    )]
    NoDryRun {
        /// The procedure.
        procedure: String,
    },
}

fn is_name(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    !text.is_empty() && text.len() <= NAME_MAX_BYTES && text.bytes().all(inside)
}

impl Procedure {
    /// What pins all of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_json(&(&self.manifest, &self.scripts))
    }

    /// Its steps: those of the manifest, or the one script of its name.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        match self.manifest.steps.as_slice() {
            [] => vec![Step::Script(self.manifest.name.clone())],
            steps => steps.to_vec(),
        }
    }

    /// One of its scripts, with all that decides what it does.
    #[must_use]
    pub fn code(&self, script: &str) -> Option<Code> {
        let manifest = &self.manifest;
        Some(Code {
            interpreter: manifest.interpreter.clone(),
            limit: Span::secs(u64::from(manifest.time_limit_seconds)),
            login: manifest.role,
            disruptive: manifest.disruptive,
            repeatable: manifest.repeatable,
            text: self.scripts.get(script)?.clone(),
        })
    }

    /// Whether it can be used at all.
    ///
    /// # Errors
    /// [`Error::Manifest`] names the first thing that cannot be, and what would do.
    pub fn check(&self) -> Result<(), Error> {
        let manifest = &self.manifest;
        let wrong = |what: String| Err(Error::Manifest { name: manifest.name.clone(), what });
        if !is_name(&manifest.name) {
            return wrong(format!(
                "a name has 1 to {NAME_MAX_BYTES} lower-case letters, digits, - and _"
            ));
        }
        if !manifest.doc.trim_end().ends_with('.') {
            return wrong("`doc` says in sentences what it does, and ends with a full stop".into());
        }
        if manifest.interpreter.first().is_none_or(String::is_empty) {
            return wrong("`interpreter` names a program, such as [\"/bin/sh\"]".into());
        }
        let limit = Span::secs(u64::from(manifest.time_limit_seconds));
        if limit == Span(0) || limit > LIMIT_MAX {
            return wrong(format!("`time_limit_seconds` is between 1 and {}", LIMIT_MAX.0 / 1000));
        }
        let steps = self.steps();
        if steps.len() > STEPS_MAX {
            return wrong(format!("it has {} steps, {STEPS_MAX} at most", steps.len()));
        }
        for step in &steps {
            let Step::Script(script) = step else { continue };
            match self.scripts.get(script) {
                None => return wrong(format!("there is no script {script:?}")),
                Some(text) if text.trim().is_empty() => {
                    return wrong(format!("script {script:?} is empty"));
                }
                Some(text) if text.len() > TEXT_MAX_BYTES => {
                    return wrong(format!(
                        "script {script:?} has {} bytes, {TEXT_MAX_BYTES} at most",
                        text.len()
                    ));
                }
                Some(_) => {}
            }
        }
        for (at, parameter) in manifest.parameters.iter().enumerate() {
            let name = &parameter.name;
            if !is_name(name) {
                return wrong(format!("{name:?} is no name of a parameter"));
            }
            if manifest.parameters[..at].iter().any(|other| other.name == *name) {
                return wrong(format!("two parameters are named {name:?}"));
            }
            if parameter.default.as_ref().is_some_and(|value| !value.is(parameter.of)) {
                let of = parameter.of;
                return wrong(format!("the default of parameter {name} is no {of:?}"));
            }
        }
        Ok(())
    }

    /// The values of its parameters, from what somebody gave as text.
    ///
    /// # Errors
    /// [`Error`] names the parameter, what it takes and what was given.
    pub fn values(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Value>, Error> {
        let manifest = &self.manifest;
        let procedure = || manifest.name.clone();
        let known = |name: &String| manifest.parameters.iter().any(|p| p.name == *name);
        if let Some(name) = given.keys().find(|name| !known(name)) {
            let known: Vec<&str> = manifest.parameters.iter().map(|p| p.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let name = name.clone();
            return Err(Error::NoSuchParameter { procedure: procedure(), name, known });
        }
        let mut values = BTreeMap::new();
        for parameter in &manifest.parameters {
            let name = parameter.name.clone();
            let value = match given.get(&name) {
                Some(text) => read(parameter.of, text).map_err(|wanted| {
                    let (name, given) = (name.clone(), text.chars().take(64).collect());
                    Error::BadValue { procedure: procedure(), name, wanted, given }
                })?,
                None => parameter.default.clone().ok_or_else(|| Error::Missing {
                    procedure: procedure(),
                    name: name.clone(),
                    doc: parameter.doc.clone(),
                })?,
            };
            values.insert(name, value);
        }
        Ok(values)
    }
}

fn read(of: Type, text: &str) -> Result<Value, &'static str> {
    match of {
        Type::Integer => text.parse().map(Value::Integer).map_err(|_| "a whole number"),
        Type::Boolean => text.parse().map(Value::Boolean).map_err(|_| "true or false"),
        Type::Text if text.len() <= VALUE_MAX_BYTES => Ok(Value::Text(text.to_owned())),
        Type::Text => Err("a text of at most 4096 bytes"),
    }
}

/// A script as a member's goal has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The operation that it is a step of: no other script of its store ever had this number.
    pub id: OperationId,
    /// The procedure.
    pub procedure: String,
    /// What pins it: an agent refuses code of another digest.
    pub digest: Digest,
    /// What runs.
    pub code: Code,
    /// How long it may take: as long as its code says, or as whoever ordered it may act.
    pub limit: Span,
    /// Its parameters.
    pub parameters: BTreeMap<String, Value>,
    /// Whether it only says what it would do.
    pub dry_run: bool,
}

impl Script {
    /// What it reads on its standard input.
    #[must_use]
    pub fn input(&self, goal: &Goal, host: &str) -> Json {
        let role = match goal.role {
            Role::Primary { .. } => "primary",
            Role::Standby { .. } => "standby",
            Role::Recruit => "recruit",
        };
        serde_json::json!({
            "procedure": self.procedure,
            "operation": self.id.0,
            "service": goal.identity.name.as_str(),
            "owner": goal.owner(),
            "member": goal.member.0,
            "host": host,
            "role": role,
            "parameters": self.parameters,
            "dry_run": self.dry_run,
            "deadline_seconds": self.limit.0 / 1000,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn procedure() -> Procedure {
        let parameter = |name: &str, of, default| Parameter {
            name: name.to_owned(),
            of,
            doc: "What it is.".to_owned(),
            default,
        };
        Procedure {
            manifest: Manifest {
                name: "tidy".to_owned(),
                doc: "Tidies.".to_owned(),
                kind: "postgres".to_owned(),
                interpreter: vec!["/bin/sh".to_owned()],
                time_limit_seconds: 60,
                role: Login::Check,
                disruptive: false,
                repeatable: false,
                dry_run: true,
                second_person: false,
                manual_minutes: 5,
                parameters: vec![
                    parameter("seconds", Type::Integer, Some(Value::Integer(300))),
                    parameter("table", Type::Text, None),
                    parameter("hard", Type::Boolean, Some(Value::Boolean(false))),
                ],
                steps: Vec::new(),
            },
            scripts: BTreeMap::from([("tidy".to_owned(), "true".to_owned())]),
            bundled: false,
        }
    }

    #[test]
    fn a_manifest_that_cannot_be_is_explained() {
        assert_eq!(procedure().check(), Ok(()));
        type Break = fn(&mut Procedure);
        let cases: [(Break, &str); 9] = [
            (|p| p.manifest.name = "Tidy up".to_owned(), "lower-case"),
            (|p| p.manifest.doc = "no sentence".to_owned(), "full stop"),
            (|p| p.manifest.interpreter.clear(), "interpreter"),
            (|p| p.manifest.time_limit_seconds = 0, "time_limit_seconds"),
            (|p| p.scripts.clear(), "there is no script \"tidy\""),
            (|p| drop(p.scripts.insert("tidy".to_owned(), " ".to_owned())), "is empty"),
            (
                |p| drop(p.scripts.insert("tidy".to_owned(), "x".repeat(TEXT_MAX_BYTES + 1))),
                "at most",
            ),
            (|p| p.manifest.parameters[1].name = "seconds".to_owned(), "two parameters"),
            (|p| p.manifest.parameters[0].default = Some(Value::Boolean(true)), "the default"),
        ];
        for (wrong, words) in cases {
            let mut broken = procedure();
            wrong(&mut broken);
            let error = broken.check().expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn parameters_have_their_types_and_defaults() {
        let given = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            procedure().values(&pairs.collect())
        };
        let values = given(&[("table", "t"), ("hard", "true")]).unwrap();
        assert_eq!(values["seconds"], Value::Integer(300));
        assert_eq!(values["hard"], Value::Boolean(true));
        let error = |pairs| given(pairs).unwrap_err().to_string();
        assert!(error(&[]).contains("needs parameter table"));
        assert!(error(&[("table", "t"), ("seconds", "soon")]).contains("a whole number"));
        assert!(error(&[("tables", "t")]).contains("it has: seconds, table, hard"));
    }

    #[test]
    fn the_digest_covers_all_that_decides_what_runs() {
        let code = procedure().code("tidy").unwrap();
        let other = Code { login: Login::Maintenance, ..code.clone() };
        assert_ne!(code.digest(), other.digest());
        assert_ne!(code.digest(), Code { text: "false".to_owned(), ..code }.digest());
    }
}
