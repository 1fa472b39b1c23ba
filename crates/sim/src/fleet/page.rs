//! A run as a page of its own: what happened, drawn, with nothing fetched from anywhere.

use std::fmt::Write;

use super::Outcome;
use super::outcome::clock;

/// Pixels of a plot.
const WIDE: f64 = 920.0;
const HIGH: f64 = 220.0;
/// Left of it, and below.
const LEFT: f64 = 70.0;
const BELOW: f64 = 28.0;

/// What is drawn.
struct Plot<'a> {
    title: &'a str,
    unit: &'a str,
    /// Hours, and how much.
    points: Vec<(f64, f64)>,
    /// A line across, and what it is.
    limit: Option<(f64, &'a str)>,
}

/// The page of a run. `others` are runs of the same scenario with fewer services: how many, and wall seconds;
/// `naive` is one in which nobody held back.
#[must_use]
pub fn html(
    outcome: &Outcome,
    wall_seconds: f64,
    rss_bytes: u64,
    others: &[(u64, f64)],
    naive: Option<&Outcome>,
) -> String {
    let mut page = String::new();
    let [title, story] = [&outcome.title, &outcome.story].map(|text| escape(text));
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n<style>{STYLE}</style>\n\
         <h1>{title}</h1>\n<p>{story}</p>\n<p class=\"sum\">{}</p>\n",
        escape(&summary(outcome, wall_seconds, rss_bytes))
    );
    verdict(&mut page, outcome);
    account(&mut page, outcome);
    sources(&mut page, outcome);
    for plot in plots(outcome) {
        page.push_str(&draw(&plot));
    }
    if let Some(naive) = naive {
        compare(&mut page, outcome, naive);
    }
    cost(&mut page, outcome, wall_seconds, others);
    timeline(&mut page, outcome);
    decisions(&mut page, outcome);
    invariants(&mut page, outcome);
    edges(&mut page, outcome);
    let _ = writeln!(
        page,
        "<p class=\"foot\">evenkeel sim run {} --services {} --seed {} · digest {}</p></html>",
        escape(&outcome.report.scenario),
        outcome.report.services,
        outcome.report.seed,
        outcome.report.report_digest
    );
    page
}

fn summary(outcome: &Outcome, wall_seconds: f64, rss_bytes: u64) -> String {
    let report = &outcome.report;
    format!(
        "{} services on {} hosts in {} cells; {} of virtual time in {wall_seconds:.1} s of wall time and {} MiB. \
         {} turns, {} recorded transitions, {} recoveries, {} pages.",
        report.services,
        outcome.hosts,
        outcome.cells,
        clock(report.sim_seconds * 1000),
        rss_bytes >> 20,
        report.turns,
        report.transitions,
        report.recovered,
        report.pages,
    )
}

fn verdict(page: &mut String, outcome: &Outcome) {
    let (class, text) = match outcome.held() {
        Ok(()) => ("held", "Everything held.".to_owned()),
        Err(why) => ("broken", format!("Not everything held: {why}")),
    };
    let _ = writeln!(page, "<p class=\"{class}\">{}</p>", escape(&text));
    page.push_str("<h2>What must be so</h2>\n<table>\n");
    for assertion in &outcome.report.assertions {
        let (class, word) = if assertion.held { ("held", "held") } else { ("broken", "not so") };
        let text = escape(&assertion.text);
        let _ = writeln!(page, "<tr><td class=\"{class}\">{word}</td><td>{text}</td></tr>");
    }
    page.push_str("</table>\n");
}

fn sources(page: &mut String, outcome: &Outcome) {
    for source in &outcome.sources {
        let _ = writeln!(page, "<p class=\"foot\">{}</p>", escape(source));
    }
}

