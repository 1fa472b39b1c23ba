//! Wall-clock moments, as people and servers write them: RFC 3339, to the microsecond.
//!
//! The cell decides by its own clock (see [`crate::time`]); moments are what a person asks for and what
//! a server's log is marked with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::Span;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Microseconds since the beginning of 1970, UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(pub i64);

/// A text that is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no time; write one like 2026-11-22T10:00:00Z or 2026-11-22T11:00:00.5+01:00")]
pub struct Error {
    /// The text.
    pub text: String,
}

impl Moment {
    /// From milliseconds since 1970.
    #[must_use]
    pub fn of_millis(millis: u64) -> Self {
        Self(i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1000))
    }

    /// Milliseconds since 1970; 0 for what was before.
    #[must_use]
    pub fn millis(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        Span(u64::try_from(self.0.saturating_sub(earlier.0) / 1000).unwrap_or(0))
    }
}

/// Days since 1970 of a date of the proleptic Gregorian calendar. The year begins with March here, so
/// that the day that comes and goes is its last; 400 years have 146,097 days.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970.
const fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
    (era * 400 + year + if month <= 2 { 1 } else { 0 }, month, day)
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0.div_euclid(DAY));
        let of_day = self.0.rem_euclid(DAY);
        let (seconds, fraction) = (of_day / SECOND, of_day % SECOND);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if fraction != 0 {
            write!(f, ".{}", format!("{fraction:06}").trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl FromStr for Moment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text.trim()).ok_or_else(|| Error { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Moment> {
    let number = |text: &str, low: i64, high: i64| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits)?;
        (low..=high).contains(&number).then_some(number)
    };
    let (date_text, rest) = text.split_once(['T', 't', ' '])?;
    let mut parts = date_text.splitn(3, '-');
    let year = parts.next().filter(|year| year.len() == 4)?;
    let (year, month) = (number(year, 1, 9999)?, number(parts.next()?, 1, 12)?);
    let day = number(parts.next()?, 1, 31)?;
    let whole = days(year, month, day);
    // The 31st of a shorter month is no day.
    (date(whole) == (year, month, day)).then_some(())?;
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.splitn(3, ':');
    let (hour, minute) = (number(parts.next()?, 0, 23)?, number(parts.next()?, 0, 59)?);
    let second = parts.next().map_or(Some(0), |text| number(text, 0, 60))?;
    let fraction =
        number(&format!("{fraction:0<6}"), 0, SECOND - 1).filter(|_| fraction.len() <= 6)?;
    let ahead = match zone.split_at(1) {
        ("Z" | "z", "") => 0,
        (sign, rest) => {
            let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
            let offset = number(hours, 0, 23)? * 3600 + number(minutes, 0, 59)? * 60;
            if sign == "-" { -offset } else { offset }
        }
    };
    let seconds = hour * 3600 + minute * 60 + second - ahead;
    Some(Moment(whole * DAY + seconds * SECOND + fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_is_written_and_read_the_same() {
        let mut last = None;
        for day in days(1900, 1, 1)..=days(2300, 12, 31) {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
            let text = Moment(day * DAY + 12_345_678).to_string();
            assert_eq!(text.parse(), Ok(Moment(day * DAY + 12_345_678)), "{text}");
            assert!(last.as_ref().is_none_or(|last| *last < text), "{text} after {last:?}");
            last = Some(text);
        }
    }

    #[test]
    fn what_people_write_is_understood_and_what_is_no_time_is_refused() {
        let same =
            ["2026-11-22T10:00:00Z", "2026-11-22 11:00+01:00", "2026-11-22t05:30:00.000-04:30"];
        for text in same {
            assert_eq!(text.parse::<Moment>().map(|m| m.to_string()), Ok(same[0].to_owned()));
        }
        assert_eq!("1970-01-01T00:00:00.000001Z".parse(), Ok(Moment(1)));
        let wrong = [
            "",
            "yesterday",
            "2026-11-22",
            "2026-11-22T10:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T10:00:00Zulu",
            "26-11-22T10:00:00Z",
            "2026-11-22T10:00:00.1234567Z",
            "2026-11-22T10:+5:00Z",
        ];
        for text in wrong {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
