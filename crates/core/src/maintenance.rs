//! Maintenance windows and the work that waits for them.
//!
//! A window is a weekly stretch of UTC, such as `Sun 02:00 4h`: there is no daylight saving in UTC, so a
//! week always has the same length and a window opens once in each. Planned work waits for its service's
//! window, unless a person lets it go at once or the day has passed by which it must be done.
//!
//! Knows nothing of services: the cell asks [`next`] what a piece of planned work does now.
//!
//! ```
//! use evenkeel_core::maintenance::Windows;
//! let windows: Windows = "Sun 02:00 4h, Wed 23:00 90m".parse().unwrap();
//! assert_eq!(windows.to_string(), "Sun 02:00 4h, Wed 23:00 1h30m");
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::OperationId;
use crate::moment::Moment;
use crate::time::{Span, Time};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
/// 1970 began on a Thursday: so far into a week that begins on Sunday.
const FIRST_DAY: u64 = 4 * DAY;
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
/// A window is open at least so long: shorter ones end before anything in them does.
const OPEN_MIN: Span = Span::mins(10);
/// Windows of one service.
pub const WINDOWS_MAX: usize = 14;
/// Pieces of planned work of one service.
pub const PLANNED_MAX: usize = 16;
/// Characters of a reason that are kept.
pub const REASON_MAX_CHARS: usize = 200;
/// Planned work that did not end well waits so long before it is tried again.
pub const RETRY_AFTER: Span = Span::mins(60);

/// A text that is no window, span or day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No window.
    #[error(
        "{text:?} is no maintenance window: {what}; write day, time (UTC) and length, such as \"Sun 02:00 4h\""
    )]
    Window {
        /// The text.
        text: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Too many of them.
    #[error("{count} windows are more than {WINDOWS_MAX}; name fewer and longer ones")]
    TooMany {
        /// How many were named.
        count: usize,
    },
    /// No length of time.
    #[error("{text:?} is no length of time; write one like 30d, 4h, 1h30m or 90s")]
    Span {
        /// The text.
        text: String,
    },
    /// No day.
    #[error("{text:?} is no day; write one like 2026-11-22, or a time like 2026-11-22T10:00:00Z")]
    Day {
        /// The text.
        text: String,
    },
    /// No work that can be planned.
    #[error("{text:?} cannot be planned; plan one of restart, switchover and drill")]
    Task {
        /// The text.
        text: String,
    },
}

/// A weekly stretch of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Window {
    /// Since the week's begin, which is Sunday's midnight, in milliseconds.
    from: u64,
    /// How long it is open.
    open: Span,
}

/// The windows of a service, in order of the week; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Windows(Box<[Window]>);

impl Window {
    /// How far into it a moment is; `None` while it is closed.
    fn offset(self, now: Time) -> Option<Span> {
        let of_week = (now.0 + FIRST_DAY) % WEEK;
        let since = (of_week + WEEK - self.from) % WEEK;
        (since < self.open.0).then_some(Span(since))
    }

    fn opening(self, after: Time) -> Time {
        let of_week = (after.0 + FIRST_DAY) % WEEK;
        if self.offset(after).is_some() {
            after
        } else {
            after + Span((self.from + WEEK - of_week) % WEEK)
        }
    }
}

impl Windows {
    /// Whether one of them is open.
    #[must_use]
    pub fn is_open(&self, now: Time) -> bool {
        self.0.iter().any(|window| window.offset(now).is_some())
    }

    /// When the next one opens; the moment itself while one is open.
    #[must_use]
    pub fn opening(&self, after: Time) -> Time {
        self.0.iter().map(|window| window.opening(after)).min().unwrap_or(after)
    }

