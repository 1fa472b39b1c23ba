//! What pgBackRest answers when it is asked what there is.

use evenkeel_core::promise::Position;
use serde::Deserialize;

use super::super::Bounds;

/// Of its `info --output=json`: what it has, oldest first.
#[derive(Debug, Deserialize)]
struct Stanza {
    #[serde(default)]
    backup: Vec<Set>,
}

/// A backup of its.
#[derive(Debug, Deserialize)]
pub struct Set {
    /// Its name.
    pub label: String,
    /// Whether a page of it was damaged when it was read.
    #[serde(default)]
    error: bool,
    #[serde(default)]
    annotation: Option<Annotation>,
    archive: Ends,
    lsn: Ends,
    info: Info,
}

#[derive(Debug, Deserialize)]
struct Annotation {
    #[serde(default)]
    evenkeel: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Ends {
    start: Option<String>,
    stop: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Info {
    size: u64,
    repository: Stored,
}

#[derive(Debug, Deserialize)]
struct Stored {
    delta: u64,
}

impl Set {
    /// Whether it was taken under this name of ours.
    pub fn is(&self, name: &str) -> bool {
        self.annotation.as_ref().and_then(|own| own.evenkeel.as_deref()) == Some(name)
    }

    /// Whether all that was read was whole.
    pub fn is_whole(&self) -> bool {
        !self.error
    }

    /// The log it needs.
    pub fn bounds(&self) -> Option<Bounds> {
        let timeline =
            |segment: &Option<String>| u32::from_str_radix(segment.as_ref()?.get(..8)?, 16).ok();
        let position = |text: &Option<String>| text.as_ref()?.parse::<Position>().ok();
        Some(Bounds {
            from: position(&self.lsn.start)?,
            to: position(&self.lsn.stop)?,
            timelines: (timeline(&self.archive.start)?, timeline(&self.archive.stop)?),
        })
    }

    /// Bytes of the data, and in the repository.
    pub fn bytes(&self) -> (u64, u64) {
        (self.info.size, self.info.repository.delta)
    }
}

/// What it has.
pub fn sets(info: &str) -> Option<Vec<Set>> {
    let stanzas: Vec<Stanza> = serde_json::from_str(info).ok()?;
    Some(stanzas.into_iter().flat_map(|stanza| stanza.backup).collect())
}

/// Whether `verify` found a backup whole. It ends well whatever it finds, and cannot be asked about one
/// backup alone before release 2.55.
pub fn is_verified(said: &str, label: &str) -> bool {
    let about = format!("backup: {label}, status: valid");
    said.lines().any(|line| line.trim_start().starts_with(&about))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = r#"[{"archive":[],"backup":[{"annotation":{"evenkeel":"b5"},
        "archive":{"start":"000000030000000000000005","stop":"000000030000000000000006"},
        "error":false,"info":{"delta":23361015,"repository":{"delta":4641648,"size":4641648},
        "size":23361015},"label":"20261126-140532F","lsn":{"start":"0/1400028","stop":"0/1800100"},
        "type":"full"}],"name":"evenkeel","status":{"code":0}}]"#;

    #[test]
    fn a_backup_is_found_by_our_name_for_it_with_the_log_it_needs() {
        let sets = sets(INFO).unwrap();
        let [set] = &sets[..] else { panic!("one") };
        assert!(set.is("b5") && !set.is("b50") && set.is_whole());
        assert_eq!(
            (set.label.as_str(), set.bytes()),
            ("20261126-140532F", (23_361_015, 4_641_648))
        );
        let bounds =
            Bounds { from: Position(0x140_0028), to: Position(0x180_0100), timelines: (3, 3) };
        assert_eq!(set.bounds(), Some(bounds));
        let damaged = INFO.replace("\"error\":false", "\"error\":true");
        assert!(!super::sets(&damaged).unwrap()[0].is_whole());
        assert!(super::sets("[]").unwrap().is_empty() && super::sets("ERROR").is_none());
    }

    #[test]
    fn only_what_is_said_to_be_valid_is() {
        let said = |status: &str| {
            format!(
                "stanza: evenkeel\nstatus: error\n  archiveId: 15-1, total WAL checked: 1\n  \
                 backup: 20261126-140532F, status: {status}, total files checked: 965\n"
            )
        };
        assert!(is_verified(&said("valid"), "20261126-140532F"));
        assert!(!is_verified(&said("invalid"), "20261126-140532F"));
        assert!(!is_verified(&said("valid"), "20261126-140533F"));
        assert!(!is_verified("backup: none found", "20261126-140532F"));
    }
}