fn account(page: &mut String, outcome: &Outcome) {
    if outcome.account.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Beside the public account</h2>\n<table><tr><th></th><th>public</th><th>this run</th></tr>\n",
    );
    for beside in &outcome.account {
        let cells = [&beside.what, &beside.public, &beside.here].map(|text| escape(text));
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            cells[0], cells[1], cells[2]
        );
    }
    page.push_str("</table>\n");
}

#[allow(clippy::cast_precision_loss, reason = "pixels")]
fn plots(outcome: &Outcome) -> Vec<Plot<'static>> {
    let hour = |ms: u64| ms as f64 / 3_600_000.0;
    let of = |value: fn(&super::Point) -> u64| {
        outcome.points.iter().map(|p| (hour(p.at.0), value(p) as f64)).collect::<Vec<_>>()
    };
    let last = outcome.points.last().map_or(0, |point| point.at.0 / 60_000);
    let per_minute = |minute: u64| {
        outcome.recoveries_per_minute.get(&minute).copied().unwrap_or(0) as f64 / 60.0
    };
    let recoveries = (0..=last).map(|m| (m as f64 / 60.0, per_minute(m))).collect();
    vec![
        Plot {
            title: "Services whose clients cannot write",
            unit: "services",
            points: of(|p| p.down),
            limit: None,
        },
        Plot { title: "Recoveries", unit: "a second", points: recoveries, limit: None },
        Plot {
            title: "Log that waits for its archive",
            unit: "segments",
            points: of(|p| p.waiting),
            limit: None,
        },
        Plot {
            title: "Asked of object storage, of what it bears",
            unit: "%",
            points: of(|p| p.asked_percent),
            limit: Some((100.0, "what it bears")),
        },
    ]
    .into_iter()
    .filter(|plot| plot.points.iter().any(|(_, value)| *value > 0.0))
    .collect()
}

fn draw(plot: &Plot<'_>) -> String {
    let most_x = plot.points.iter().map(|(x, _)| *x).fold(0.0, f64::max).max(1e-9);
    let limit = plot.limit.map_or(0.0, |(at, _)| at);
    let most_y = plot.points.iter().map(|(_, y)| *y).fold(limit, f64::max).max(1e-9) * 1.05;
    let place = |x: f64, y: f64| {
        (LEFT + x / most_x * (WIDE - LEFT - 10.0), (HIGH - BELOW) * (1.0 - y / most_y) + 6.0)
    };
    let mut path = String::new();
    for (n, (x, y)) in plot.points.iter().enumerate() {
        let (x, y) = place(*x, *y);
        let _ = write!(path, "{}{x:.1} {y:.1}", if n == 0 { "M" } else { "L" });
    }
    let mut out = format!(
        "<h2>{}</h2>\n<svg viewBox=\"0 0 {WIDE} {HIGH}\" role=\"img\" aria-label=\"{}\">",
        escape(plot.title),
        escape(plot.title)
    );
    for part in 0..=4 {
        let value = most_y / 1.05 * f64::from(part) / 4.0;
        let (x, y) = place(0.0, value);
        let right = WIDE - 10.0;
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            short(value)
        );
    }
    for part in 0..=8 {
        let at = most_x * f64::from(part) / 8.0;
        let (x, _) = place(at, 0.0);
        let label =
            if most_x >= 0.5 { format!("{at:.1} h") } else { format!("{:.0} s", at * 3600.0) };
        let _ = write!(out, "<text class=\"x\" x=\"{x:.1}\" y=\"{}\">{label}</text>", HIGH - 4.0);
    }
    if let Some((at, what)) = plot.limit {
        let (x, y) = place(0.0, at);
        let _ = write!(
            out,
            "<line class=\"limit\" x1=\"{x:.1}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"what\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDE - 10.0,
            WIDE - 14.0,
            y - 4.0,
            escape(what)
        );
    }
    let _ = writeln!(
        out,
        "<path d=\"{path}\"/><text class=\"unit\" x=\"{LEFT}\" y=\"12\">{}</text></svg>",
        escape(plot.unit)
    );
    out
}