    /// When the one that is open closes, windows that follow one another taken as one; the moment itself
    /// while none is open.
    #[must_use]
    pub fn closing(&self, now: Time) -> Time {
        let mut end = now;
        // Each window can lengthen it once: after a week it is always open.
        for _ in 0..=self.0.len() {
            let open = |window: &Window| Some(end + (Span(window.open.0 - window.offset(end)?.0)));
            match self.0.iter().filter_map(open).max() {
                Some(later) => end = later,
                None => break,
            }
        }
        end
    }
}

/// Whether work may be done now that has these windows: without any, always.
#[must_use]
pub fn is_open(windows: Option<&Windows>, now: Time) -> bool {
    windows.is_none_or(|windows| windows.is_open(now))
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = usize::try_from(self.from / DAY).ok().and_then(|day| DAYS.get(day));
        let (hour, minute) = (self.from % DAY / HOUR, self.from % HOUR / MINUTE);
        write!(f, "{} {hour:02}:{minute:02} {}", day.unwrap_or(&DAYS[0]), Long(self.open))
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, window) in self.0.iter().enumerate() {
            write!(f, "{}{window}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl FromStr for Windows {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = text.split(',').map(window).collect::<Result<Vec<_>, _>>();
        let mut windows = parsed?;
        if windows.len() > WINDOWS_MAX {
            return Err(Error::TooMany { count: windows.len() });
        }
        windows.sort_unstable();
        windows.dedup();
        Ok(Self(windows.into()))
    }
}

impl TryFrom<String> for Windows {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Windows> for String {
    fn from(windows: Windows) -> Self {
        windows.to_string()
    }
}

fn window(text: &str) -> Result<Window, Error> {
    let wrong = |what| Error::Window { text: text.trim().to_owned(), what };
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [day, clock, open] = parts[..] else {
        return Err(wrong("it has not three parts"));
    };
    let day = DAYS.iter().zip(0..).find(|(name, _)| name.eq_ignore_ascii_case(day));
    let Some((_, day)) = day else {
        return Err(wrong("the day is none of Sun, Mon, Tue, Wed, Thu, Fri and Sat"));
    };
    let clock = clock.split_once(':').and_then(|(hour, minute)| {
        let number = |text: &str, max: u64| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u64>().ok().filter(|number| digits && *number <= max)
        };
        Some(number(hour, 23)? * HOUR + number(minute, 59)? * MINUTE)
    });
    let Some(clock) = clock else { return Err(wrong("the time is not one from 00:00 to 23:59")) };
    let Ok(open) = span(open) else { return Err(wrong("the length is not one like 4h or 90m")) };
    if open < OPEN_MIN || open.0 > WEEK {
        return Err(wrong("the length is not from 10 minutes to 7 days"));
    }
    Ok(Window { from: day * DAY + clock, open })
}

/// A length of time as people write it: `30d`, `4h`, `1h30m`, `90s`.
///
/// # Errors
/// [`Error::Span`].
pub fn span(text: &str) -> Result<Span, Error> {
    let wrong = || Error::Span { text: text.to_owned() };
    let (mut total, mut number) = (0_u64, String::new());
    for letter in text.trim().chars() {
        let unit = match letter {
            '0'..='9' => {
                number.push(letter);
                continue;
            }
            'd' => DAY,
            'h' => HOUR,
            'm' => MINUTE,
            's' => 1000,
            _ => return Err(wrong()),
        };
        let count: u64 = number.parse().map_err(|_| wrong())?;
        let part = count.checked_mul(unit).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        number.clear();
    }
    if total == 0 || !number.is_empty() {
        return Err(wrong());
    }
    Ok(Span(total))
}

/// A moment as people write it; a day alone is its midnight, UTC.
///
/// # Errors
/// [`Error::Day`].
pub fn day(text: &str) -> Result<Time, Error> {
    let text = text.trim();
    let moment = text.parse::<Moment>().or_else(|_| format!("{text}T00:00:00Z").parse());
    let moment = moment.map_err(|_| Error::Day { text: text.to_owned() })?;
    Ok(Time(moment.millis()))
}

/// A length of time, written as it is read by [`span`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Long(pub Span);

