//! Printing: data to stdout, everything else to stderr; colour only for a terminal.

use std::io::{IsTerminal, Write};

use evenkeel_core::check::Severity;
use evenkeel_core::service::State;
use evenkeel_core::time::Span;
use evenkeel_core::view::Light;
use serde::Serialize;

use crate::failure::Failure;

/// A line of data. A reader that is gone is no failure.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A line for people beside the data.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// JSON for programs.
pub fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
    line(&text);
    Ok(())
}

/// Whether colours are wanted on stdout.
fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn paint(code: &str, text: &str) -> String {
    if coloured() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// A state in its colour.
pub fn state(state: State) -> String {
    let code = match state {
        State::Available => "32",
        State::Unavailable => "31;1",
        State::Uncertain => "33;1",
        State::Retired | State::Archived | State::Terminated => "2",
        State::Installing | State::Restart | State::Upgrading | State::Retiring => "36",
    };
    paint(code, state.as_str())
}

/// How a check stands, in its colour.
pub fn light(light: Light, word: &str) -> String {
    let code = match light {
        Light::Red => "31;1",
        Light::Yellow => "33",
        Light::Unread | Light::NotApplicable => "2",
        Light::Green => "32",
    };
    paint(code, &format!("{word:>6}"))
}

/// A severity in its colour.
pub fn severity(severity: Severity) -> String {
    let code = match severity {
        Severity::Note => "2",
        Severity::Warning => "33",
        Severity::Critical | Severity::Page => "31;1",
    };
    paint(code, &severity.to_string())
}

/// A heading.
pub fn heading(text: &str) {
    line(&paint("1", text));
}

/// A length of time in one unit.
pub fn span(span: Span) -> String {
    match span.0 / 1000 {
        0 => format!("{} ms", span.0),
        s if s < 120 => format!("{s} s"),
        s if s < 7200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// An amount in one unit.
pub fn bytes(bytes: u64) -> String {
    match bytes >> 20 {
        mib if mib < 10 << 10 => format!("{mib} MiB"),
        mib if mib < 10 << 20 => format!("{} GiB", mib >> 10),
        mib => format!("{} TiB", mib >> 20),
    }
}

/// Rows in columns; the first row is the heading.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| visible(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width + 2 - visible(cell)));
        }
        line(text.trim_end());
    }
}

/// Characters a cell takes on the screen, colours left out.
fn visible(cell: &str) -> usize {
    let mut count = 0;
    let mut escape = false;
    for c in cell.chars() {
        match c {
            '\u{1b}' => escape = true,
            'm' if escape => escape = false,
            _ if escape => {}
            _ => count += 1,
        }
    }
    count
}

/// Progress of something that takes a while, on stderr: one line that changes on a terminal, else
/// one line a change.
#[derive(Default)]
pub struct Progress {
    last: String,
}

impl Progress {
    /// Shows where it is.
    pub fn show(&mut self, text: &str) {
        if self.last == text {
            return;
        }
        let mut err = std::io::stderr();
        let _ = if err.is_terminal() {
            write!(err, "\r\u{1b}[K{text}").and_then(|()| err.flush())
        } else {
            writeln!(err, "{text}")
        };
        text.clone_into(&mut self.last);
    }

    /// Takes the changing line away.
    pub fn end(&mut self) {
        let mut err = std::io::stderr();
        if !self.last.is_empty() && err.is_terminal() {
            let _ = write!(err, "\r\u{1b}[K").and_then(|()| err.flush());
        }
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        assert_eq!(visible("\u{1b}[31;1mbad\u{1b}[0m"), 3);
        assert_eq!(visible("plain"), 5);
    }

    #[test]
    fn spans_have_one_unit() {
        let shown = [999, 61_000, 600_000, 7_200_000, 200_000_000].map(|ms| span(Span(ms)));
        assert_eq!(shown, ["999 ms", "61 s", "10 min", "2 h", "2 d"]);
    }
}