#[allow(clippy::cast_precision_loss, reason = "pixels")]
fn cost(page: &mut String, outcome: &Outcome, wall_seconds: f64, others: &[(u64, f64)]) {
    if others.is_empty() {
        return;
    }
    let mut points: Vec<(f64, f64)> =
        others.iter().map(|(services, wall)| (*services as f64, *wall)).collect();
    points.push((outcome.report.services as f64, wall_seconds));
    page.push_str(
        "<h2>What it costs</h2>\n<table><tr><th>services</th><th>wall time</th><th>for each service</th></tr>\n",
    );
    for (services, wall) in &points {
        let each = wall / services.max(1.0) * 1000.0;
        let _ = writeln!(
            page,
            "<tr><td>{services:.0}</td><td>{wall:.2} s</td><td>{each:.2} ms</td></tr>"
        );
    }
    page.push_str("</table>\n");
    page.push_str(&log_log(&points));
}

/// Services against wall time, both by powers of ten, with a line of slope one through the first.
fn log_log(points: &[(f64, f64)]) -> String {
    let x = |value: f64| value.max(1.0).log10();
    let y = |value: f64| value.max(0.001).log10();
    let (left, right) =
        points.iter().fold((f64::MAX, f64::MIN), |(l, r), p| (l.min(x(p.0)), r.max(x(p.0))));
    let span = (right - left).max(1e-9);
    let low = points.iter().map(|p| y(p.1)).fold(f64::MAX, f64::min);
    let linear = points.first().map_or(low, |first| y(first.1) + span);
    let high = points.iter().map(|p| y(p.1)).fold(linear, f64::max).max(low + 1e-9) + 0.2;
    let place = |at: f64, value: f64| {
        (
            LEFT + (at - left) / span * (WIDE - LEFT - 10.0),
            (HIGH - BELOW) * (1.0 - (value - low) / (high - low)) + 6.0,
        )
    };
    let mut out = format!("<svg viewBox=\"0 0 {WIDE} {HIGH}\" role=\"img\" aria-label=\"cost\">");
    if let Some(first) = points.first() {
        let ((a, b), (c, d)) = (place(left, y(first.1)), place(right, y(first.1) + span));
        let _ = write!(
            out,
            "<line class=\"limit\" x1=\"{a:.1}\" y1=\"{b:.1}\" x2=\"{c:.1}\" y2=\"{d:.1}\"/>\
             <text class=\"what\" x=\"{:.1}\" y=\"{:.1}\">linear</text>",
            c - 4.0,
            d + 14.0
        );
    }
    let mut path = String::new();
    for (n, point) in points.iter().enumerate() {
        let (px, py) = place(x(point.0), y(point.1));
        let _ = write!(path, "{}{px:.1} {py:.1}", if n == 0 { "M" } else { "L" });
        let _ = write!(
            out,
            "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\"/><text class=\"x\" x=\"{px:.1}\" y=\"{}\">{}</text>",
            HIGH - 4.0,
            short(point.0)
        );
    }
    let _ = writeln!(
        out,
        "<path d=\"{path}\"/><text class=\"unit\" x=\"{LEFT}\" y=\"12\">seconds</text></svg>"
    );
    out
}

fn timeline(page: &mut String, outcome: &Outcome) {
    page.push_str("<h2>What happened</h2>\n<table>\n");
    for told in &outcome.timeline {
        let text = escape(&told.text);
        let _ = writeln!(page, "<tr><td>T + {}</td><td>{text}</td></tr>", clock(told.at.0));
    }
    page.push_str("</table>\n");
}

fn decisions(page: &mut String, outcome: &Outcome) {
    page.push_str("<h2>What was decided, and kept, and why</h2>\n<table>\n");
    for (text, count) in &outcome.decisions {
        let _ = writeln!(page, "<tr><td>{count}</td><td>{}</td></tr>", escape(text));
    }
    page.push_str("</table>\n");
}