impl fmt::Display for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.0;
        let mut told = false;
        for (unit, letter) in [(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm'), (1000, 's')] {
            if rest >= unit {
                write!(f, "{}{letter}", rest / unit)?;
                (rest, told) = (rest % unit, true);
            }
        }
        if told { Ok(()) } else { write!(f, "{}", Span(rest)) }
    }
}

/// What is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// An orderly restart, for settings that wait for one.
    Restart,
    /// Another member takes the primary's place, in order.
    Switchover,
    /// A failover drill.
    Drill,
}

impl Task {
    /// Every task.
    pub const ALL: [Self; 3] = [Self::Restart, Self::Switchover, Self::Drill];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Switchover => "switchover",
            Self::Drill => "drill",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|task| task.as_str() == text);
        found.ok_or_else(|| Error::Task { text: text.to_owned() })
    }
}

/// A piece of planned work, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Its number, for people.
    pub id: u32,
    /// What is done.
    pub task: Task,
    /// Why.
    pub reason: String,
    /// Who planned it.
    pub by: String,
    /// When it was planned.
    pub created: Time,
    /// By when it must be done: past that it waits for no window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_by: Option<Time>,
    /// A person let it go at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_now: bool,
    /// Not before this: it was tried, and did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// The operation that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
}

/// Why planned work goes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// Its window is open, or it needs none.
    Window,
    /// A person let it go at once.
    Person,
    /// The day has passed by which it must be done.
    Overdue,
}

/// What a piece of planned work does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It begins as soon as its service can bear it.
    Go(Because),
    /// It waits until then.
    Wait(Time),
}

/// What a piece of planned work does now, under its service's windows.
#[must_use]
pub fn next(planned: &Planned, windows: Option<&Windows>, now: Time) -> Next {
    let overdue = planned.required_by.is_some_and(|by| by <= now);
    if let Some(wait) = planned.not_before.filter(|at| *at > now) {
        return Next::Wait(wait);
    }
    match windows {
        _ if planned.run_now => Next::Go(Because::Person),
        None => Next::Go(Because::Window),
        Some(windows) if windows.is_open(now) => Next::Go(Because::Window),
        Some(_) if overdue => Next::Go(Because::Overdue),
        Some(windows) => {
            let opening = windows.opening(now);
            Next::Wait(planned.required_by.map_or(opening, |by| by.min(opening)))
        }
    }
}

/// What may be ordered about maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// A service has these windows; `None`: those of the policy.
    Window {
        /// Which service.
        name: String,
        /// When.
        windows: Option<Windows>,
    },
    /// Work is planned.
    Plan {
        /// Of which service.
        name: String,
        /// What.
        task: Task,
        /// Why.
        reason: String,
        /// By when it must be done.
        required_by: Option<Time>,
    },
    /// Planned work waits no longer.
    RunNow {
        /// Its number.
        id: u32,
    },
    /// Planned work is not done.
    Cancel {
        /// Its number.
        id: u32,
    },
}

/// A piece of planned work, for people. Moments are RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its number.
    pub id: u32,
    /// Of which service.
    pub service: String,
    /// What is done.
    pub task: String,
    /// Why.
    pub reason: String,
    /// Who planned it.
    pub by: String,
    /// When it was planned.
    pub created_at: String,
    /// By when it must be done.
    pub required_by: Option<String>,
    /// Where it stands: `waits`, `due` or `under way`.
    pub state: String,
    /// When its window opens next, or when it is tried again; none once it is due.
    pub opens_at: Option<String>,
}

/// A service's maintenance, for people. Moments are RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Which service.
    pub service: String,
    /// Its windows; none: any time.
    pub window: Option<String>,
    /// Where they come from: `service`, `policy` or `default`.
    pub from: String,
    /// Whether one is open.
    pub open: bool,
    /// When the next one opens; none while one is open.
    pub opens_at: Option<String>,
    /// What is planned.
    pub planned: Vec<Item>,
}
