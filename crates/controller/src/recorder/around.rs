//! Which recordings are of the time around something.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_core::time::{Span, Time};

use super::frame::{Frames, Header};
use super::segment;

/// Recordings are kept from so long before an incident begins or ends.
pub(crate) const BEFORE: Duration = Duration::from_secs(10 * 60);
/// And to so long after that.
pub(crate) const AFTER: Duration = Duration::from_secs(10 * 60);
/// A header is no longer than this, in bytes: it holds a policy.
const HEADER_MAX: u64 = 1 << 20;

/// The recordings in a directory that hold some of what happened from a while before one moment to a while
/// after another, oldest first. What cannot be read is left out.
pub(crate) fn around(dir: &Path, from: Time, to: Time) -> Vec<PathBuf> {
    let span = |wait: Duration| Span(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    let (from, to) = (Time(from.0.saturating_sub(span(BEFORE).0)), to + span(AFTER));
    let all = segment::list(dir).unwrap_or_default();
    let begun: Vec<(u64, Time, PathBuf)> =
        all.into_iter().filter_map(|one| Some((one.number, began(&one.path)?, one.path))).collect();
    // One ends where the next one begins; of what lies before one that is gone nobody knows more.
    let ends = |at: usize| begun.get(at + 1).map(|(_, next, _)| *next);
    let within = |at: &usize| begun[*at].1 <= to && ends(*at).is_none_or(|end| end >= from);
    (0..begun.len()).filter(within).map(|at| begun[at].2.clone()).collect()
}

/// When a recording began, by its header.
fn began(path: &Path) -> Option<Time> {
    let mut file = File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.by_ref().take(4).read_to_end(&mut bytes).ok()?;
    let length = u32::from_be_bytes(*bytes.first_chunk()?);
    file.take(u64::from(length).min(HEADER_MAX)).read_to_end(&mut bytes).ok()?;
    let body = Frames::new(&bytes).next().ok()??;
    serde_json::from_slice::<Header>(body).ok().map(|header| header.at)
}

#[cfg(test)]
mod tests {
    use evenkeel_core::goal::StoreId;
    use evenkeel_core::id::CellId;
    use evenkeel_core::policy::Policy;

    use super::*;
    use crate::recorder::frame;

    fn record(dir: &Path, name: &str, minutes: u64) {
        let header = Header {
            release: "1".to_owned(),
            at: Time(minutes * 60_000),
            cell: CellId(1),
            store: StoreId("s".to_owned()),
            policy: Policy::default(),
        };
        let mut bytes = Vec::new();
        frame::push(&mut bytes, &serde_json::to_vec(&header).unwrap());
        frame::push(&mut bytes, b"a snapshot that is of no interest here");
        std::fs::write(dir.join(name), bytes).unwrap();
    }

    #[test]
    fn those_that_overlap_the_time_are_found_whatever_they_are_kept_for() {
        let dir = tempfile::tempdir().unwrap();
        for (name, minutes) in [
            ("000001.rec", 0),
            ("000002.incident.rec", 30),
            ("000003.pinned.rec", 60),
            ("000004.rec", 90),
            ("000005.rec", 120),
        ] {
            record(dir.path(), name, minutes);
        }
        std::fs::write(dir.path().join("000006.rec"), b"").unwrap();
        let found = |from: u64, to: u64| {
            let all = around(dir.path(), Time(from * 60_000), Time(to * 60_000));
            let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap()[..6].parse();
            all.iter().map(|path| name(path).unwrap()).collect::<Vec<u64>>()
        };
        assert_eq!(found(45, 70), [2, 3]);
        assert_eq!(found(35, 70), [1, 2, 3], "ten minutes before it count");
        assert_eq!(found(45, 85), [2, 3, 4], "and ten after");
        assert_eq!(found(200, 300), [5], "the last one goes on");
    }
}