fn invariants(page: &mut String, outcome: &Outcome) {
    page.push_str("<h2>What must never be otherwise</h2>\n<table><tr><th></th><th>looks</th><th>broken</th></tr>\n");
    for (invariant, checked) in &outcome.report.invariants {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&invariant.to_string()),
            checked.checked,
            checked.broken
        );
    }
    page.push_str("</table>\n");
}

/// The same scenario where nobody holds back, beside it.
fn compare(page: &mut String, outcome: &Outcome, naive: &Outcome) {
    let _ = write!(
        page,
        "<h2>Where nobody holds back</h2>\n<p>The same scenario with {} services, in which agents send all that \
         waits at once and hosts start all at once.</p>\n<table><tr><th></th><th>this run</th><th>nobody \
         holds back</th></tr>\n",
        naive.report.services
    );
    let figures = |of: &Outcome| {
        [
            of.healthy_at_ms.map_or("not at the end".to_owned(), |ms| format!("T + {}", clock(ms))),
            format!("{} %", of.storage_worst_percent),
            format!("{} s", of.storage_overloaded_seconds),
            clock(of.worst_outage_ms),
            of.report.pages.to_string(),
        ]
    };
    let what = [
        "everything well again",
        "most that was asked of storage, of what it bears",
        "half again as much as it bears, or more",
        "longest outage of a service",
        "people were told",
    ];
    for ((what, here), there) in what.iter().zip(figures(outcome)).zip(figures(naive)) {
        let _ = writeln!(page, "<tr><td>{what}</td><td>{here}</td><td>{there}</td></tr>");
    }
    page.push_str("</table>\n");
    let asked = plots(naive).into_iter().find(|plot| plot.limit.is_some());
    if let Some(plot) = asked {
        page.push_str(&draw(&Plot {
            title: "Asked of object storage, where nobody holds back",
            ..plot
        }));
    }
}

/// Edges of machines: what was taken and how often, and what was not.
fn edges(page: &mut String, outcome: &Outcome) {
    let edges = &outcome.report.edges;
    let _ = write!(
        page,
        "<h2>Edges of the machines</h2>\n<details><summary>{}</summary>\n<table>\n",
        edges.summary()
    );
    for line in edges.lines() {
        let (class, times) = match line.times {
            0 => ("sum", "not taken".to_owned()),
            times => ("held", times.to_string()),
        };
        let text = escape(&line.to_string());
        let _ = writeln!(page, "<tr><td class=\"{class}\">{times}</td><td>{text}</td></tr>");
    }
    page.push_str("</table></details>\n");
}

/// A number in the room there is beside an axis.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1} M", v / 1e6),
        v if v >= 1e4 => format!("{:.0} k", v / 1e3),
        v if v >= 1e3 => format!("{:.1} k", v / 1e3),
        v if v >= 10.0 || v.fract().abs() < 1e-9 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;\
color:#1c2430;background:#fff}h1{font-size:1.5em}h2{font-size:1.1em;margin:1.6em 0 .4em}table{border-collapse:collapse}\
td,th{padding:.2em .9em .2em 0;text-align:left;vertical-align:top}.held{color:#1a7f4b}.broken{color:#b3261e;\
font-weight:600}.sum,.foot{color:#5a6675}svg{width:100%;height:auto}svg path{fill:none;stroke:#1f6feb;stroke-width:1.5}\
svg circle{fill:#1f6feb}svg text{font-size:11px;fill:#5a6675}.y{text-anchor:end}.x{text-anchor:middle}\
.what{text-anchor:end}.grid{stroke:#e4e8ee}.limit{stroke:#b3261e;stroke-dasharray:5 4}@media(prefers-color-scheme:dark){\
body{background:#14181f;color:#dde3ea}.grid{stroke:#2a313c}svg text,.sum,.foot{fill:#97a3b2;color:#97a3b2}}";
