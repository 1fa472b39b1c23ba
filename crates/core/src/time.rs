//! Time as the core sees it: told from outside, never read.
//!
//! A [`Time`] is milliseconds on the cell's own clock: wall time at the controller's first start,
//! moved on by a monotonic clock only, so a jump of the wall clock changes no decision.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

/// A point on the cell's clock, in milliseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

/// A length of time, in milliseconds. Programs write it as that number; people may write `"30s"` as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Span(pub u64);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("milliseconds, or a length of time as in \"30s\"")
            }

            fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Span, E> {
                Ok(Span(ms))
            }

            fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Span, E> {
                let bad = |_| E::invalid_value(de::Unexpected::Signed(ms), &self);
                u64::try_from(ms).map(Span).map_err(bad)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Span {
    /// A span of whole milliseconds.
    #[must_use]
    pub const fn millis(n: u64) -> Self {
        Self(n)
    }
    /// A span of whole seconds.
    #[must_use]
    pub const fn secs(n: u64) -> Self {
        Self(n * 1000)
    }
    /// A span of whole minutes.
    #[must_use]
    pub const fn mins(n: u64) -> Self {
        Self(n * 60_000)
    }
    /// This span `n` times over, held at the largest span there is.
    #[must_use]
    pub const fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }
}

impl Time {
    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Span {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Add<Span> for Time {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms < 1000 => write!(f, "{ms} ms"),
            ms if ms % 60_000 == 0 => write!(f, "{} min", ms / 60_000),
            ms if ms % 1000 == 0 => write!(f, "{} s", ms / 1000),
            ms => write!(f, "{}.{} s", ms / 1000, ms % 1000 / 100),
        }
    }
}

/// A text that is no span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no length of time: a whole number and a unit, as in 500ms, 30s, 10m, 2h, 7d")]
pub struct BadSpan(pub String);

impl FromStr for Span {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Self, BadSpan> {
        let bad = || BadSpan(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let number: u64 = number.parse().map_err(|_| bad())?;
        number.checked_mul(ms).map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_unit() {
        let read = |text: &str| text.parse::<Span>();
        assert_eq!(read("500ms"), Ok(Span(500)));
        assert_eq!(read("30s"), Ok(Span::secs(30)));
        assert_eq!(read("10m"), Ok(Span::mins(10)));
        assert_eq!(read("2h"), Ok(Span::mins(120)));
        assert_eq!(read("7d"), Ok(Span::mins(7 * 24 * 60)));
        for bad in ["", "7", "s", "-3s", "3 s", "1w", "99999999999999999999s", "999999999999999d"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spans_in_files_are_numbers_or_texts() {
        let read = |json: &str| serde_json::from_str::<Span>(json).map_err(|e| e.to_string());
        assert_eq!((read("1500"), read("\"2h\"")), (Ok(Span(1500)), Ok(Span::mins(120))));
        assert!(read("\"2 weeks\"").unwrap_err().contains("is no length of time"));
        assert!(read("-1").unwrap_err().contains("milliseconds"));
        assert!(read("true").unwrap_err().contains("30s"));
        assert_eq!(serde_json::to_string(&Span(1500)).unwrap(), "1500");
    }

    #[test]
    fn spans_read_as_people_write_them() {
        let shown = [Span(250), Span(1500), Span::secs(10), Span::mins(2)].map(|s| s.to_string());
        assert_eq!(shown, ["250 ms", "1.5 s", "10 s", "2 min"]);
    }

    #[test]
    fn time_never_wraps() {
        assert_eq!(Time(5).since(Time(9)), Span(0));
        assert_eq!(Time(u64::MAX) + Span(1), Time(u64::MAX));
        assert_eq!(Time(3) - Span(9), Time(0));
    }
}
