//! Services made from servers that are nobody's here: what they are made from, how, and how far that is.
//!
//! Invariants: a source is read and never written to; its password is sealed wherever a controller keeps
//! it, and open only in the goal of the agent that logs in with it; no message and no address holds it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::goal::Password;
use crate::id::Term;

/// An imported service's first term. Timelines are numbered by terms, and a copy's must be above all that
/// its source may take: one that was promoted as often as this is not copied.
pub const TERM: Term = Term(256);

/// Longest text of an address.
const URL_MAX_BYTES: usize = 2048;
/// Longest name of a role, a database or a host.
const NAME_MAX_BYTES: usize = 255;
/// The port of a URL that names none.
const PORT: u16 = 5432;
/// Progress is told in so many parts of the whole: reports hold nothing that moves all the time.
const PARTS: u64 = 100;

/// How a source's data is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The first of the two that the source allows, after a look at it.
    #[default]
    Auto,
    /// All of the source's server, byte for byte.
    Base,
    /// One database, as statements.
    Dump,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Base, Self::Dump];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Base => "base",
            Self::Dump => "dump",
        }
    }

    /// The method of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a connection to a source must be like, in libpq's words.
const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// A server, a role and a database on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its host, or the directory of its socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The role to log in as.
    pub user: String,
    /// The database.
    pub database: String,
    /// `sslmode`, where the address has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `sslrootcert`, where the address has one: a file on the host that the new member is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_certificate: Option<String>,
}

/// Why an address cannot be used. No message repeats the address: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no URL of PostgreSQL.
    #[error("the address is no URL; write one like postgres://user@host:5432/database")]
    NotAUrl,
    /// Something that must be there is not.
    #[error("the address names no {what}; write one like postgres://user@host:5432/database")]
    Missing {
        /// What.
        what: &'static str,
    },
    /// A password in an argument is seen by everybody on the machine.
    #[error(
        "the address holds a password, which others can read in the list of processes; leave it out \
         and use --password-file FILE, --password-stdin or PGPASSWORD in the environment"
    )]
    Password,
    /// It has several hosts.
    #[error("the address names several hosts; name the one to read from")]
    Hosts,
    /// Its port is none.
    #[error("{port:?} is no port; name one between 1 and 65535")]
    Port {
        /// As it was given.
        port: String,
    },
    /// A part cannot be read, or is too long.
    #[error("the address's {what} cannot be read; it has at most {NAME_MAX_BYTES} bytes of text")]
    Unreadable {
        /// Which part.
        what: &'static str,
    },
    /// A parameter that is not known.
    #[error("the address has a parameter {name:?}; only sslmode and sslrootcert are taken")]
    Parameter {
        /// Its name.
        name: String,
    },
    /// A mode that is not known.
    #[error("sslmode {mode:?} is not known; there are: {}", MODES.join(", "))]
    Mode {
        /// As it was given.
        mode: String,
    },
}

impl Source {
    /// Reads an address like `postgres://user@host:5432/database?sslmode=require`.
    ///
    /// # Errors
    /// [`Error`] names what is wrong and what would do.
    ///
    /// ```
    /// use evenkeel_core::import::Source;
    /// let source = Source::parse("postgres://app@db.example:5433/shop").unwrap();
    /// assert_eq!(source.to_string(), "app@db.example:5433/shop");
    /// assert!(Source::parse("postgres://app:secret@db.example/shop").is_err());
    /// ```
    pub fn parse(url: &str) -> Result<Self, Error> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let rest = rest.filter(|_| url.len() <= URL_MAX_BYTES).ok_or(Error::NotAUrl)?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        // An `@` in the path is the path's, and one before it ends the login.
        let (place, database) = rest.split_once('/').ok_or(Error::Missing { what: "database" })?;
        let (login, place) = place.rsplit_once('@').ok_or(Error::Missing { what: "user" })?;
        if login.contains(':') {
            return Err(Error::Password);
        }
        let (host, port) = split(place)?;
        let mut source = Self {
            host: text(host, "host")?,
            port,
            user: text(login, "user")?,
            database: text(database, "database")?,
            mode: None,
            root_certificate: None,
        };
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "sslmode" if MODES.contains(&value) => source.mode = Some(value.to_owned()),
                "sslmode" => return Err(Error::Mode { mode: value.to_owned() }),
                "sslrootcert" => source.root_certificate = Some(text(value, "sslrootcert")?),
                "password" => return Err(Error::Password),
                _ => return Err(Error::Parameter { name: name.to_owned() }),
            }
        }
        Ok(source)
    }
}

/// The host and the port of a place.
fn split(place: &str) -> Result<(&str, u16), Error> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if place.contains(',') {
        return Err(Error::Hosts);
    }
    let bad = |port: &str| Error::Port { port: port.to_owned() };
    let port = port.map_or(Ok(PORT), |port| match port.parse() {
        Ok(0) | Err(_) => Err(bad(port)),
        Ok(port) => Ok(port),
    })?;
    Ok((host, port))
}

