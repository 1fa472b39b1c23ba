//! Failure domains: what services have in common, and fail together by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Sorts of failure domains, from the narrowest to the widest: of two that explain a thing equally well,
/// the narrower one is the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// One service alone.
    Service,
    /// A machine.
    Host,
    /// Machines that share a switch and power.
    Rack,
    /// Members that run from one image.
    Image,
    /// Services whose log goes to one place.
    Repository,
    /// Services of one kind and version.
    Version,
    /// Services with members in two zones, and what is between those.
    Path,
    /// Racks that share a building.
    Zone,
    /// Everything.
    Fleet,
}

impl Sort {
    /// Every sort, narrowest first.
    pub const ALL: [Self; 9] = [
        Self::Service,
        Self::Host,
        Self::Rack,
        Self::Image,
        Self::Repository,
        Self::Version,
        Self::Path,
        Self::Zone,
        Self::Fleet,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Host => "host",
            Self::Rack => "rack",
            Self::Image => "image",
            Self::Repository => "repository",
            Self::Version => "version",
            Self::Path => "path",
            Self::Zone => "zone",
            Self::Fleet => "fleet",
        }
    }

    /// Whether it is a place. A place that has everything may be the cause of everything; an image that
    /// everything runs from explains nothing, for there is no other to hold it against.
    #[must_use]
    pub const fn is_place(self) -> bool {
        matches!(self, Self::Host | Self::Rack | Self::Zone)
    }
}

/// A failure domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Domain {
    /// Which sort.
    pub sort: Sort,
    /// Which of that sort; empty for the fleet.
    pub name: String,
}

impl Domain {
    /// A domain.
    #[must_use]
    pub fn new(sort: Sort, name: impl Into<String>) -> Self {
        Self { sort, name: name.into() }
    }

    /// Everything.
    #[must_use]
    pub const fn fleet() -> Self {
        Self { sort: Sort::Fleet, name: String::new() }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sort.as_str())?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " {}", self.name) }
    }
}

/// A text that names no failure domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no failure domain; write one like `host ha1` or `fleet`")]
pub struct Unknown {
    /// The text.
    pub text: String,
}

impl FromStr for Domain {
    type Err = Unknown;
    fn from_str(text: &str) -> Result<Self, Unknown> {
        let (sort, name) = text.split_once(' ').unwrap_or((text, ""));
        let found = Sort::ALL.into_iter().find(|known| known.as_str() == sort);
        let sort = found.ok_or_else(|| Unknown { text: text.to_owned() })?;
        Ok(Self::new(sort, name))
    }
}

impl TryFrom<String> for Domain {
    type Error = Unknown;
    fn try_from(text: String) -> Result<Self, Unknown> {
        text.parse()
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_read_as_they_are_written() {
        for domain in
            [Domain::new(Sort::Host, "ha1"), Domain::new(Sort::Path, "a - b"), Domain::fleet()]
        {
            assert_eq!(domain.to_string().parse(), Ok(domain));
        }
        assert!("moon ha1".parse::<Domain>().is_err());
    }
}
