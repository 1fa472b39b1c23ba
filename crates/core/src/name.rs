//! Names that people give: services first.
//!
//! A service's name becomes its database and its role, so it is held to what both take unquoted.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

/// Longest service name, in bytes. PostgreSQL keeps 63 of an identifier; the rest is for suffixes.
pub const LENGTH_MAX: usize = 48;

/// Names that would collide with what Evenkeel or its servers own.
const RESERVED: &[&str] = &["evenkeel", "postgres", "template0", "template1", "public", "all"];

/// A valid service name: lower case letters, digits and `_` or `-`, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(SmolStr);

/// Why a name was refused; each message names the input and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The empty string.
    #[error("a service name cannot be empty; use something like \"orders\"")]
    Empty,
    /// Longer than [`LENGTH_MAX`].
    #[error("service name of {length} bytes is too long; use at most {LENGTH_MAX}")]
    TooLong {
        /// Bytes given.
        length: usize,
    },
    /// A character outside the allowed set.
    #[error(
        "service name {name:?} has {found:?} at position {at}; use a-z, 0-9, '_' and '-', \
         beginning with a letter"
    )]
    Character {
        /// The name as given.
        name: String,
        /// The character.
        found: char,
        /// Its position, from 1.
        at: usize,
    },
    /// A name that servers or Evenkeel own.
    #[error("service name {name:?} is reserved; choose another, such as \"{name}-db\"")]
    Reserved {
        /// The name as given.
        name: String,
    },
}

impl ServiceName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with it and what would do.
    ///
    /// ```
    /// use evenkeel_core::name::ServiceName;
    /// assert_eq!(ServiceName::new("orders").unwrap().as_str(), "orders");
    /// assert!(ServiceName::new("Orders").is_err());
    /// ```
    pub fn new(name: &str) -> Result<Self, Error> {
        if name.is_empty() {
            return Err(Error::Empty);
        }
        if name.len() > LENGTH_MAX {
            return Err(Error::TooLong { length: name.len() });
        }
        let allowed = |(i, c): (usize, char)| {
            c.is_ascii_lowercase() || (i > 0 && (c.is_ascii_digit() || c == '_' || c == '-'))
        };
        if let Some((i, found)) = name.chars().enumerate().find(|&at| !allowed(at)) {
            return Err(Error::Character { name: name.to_owned(), found, at: i + 1 });
        }
        if RESERVED.contains(&name) || name.starts_with("pg_") {
            return Err(Error::Reserved { name: name.to_owned() });
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ServiceName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ServiceName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = ServiceName;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ServiceName, E> {
                ServiceName::new(text).map_err(E::custom)
            }
        }
        from.deserialize_str(Text)
    }
}

impl TryFrom<String> for ServiceName {
    type Error = Error;
    fn try_from(name: String) -> Result<Self, Error> {
        Self::new(&name)
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_pass() {
        for name in ["a", "orders", "pay-2", "team_a_db", &"x".repeat(LENGTH_MAX)] {
            assert!(ServiceName::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        let at = |name: &str| match ServiceName::new(name) {
            Err(Error::Character { at, .. }) => at,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(at("1a"), 1);
        assert_eq!(at("-a"), 1);
        assert_eq!(at("a b"), 2);
        assert_eq!(at("a;drop"), 2);
        assert_eq!(at("über"), 1);
        assert_eq!(at("../etc"), 1);
        assert_eq!(ServiceName::new(""), Err(Error::Empty));
        assert_eq!(ServiceName::new(&"x".repeat(49)), Err(Error::TooLong { length: 49 }));
        for name in ["postgres", "evenkeel", "pg_x"] {
            assert_eq!(ServiceName::new(name), Err(Error::Reserved { name: name.to_owned() }));
        }
    }

    #[test]
    fn a_bad_name_does_not_come_in_by_json() {
        assert!(serde_json::from_str::<ServiceName>("\"A\"").is_err());
        assert_eq!(serde_json::from_str::<ServiceName>("\"a\"").unwrap().as_str(), "a");
    }
}