/// A part of a URL, decoded.
fn text(part: &str, what: &'static str) -> Result<String, Error> {
    if part.is_empty() {
        return Err(Error::Missing { what });
    }
    let bytes = part.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits = || part.get(at + 1..at + 3).and_then(|two| u8::from_str_radix(two, 16).ok());
        match byte {
            b'%' => {
                out.push(digits().ok_or(Error::Unreadable { what })?);
                at += 3;
            }
            other => {
                out.push(other);
                at += 1;
            }
        }
    }
    let text = String::from_utf8(out).ok();
    let sound = |text: &String| text.len() <= NAME_MAX_BYTES && !text.chars().any(char::is_control);
    text.filter(sound).ok_or(Error::Unreadable { what })
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, user, database, .. } = self;
        match host.contains(':') {
            true => write!(f, "{user}@[{host}]:{port}/{database}"),
            false => write!(f, "{user}@{host}:{port}/{database}"),
        }
    }
}

/// A source's password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// As a controller keeps it: only the holder of the fleet's key can open it.
    Sealed(String),
    /// As its agent uses it.
    Open(Password),
}

/// What a member's first directory is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// From where.
    pub source: Source,
    /// How.
    pub method: Method,
    /// With which password; it is gone when the import is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// Where an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The source is looked at.
    #[default]
    Looking,
    /// The source's files are copied.
    Copying,
    /// Its database is read.
    Reading,
    /// What was read is written into the new server.
    Writing,
    /// What was copied is made the service's own.
    Adopting,
    /// All of it is there.
    Done,
}

impl Stage {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Looking => "looking at the source",
            Self::Copying => "copying the source's files",
            Self::Reading => "reading the source's database",
            Self::Writing => "writing what was read",
            Self::Adopting => "taking over",
            Self::Done => "taken over",
        }
    }
}

/// How an import is done, and why so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Base or dump.
    pub method: Method,
    /// Why.
    pub why: String,
}

/// What its agent says of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Where it is.
    pub stage: Stage,
    /// Bytes that are done of this stage.
    pub done: u64,
    /// Bytes that it has; 0: nobody knows.
    pub total: u64,
    /// What the look came to; `None` before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Chosen>,
    /// What is other than in the source, and what a person should know, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Why it failed for good: nothing is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl Told {
    /// The same, as it is reported: its progress in whole parts of all.
    #[must_use]
    pub fn rounded(mut self) -> Self {
        let part = (self.total / PARTS).max(1);
        self.done = self.done.min(self.total) / part * part;
        self
    }

    /// Where it is, in words.
    #[must_use]
    pub fn progress(&self) -> String {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        match self.total {
            0 => self.stage.as_str().to_owned(),
            total => {
                format!("{}: {} of {} MiB", self.stage.as_str(), mib(self.done), mib(total))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let source = Source::parse("postgresql://my%20app@[::1]:5433/sh%C3%B6p?sslmode=require");
        let source = source.expect("an address");
        assert_eq!((source.user.as_str(), source.host.as_str()), ("my app", "::1"));
        assert_eq!((source.database.as_str(), source.port), ("sh\u{f6}p", 5433));
        assert_eq!(source.mode.as_deref(), Some("require"));
        assert_eq!(source.to_string(), "my app@[::1]:5433/sh\u{f6}p");
        let plain = Source::parse("postgres://a@h/d").expect("an address");
        assert_eq!((plain.port, plain.mode), (5432, None));
        let socket = Source::parse("postgres://a@%2Frun%2Fpg/d").expect("an address");
        assert_eq!(socket.host, "/run/pg");
    }

    #[test]
    fn what_is_wrong_with_an_address_is_named_and_its_password_never() {
        for (url, words) in [
            ("mysql://a@h/d", "no URL"),
            ("postgres://h/d", "names no user"),
            ("postgres://a@h", "names no database"),
            ("postgres://a@h/", "names no database"),
            ("postgres://a@/d", "names no host"),
            ("postgres://a:hidden@h/d", "--password-file"),
            ("postgres://a@h/d?password=hidden", "--password-file"),
            ("postgres://a@h,i/d", "several hosts"),
            ("postgres://a@h:0/d", "no port"),
            ("postgres://a@h:99999/d", "no port"),
            ("postgres://a@h/d%zz", "database cannot be read"),
            ("postgres://a@h/d%0a", "database cannot be read"),
            ("postgres://a@h/d?options=x", "only sslmode"),
            ("postgres://a@h/d?sslmode=maybe", "verify-full"),
        ] {
            let error = Source::parse(url).expect_err(url).to_string();
            assert!(error.contains(words), "{url}: {error}");
            assert!(!error.contains("hidden"), "{url}: {error}");
        }
    }

    #[test]
    fn progress_is_told_in_parts() {
        let told =
            Told { stage: Stage::Copying, done: 1_234_567, total: 200 << 20, ..Told::default() };
        assert_eq!(told.clone().rounded().done, 0);
        let told = Told { done: 50 << 20, ..told }.rounded();
        assert_eq!(told.progress(), "copying the source's files: 50 of 200 MiB");
        let more = Told { done: 300 << 20, ..told.clone() }.rounded();
        assert_eq!(more.progress(), "copying the source's files: 200 of 200 MiB");
        assert_eq!(Told::default().progress(), "looking at the source");
        let secret = Secret::Open(Password("hidden".to_owned()));
        assert!(!format!("{secret:?}").contains("hidden"));
    }
}
