//! What a recording is made of: frames of a length (4 bytes, big endian, of what follows), a
//! version, and a body. A tail that is not a whole frame was torn by a crash and is left out.

use evenkeel_core::cell::Entry;
use evenkeel_core::digest::Digest;
use evenkeel_core::goal::StoreId;
use evenkeel_core::id::CellId;
use evenkeel_core::policy::Policy;
use evenkeel_core::time::Time;
use serde::{Deserialize, Serialize};

/// Version of every frame this release writes and reads.
pub(crate) const VERSION: u8 = 1;

/// First frame of a recording, as JSON. The second is the cell's snapshot, as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The release that recorded.
    pub release: String,
    /// When the recording began, on the cell's clock.
    pub at: Time,
    /// Which cell.
    pub cell: CellId,
    /// The store it recorded in.
    pub store: StoreId,
    /// The rules it decided by.
    pub policy: Policy,
}

/// Every further frame. A turn is two of them, so that a turn that crashed the controller is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    /// What a turn was given.
    Given {
        /// The moment.
        now: Time,
        /// Everything that came in.
        inbox: Vec<Entry>,
    },
    /// What it gave out.
    Gave {
        /// Digest of the whole turn.
        turn: Digest,
    },
}

/// Appends a frame.
///
/// # Panics
/// When the body is larger than 4 GiB, which no cell is.
pub(crate) fn push(out: &mut Vec<u8>, body: &[u8]) {
    let length = u32::try_from(body.len() + 1).expect("no cell is larger than a frame can be");
    out.extend_from_slice(&length.to_be_bytes());
    out.push(VERSION);
    out.extend_from_slice(body);
}

/// A frame of another release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {found} is not version {VERSION}, which this release reads")]
pub struct UnknownVersion {
    /// As found.
    pub found: u8,
}

/// Takes frames from a recording's bytes.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether bytes are left that are no whole frame.
    pub fn torn(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The next frame's body; `None` at the end and at a torn tail.
    pub fn next(&mut self) -> Result<Option<&'a [u8]>, UnknownVersion> {
        let Some((length, rest)) = self.rest.split_first_chunk::<4>() else { return Ok(None) };
        let Some(frame) = rest.get(..u32::from_be_bytes(*length) as usize) else {
            return Ok(None);
        };
        match frame.split_first() {
            // Zeros: blocks that were allocated and never written.
            None => Ok(None),
            Some((&VERSION, body)) => {
                self.rest = &rest[frame.len()..];
                Ok(Some(body))
            }
            Some((&found, _)) => Err(UnknownVersion { found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_a_torn_tail_is_left_out() {
        let mut bytes = Vec::new();
        push(&mut bytes, b"one");
        push(&mut bytes, b"");
        let whole = bytes.len();
        push(&mut bytes, b"three");
        for end in whole..bytes.len() {
            let mut frames = Frames::new(&bytes[..end]);
            assert_eq!(frames.next(), Ok(Some(&b"one"[..])));
            assert_eq!(frames.next(), Ok(Some(&b""[..])));
            assert_eq!(frames.next(), Ok(None));
            assert_eq!(frames.torn(), end > whole, "cut at {end}");
        }
        let mut frames = Frames::new(&[0; 64]);
        assert_eq!(frames.next(), Ok(None));
        assert!(frames.torn());
        assert_eq!(Frames::new(&[0, 0, 0, 2, 9, 1]).next(), Err(UnknownVersion { found: 9 }));
    }
}
