//! A notice in words, for channels that show text.

use evenkeel_core::alert::{Notice, Purpose};
use evenkeel_core::check::Severity;

use super::Call;

/// The one line that says it.
pub(super) fn subject(notice: &Notice) -> String {
    let title = &notice.title;
    match (notice.purpose, notice.severity) {
        (Purpose::Exercise, _) => format!("[exercise] {title}"),
        (Purpose::Resolve, _) => format!("[resolved] {title}"),
        (Purpose::Raise, Severity::Page) => format!("[PAGE] {title}"),
        (Purpose::Raise, severity) => format!("[{severity}] {title}"),
    }
}

/// What was seen, since when, and where to look.
pub(super) fn body(call: &Call<'_>) -> String {
    let notice = call.notice();
    let mut lines = vec![format!("{}, since {}", notice.domain, notice.since)];
    lines.extend(notice.evidence.iter().map(|seen| format!("- {seen}")));
    lines.push(match notice.purpose {
        Purpose::Raise => format!(
            "Incident {}. Until somebody acknowledges it, others are told too.",
            named(notice)
        ),
        Purpose::Resolve => format!("Incident {} is over.", named(notice)),
        Purpose::Exercise => "Nothing is wrong: this channel is being exercised.".to_owned(),
    });
    lines.push(format!("Told by Evenkeel {} (delivery {}).", call.store, call.delivery.number));
    lines.join("\n")
}

/// Its number, and the one that was told before of the same.
fn named(notice: &Notice) -> String {
    match notice.under {
        Some(under) => format!("{} (told as {under})", notice.incident),
        None => notice.incident.to_string(),
    }
}
