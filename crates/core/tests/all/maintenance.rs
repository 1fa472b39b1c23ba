//! Maintenance windows and planned work, as tables.

use evenkeel_core::maintenance::{
    Because, Error, Long, Next, Planned, Task, WINDOWS_MAX, Windows, day, is_open, next, span,
};
use evenkeel_core::time::{Span, Time};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A moment of November 2026; the 22nd is a Sunday.
fn at(text: &str) -> Time {
    day(&format!("2026-11-{text}:00Z")).expect("a day")
}

fn windows(text: &str) -> Windows {
    text.parse().expect("windows")
}

#[test]
fn windows_are_open_when_they_say() {
    // Windows, moment, whether open, next opening, closing.
    let table = [
        ("Sun 02:00 4h", "22T01:59", false, "22T02:00", "22T01:59"),
        ("Sun 02:00 4h", "22T02:00", true, "22T02:00", "22T06:00"),
        ("Sun 02:00 4h", "22T05:59", true, "22T05:59", "22T06:00"),
        ("Sun 02:00 4h", "22T06:00", false, "29T02:00", "22T06:00"),
        // Over midnight, and over the end of the week.
        ("Wed 23:00 90m", "26T00:10", true, "26T00:10", "26T00:30"),
        ("Sat 22:00 6h", "22T03:59", true, "22T03:59", "22T04:00"),
        ("Sat 22:00 6h", "22T04:00", false, "28T22:00", "22T04:00"),
        ("Sat 22:00 6h", "21T21:59", false, "21T22:00", "21T21:59"),
        // Several: the next of any; what touches is one.
        ("Sun 02:00 4h, Wed 03:00 1h", "22T07:00", false, "25T03:00", "22T07:00"),
        ("Wed 03:00 1h,Sun 02:00 4h", "26T03:30", false, "29T02:00", "26T03:30"),
        ("Sun 02:00 4h, Sun 06:00 1h, Sun 05:00 90m", "22T03:00", true, "22T03:00", "22T07:00"),
        // A whole week.
        ("Mon 00:00 7d", "22T12:00", true, "22T12:00", "23T00:00"),
    ];
    for (text, now, open, opening, closing) in table {
        let (found, now) = (windows(text), at(now));
        assert_eq!(found.is_open(now), open, "{text} at {now:?}");
        assert_eq!(found.opening(now), at(opening), "{text} after {now:?}");
        if text != "Mon 00:00 7d" {
            assert_eq!(found.closing(now), at(closing), "{text} at {now:?}");
        }
        assert!(is_open(None, now), "without windows any time will do");
    }
}

#[test]
fn every_opening_is_open_and_the_moment_before_is_not() {
    let found = windows("Sun 02:00 4h, Wed 23:30 50m, Sat 23:00 2h");
    let mut now = at("01T00:00");
    for _ in 0..40 {
        let opening = found.opening(now);
        assert!(found.is_open(opening));
        assert!(opening == now || !found.is_open(Time(opening.0 - 1)));
        now = found.closing(opening);
        assert!(!found.is_open(now) && found.is_open(Time(now.0 - 1)));
    }
}

#[test]
fn what_people_write_is_read_and_shown_the_same() {
    let table = [
        ("sun 02:00 4h", "Sun 02:00 4h"),
        (" WED 23:00 90m ", "Wed 23:00 1h30m"),
        ("Mon 00:00 1d,Sun 12:15 10m", "Sun 12:15 10m, Mon 00:00 1d"),
        ("Sun 02:00 4h, Sun 02:00 4h", "Sun 02:00 4h"),
    ];
    for (text, shown) in table {
        assert_eq!(windows(text).to_string(), shown);
        let json = serde_json::to_string(&windows(text)).unwrap();
        assert_eq!(serde_json::from_str::<Windows>(&json).unwrap(), windows(shown));
    }
}

#[test]
fn a_wrong_window_is_named_with_what_would_do() {
    let table = [
        ("", "three parts"),
        ("Sun 02:00", "three parts"),
        ("Sunday 02:00 4h", "the day"),
        ("Sun 2:00 4h", "the time"),
        ("Sun 24:00 4h", "the time"),
        ("Sun 02:60 4h", "the time"),
        ("Sun 02:00 4", "the length"),
        ("Sun 02:00 5m", "from 10 minutes"),
        ("Sun 02:00 8d", "from 10 minutes"),
        ("Sun 02:00 4h, nonsense", "nonsense"),
    ];
    for (text, what) in table {
        let error = text.parse::<Windows>().unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("Sun 02:00 4h"), "{text}: {error}");
    }
    let many = vec!["Sun 02:00 4h"; WINDOWS_MAX + 1].join(",");
    assert_eq!(many.parse::<Windows>(), Err(Error::TooMany { count: WINDOWS_MAX + 1 }));
}

#[test]
fn spans_and_days_are_read() {
    let spans = [
        ("30d", 30 * DAY),
        ("4h", 4 * HOUR),
        ("1h30m", 90 * MINUTE),
        ("90s", 90_000),
        ("2s", 2000),
    ];
    for (text, millis) in spans {
        assert_eq!(span(text), Ok(Span(millis)), "{text}");
        assert_eq!(span(&Long(Span(millis)).to_string()), Ok(Span(millis)));
    }
    for text in ["", "4", "h", "4w", "-1h", "0s", "1.5h", "99999999999999999999d", "999999999999d"]
    {
        assert!(span(text).is_err(), "{text}");
    }
    assert_eq!(day("2026-11-22"), day("2026-11-22T00:00:00Z"));
    assert!(day("soon").unwrap_err().to_string().contains("2026-11-22"));
}

#[test]
fn planned_work_waits_for_its_window_and_no_longer_than_it_may() {
    let planned = |required_by: Option<&str>, run_now, not_before: Option<&str>| Planned {
        id: 1,
        task: Task::Restart,
        reason: "settings".to_owned(),
        by: "test".to_owned(),
        created: at("20T00:00"),
        required_by: required_by.map(at),
        run_now,
        not_before: not_before.map(at),
        operation: None,
    };
    let sunday = windows("Sun 02:00 4h");
    let (go, wait) = (Next::Go, |text| Next::Wait(at(text)));
    let table = [
        (planned(None, false, None), "21T12:00", wait("22T02:00")),
        (planned(None, false, None), "22T02:00", go(Because::Window)),
        (planned(None, true, None), "21T12:00", go(Because::Person)),
        (planned(Some("21T18:00"), false, None), "21T12:00", wait("21T18:00")),
        (planned(Some("21T18:00"), false, None), "21T18:00", go(Because::Overdue)),
        (planned(Some("25T00:00"), false, None), "21T12:00", wait("22T02:00")),
        (planned(None, false, Some("22T03:00")), "22T02:30", wait("22T03:00")),
        (planned(None, true, Some("22T03:00")), "22T02:30", wait("22T03:00")),
        (planned(None, false, Some("22T03:00")), "22T03:00", go(Because::Window)),
    ];
    for (planned, now, expected) in table {
        assert_eq!(next(&planned, Some(&sunday), at(now)), expected, "{planned:?} at {now}");
    }
    let any = planned(None, false, None);
    assert_eq!(next(&any, None, at("21T12:00")), go(Because::Window));
}
