//! Guards: when a remedy applies, as an expression over what is known.
//!
//! The language is CEL (<https://cel.dev>): no loops, no effects, always an end. A guard that cannot be
//! evaluated does not hold; [`Guard::new`] finds what can be found wrong when it is read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, Program, Value};
use serde::Serialize;

use crate::check::Severity;
use crate::time::Span;

/// Longest expression, in bytes.
const LENGTH_MAX: usize = 1_000;

/// What the lifecycle itself sees of a service, if it sees anything to repair. One at a time: the most
/// urgent.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Nothing: findings alone may ask for a remedy.
    None,
    /// The process died; its agent restarts it within the budget by itself.
    MemberDied,
    /// The agent's budget of restarts is spent.
    CrashLooping,
    /// The process is there and answers nobody, by its agent and by a witness.
    Hung,
    /// The primary is down by the rule, and a failover loses nothing; or nobody is primary.
    PrimaryLost,
    /// A standby that is counted on is gone for longer than commits may wait.
    SetLacks,
    /// A standby follows and is not counted on.
    StandbyUncounted,
    /// A member that was a primary, or went astray, waits to be made anew.
    MemberWaits,
    /// A member is away for long: another is made in its place.
    MemberLost,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::MemberDied,
        Self::CrashLooping,
        Self::Hung,
        Self::PrimaryLost,
        Self::SetLacks,
        Self::StandbyUncounted,
        Self::MemberWaits,
        Self::MemberLost,
    ];

    /// Its name in guards.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::MemberDied => "member_died",
            Self::CrashLooping => "crash_looping",
            Self::Hung => "hung",
            Self::PrimaryLost => "primary_lost",
            Self::SetLacks => "set_lacks",
            Self::StandbyUncounted => "standby_uncounted",
            Self::MemberWaits => "member_waits",
            Self::MemberLost => "member_lost",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A finding as guards see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// How bad.
    pub severity: Severity,
    /// For how long, in seconds.
    pub seconds: u64,
}

impl Found {
    /// A finding of this severity since so long.
    #[must_use]
    pub const fn new(severity: Severity, since: Span) -> Self {
        Self { severity, seconds: since.0 / 1000 }
    }
}

/// What a guard may ask about: one service, frozen.
#[derive(Clone, Debug, Serialize)]
pub struct Facts<'a> {
    /// What the lifecycle sees.
    pub condition: Condition,
    /// How the service looks: `healthy`, `uncertain` or `unavailable`.
    pub health: &'a str,
    /// The fleet's posture: `normal`, `storage_down` and so on.
    pub posture: &'a str,
    /// Its kind's name.
    pub kind: &'a str,
    /// Its plan's name.
    pub plan: &'a str,
    /// How many members it has.
    pub members: usize,
    /// Whether a standby could take over right now without a loss.
    pub redundant: bool,
    /// Its findings, by the check's name.
    pub findings: &'a BTreeMap<String, Found>,
}

/// The names that a guard may use; see [`Facts`].
pub const NAMES: [&str; 8] =
    ["condition", "health", "posture", "kind", "plan", "members", "redundant", "findings"];

/// An expression that was read and found sound.
#[derive(Clone)]
pub struct Guard {
    text: Arc<str>,
    program: Arc<Program>,
    /// What it begins with, where that is a plain question: most guards say no by it alone.
    gates: Arc<[Gate]>,
    /// Everything in quotes in it: names of checks among them.
    quoted: Arc<[Box<str>]>,
}

/// A part of a guard that it is false without, and that always has an answer.
#[derive(Debug, PartialEq, Eq)]
enum Gate {
    /// `condition == '...'`.
    At(Box<str>),
    /// `'...' in findings`.
    Found(Box<str>),
    /// `findings['...'].severity == '...'`, of one that is asked for before.
    Of(Box<str>, Box<str>),
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too long to be read by a person.
    #[error("a guard has at most {LENGTH_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// It is no expression.
    #[error("{text:?} is no expression: {why}")]
    Syntax {
        /// As given.
        text: String,
        /// Where and why.
        why: String,
    },
    /// It asks for what is not known.
    #[error("{text:?} asks for {name:?}; a guard may ask for {known}", known = NAMES.join(", "))]
    Unknown {
        /// As given.
        text: String,
        /// What it asks for.
        name: String,
    },
    /// It says neither yes nor no.
    #[error(
        "{text:?} does not say yes or no when there are no findings: {why}; ask `'x' in findings` before \
         `findings['x']`"
    )]
    NoAnswer {
        /// As given.
        text: String,
        /// What it says.
        why: String,
    },
}

impl Guard {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`Error`] names what is wrong with it.
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.len() > LENGTH_MAX {
            return Err(Error::TooLong(text.len()));
        }
        let owned = || text.to_owned();
        let program = Program::compile(text)
            .map_err(|error| Error::Syntax { text: owned(), why: error.to_string() })?;
        let references = program.references();
        let unknown = references.variables().into_iter().find(|name| !NAMES.contains(name));
        if let Some(name) = unknown {
            return Err(Error::Unknown { text: owned(), name: name.to_owned() });
        }
        let (gates, quoted) = (gates(text).into(), quoted(text).into());
        let guard = Self { text: text.into(), program: Arc::new(program), gates, quoted };
        // What may fail only where there are findings is found by its author's tests.
        let none = BTreeMap::new();
        for condition in Condition::ALL {
            let facts = Facts {
                condition,
                health: "healthy",
                posture: "normal",
                kind: "postgres",
                plan: "dev",
                members: 1,
                redundant: false,
                findings: &none,
            };
            if let Err(why) = guard.holds(&facts) {
                return Err(Error::NoAnswer { text: owned(), why });
            }
        }
        Ok(guard)
    }

    /// The guard that holds at one condition.
    ///
    /// # Panics
    /// Never: the expression is fixed.
    #[must_use]
    pub fn at(condition: Condition) -> Self {
        Self::new(&format!("condition == '{condition}'")).expect("a comparison of a known name")
    }

    /// The expression.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it asks for a finding of this check.
    #[must_use]
    pub fn names(&self, check: &str) -> bool {
        self.quoted.iter().any(|name| **name == *check)
    }

    /// Whether it may hold: a no is certain, and needs no language to say it.
    #[must_use]
    pub fn may_hold(&self, condition: Condition, findings: &BTreeMap<String, Found>) -> bool {
        self.gates.iter().all(|gate| match gate {
            Gate::At(name) => **name == *condition.as_str(),
            Gate::Found(check) => findings.contains_key(&**check),
            Gate::Of(check, severity) => {
                findings.get(&**check).is_some_and(|found| found.severity.as_str() == &**severity)
            }
        })
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// Why it cannot be said, in a sentence.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, String> {
        self.holds_of(&facts.asked()?)
    }

    /// The same, of facts that many guards are asked about.
    ///
    /// # Errors
    /// Why it cannot be said, in a sentence.
    pub fn holds_of(&self, asked: &Asked) -> Result<bool, String> {
        match self.program.execute(&asked.0) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("it gives {other:?} and not true or false")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What stands in single or double quotes.
fn quoted(text: &str) -> Vec<Box<str>> {
    let mut all = Vec::new();
    for quote in ['\'', '"'] {
        all.extend(text.split(quote).skip(1).step_by(2).map(Box::from));
    }
    all
}

/// The plain questions that an expression begins with, if it is nothing but parts that must all be so.
///
/// The parts before the first that is no plain question are asked before all others, cannot fail, and make the
/// whole false when one of them is: whoever skips the others then says what the language would say.
fn gates(text: &str) -> Vec<Gate> {
    let mut parts = Vec::new();
    let (mut depth, mut inside, mut from) = (0_i32, None, 0);
    for (at, sign) in text.char_indices() {
        match (inside, sign) {
            (_, '\\') => return Vec::new(),
            (Some(quote), _) => inside = (quote != sign).then_some(quote),
            (None, '\'' | '"') => inside = Some(sign),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth -= 1,
            // An alternative, or a comment.
            (None, '?' | '/') => return Vec::new(),
            (None, '|') if depth == 0 => return Vec::new(),
            (None, '&') if depth == 0 && text[at..].starts_with("&&") => {
                parts.push(&text[from..at]);
                from = at + 2;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    let mut gates = Vec::new();
    for gate in parts.into_iter().map_while(gate) {
        // Of one that may not be there the language would say that it is not.
        if let Gate::Of(check, _) = &gate
            && !gates.contains(&Gate::Found(check.clone()))
        {
            break;
        }
        gates.push(gate);
    }
    gates
}

/// One part, if it is a plain question.
fn gate(part: &str) -> Option<Gate> {
    let literal = |text: &str| {
        let text = text.trim();
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(['\'', '"'])).then(|| Box::from(inner))
    };
    let part = part.trim();
    if let Some((name, value)) = part.split_once("==")
        && name.trim() == "condition"
    {
        return literal(value).map(Gate::At);
    }
    if let Some((of, value)) = part.split_once("==")
        && let Some(check) = of.trim().strip_suffix("].severity")
    {
        let check = check.strip_prefix("findings[").and_then(literal)?;
        return Some(Gate::Of(check, literal(value)?));
    }
    let check = part.strip_suffix("findings")?.trim_end().strip_suffix("in")?;
    literal(check).map(Gate::Found)
}

/// Facts as guards are asked about them.
pub struct Asked(Context<'static, 'static>);

/// What the language itself can do, made once.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

impl Facts<'_> {
    /// For more guards than one.
    ///
    /// # Errors
    /// Which of them cannot be told, and why.
    pub fn asked(&self) -> Result<Asked, String> {
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        macro_rules! tell {
            ($($name:ident),*) => {$(
                context.add_variable(stringify!($name), &self.$name).map_err(|error| {
                    format!("{} cannot be told: {error}", stringify!($name))
                })?;
            )*};
        }
        tell!(condition, health, posture, kind, plan, members, redundant, findings);
        Ok(Asked(context))
    }
}

impl PartialEq for Guard {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Guard {}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guard({:?})", self.text)
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(condition: Condition, findings: &BTreeMap<String, Found>) -> Facts<'_> {
        Facts {
            condition,
            health: "healthy",
            posture: "normal",
            kind: "postgres",
            plan: "ha",
            members: 2,
            redundant: true,
            findings,
        }
    }

    #[test]
    fn a_guard_asks_for_conditions_and_findings() {
        let none = BTreeMap::new();
        let old = Found::new(Severity::Critical, Span::secs(90));
        let full = BTreeMap::from([("disk-space".to_owned(), old)]);
        let guard = Guard::new(
            "condition == 'none' && 'disk-space' in findings && findings['disk-space'].seconds >= 60 \
             && findings['disk-space'].severity == 'critical' && members > 1 && redundant",
        )
        .expect("sound");
        assert_eq!(guard.holds(&facts(Condition::None, &full)), Ok(true));
        assert_eq!(guard.holds(&facts(Condition::None, &none)), Ok(false));
        assert_eq!(guard.holds(&facts(Condition::Hung, &full)), Ok(false));
        assert!(
            guard.names("disk-space")
                && !guard.names("disk")
                && !guard.names(" in findings && findings[")
        );
        for condition in Condition::ALL {
            let at = Guard::at(condition);
            let others = Condition::ALL.into_iter().filter(|c| *c != condition);
            assert_eq!(at.holds(&facts(condition, &none)), Ok(true));
            others.for_each(|other| assert_eq!(at.holds(&facts(other, &none)), Ok(false)));
        }
    }

    #[test]
    fn what_a_guard_begins_with_says_no_as_the_whole_would() {
        let begins = |text: &str| gates(text);
        let (at, found) = (Gate::At("none".into()), Gate::Found("disk-space".into()));
        let both = begins("condition == 'none' && \"disk-space\" in findings && members > 1");
        assert_eq!(both, [at, found]);
        // Whatever is not all of it, or comes after what may fail, is left to the language.
        for text in [
            "members > 1 && condition == 'none'",
            "condition == 'none' || members > 1",
            "condition == 'none' ? true : false",
            "!(condition == 'none')",
            "condition == 'no\\'ne'",
            "condition == 'none' + 'x'",
            "'x' + 'y' in findings",
            "('x' in findings) == false",
        ] {
            assert_eq!(begins(text), [], "{text}");
        }
        assert_eq!(begins("condition == 'none' && (members > 1 || redundant)").len(), 1);
        let bad = "findings['disk'].severity == 'critical'";
        assert_eq!(begins(&format!("'disk' in findings && {bad}")).len(), 2);
        assert_eq!(begins(bad), [], "of what may not be there the language says so");
        assert_eq!(begins(&format!("'d' in findings && {bad}")).len(), 1);
        let guard = Guard::new(&format!("'disk' in findings && {bad}")).expect("sound");
        for severity in [Severity::Warning, Severity::Critical] {
            let of = Found::new(severity, Span(0));
            let findings = BTreeMap::from([("disk".to_owned(), of)]);
            let whole = guard.holds(&facts(Condition::None, &findings)).expect("an answer");
            assert_eq!(guard.may_hold(Condition::None, &findings), whole, "{severity}");
        }
        let none = BTreeMap::new();
        let guard = Guard::new("condition == 'hung' && members > 1").expect("sound");
        assert!(guard.may_hold(Condition::Hung, &none) && !guard.may_hold(Condition::None, &none));
    }

    #[test]
    fn what_is_wrong_is_said_when_it_is_read() {
        let why = |text: &str| Guard::new(text).expect_err("unsound").to_string();
        assert!(why("condition = 'hung'").contains("1:11"), "{}", why("condition = 'hung'"));
        assert!(why("load > 3").contains("asks for \"load\""));
        assert!(why("members").contains("not true or false"));
        assert!(why("findings['bloat'].seconds > 3").contains("'x' in findings"));
        assert!(why(&"true && ".repeat(200)).contains("at most 1000 bytes"));
    }
}
