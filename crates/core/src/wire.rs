//! Frames: how messages become bytes on a stream, without any I/O.
//!
//! A frame is a length (4 bytes, big endian, of what follows), a version byte, and JSON. JSON makes
//! releases one apart work together: unknown fields are passed over, missing ones have defaults.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version this release writes; it reads this one only until there is a second.
pub const VERSION: u8 = 1;

/// Largest frame taken, in bytes after the length: the whole report of a full host is far below.
pub const FRAME_MAX_BYTES: usize = 16 << 20;

/// Bytes that are no frame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Larger than [`FRAME_MAX_BYTES`].
    #[error("frame of {length} bytes is larger than {FRAME_MAX_BYTES}")]
    TooLarge {
        /// As announced.
        length: usize,
    },
    /// No version byte.
    #[error("frame is empty")]
    Empty,
    /// A version this release does not speak.
    #[error("frame has version {found}, this release speaks {VERSION}")]
    Version {
        /// As found.
        found: u8,
    },
    /// Not the message expected.
    #[error("frame cannot be read")]
    Damaged(#[source] serde_json::Error),
}

/// Path an agent upgrades on.
pub const AGENT_PATH: &str = "/v1/stream/agent";
/// Path a gateway upgrades on.
pub const GATEWAY_PATH: &str = "/v1/stream/gateway";
/// The protocol's name in `Upgrade:` headers.
pub const PROTOCOL: &str = "evenkeel/1";
/// Longest answer to an upgrade that is waited for, in bytes.
pub const ANSWER_MAX_BYTES: usize = 8 << 10;

/// The HTTP request that turns a connection to the controller's one port into a stream of frames.
#[must_use]
pub fn upgrade_request(path: &str, host: &str, token: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

/// What a controller answered to [`upgrade_request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// The answer is not complete yet.
    Incomplete,
    /// The stream is open; frames begin at this offset.
    Open {
        /// Bytes of the answer itself.
        frames_at: usize,
    },
    /// It was refused; the status line says why.
    Refused {
        /// The status line.
        status: String,
    },
}

/// Reads the answer to an upgrade from the bytes that came so far.
#[must_use]
pub fn upgrade_answer(bytes: &[u8]) -> Upgrade {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        return if bytes.len() > ANSWER_MAX_BYTES {
            Upgrade::Refused { status: "answer without an end".to_owned() }
        } else {
            Upgrade::Incomplete
        };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.lines().next().unwrap_or_default().to_owned();
    if status.split(' ').nth(1) == Some("101") {
        Upgrade::Open { frames_at: end + 4 }
    } else {
        Upgrade::Refused { status }
    }
}

/// A message as a frame.
///
/// # Panics
/// When the message is larger than [`FRAME_MAX_BYTES`]: senders split before that.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0, VERSION];
    serde_json::to_writer(&mut bytes, message).expect("messages are all JSON");
    let length = bytes.len() - 4;
    assert!(length <= FRAME_MAX_BYTES, "message of {length} bytes must be split");
    let header = u32::try_from(length).expect("checked against the limit above");
    bytes[..4].copy_from_slice(&header.to_be_bytes());
    bytes
}

/// What a decoder keeps room for when nothing is left in it: some beats.
const KEPT_BYTES: usize = 512;

/// Takes bytes as they come and gives messages as they complete.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// Adds bytes from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// [`Error`]; the stream cannot be used any further.
    pub fn message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let rest = &self.buffer[self.read..];
        let Some((header, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*header) as usize;
        if length > FRAME_MAX_BYTES {
            return Err(Error::TooLarge { length });
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let message = match frame.split_first() {
            None => return Err(Error::Empty),
            Some((&VERSION, body)) => serde_json::from_slice(body).map_err(Error::Damaged)?,
            Some((&found, _)) => return Err(Error::Version { found }),
        };
        self.read += 4 + length;
        if self.read == self.buffer.len() {
            self.read = 0;
            self.buffer.clear();
            // A stream sends a large report once, and beats ever after.
            self.buffer.shrink_to(KEPT_BYTES);
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::report::FromAgent;

    fn beat() -> FromAgent {
        FromAgent::Beat { number: 7, digest: Digest([0; 32]), answer: false }
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let body = format!(r#"{{"beat":{{"number":7,"digest":"{}"}}}}"#, "0".repeat(64));
        let mut expected = vec![0, 0, 0, u8::try_from(body.len() + 1).unwrap(), 1];
        expected.extend_from_slice(body.as_bytes());
        assert_eq!(encode(&beat()), expected);
    }

    #[test]
    fn messages_come_out_whole_however_the_bytes_arrive() {
        let mut bytes = encode(&beat());
        bytes.extend(encode(&beat()));
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = 0;
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(message) = decoder.message::<FromAgent>().unwrap() {
                    assert_eq!(message, beat());
                    seen += 1;
                }
            }
            assert_eq!(seen, 2, "cut at {cut}");
        }
    }

    #[test]
    fn an_upgrade_opens_or_is_refused_with_its_reason() {
        let yes = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: evenkeel/1\r\n\r\nrest";
        assert_eq!(upgrade_answer(yes), Upgrade::Open { frames_at: yes.len() - 4 });
        assert_eq!(upgrade_answer(&yes[..20]), Upgrade::Incomplete);
        let no = b"HTTP/1.1 401 Unauthorized\r\n\r\n";
        let status = "HTTP/1.1 401 Unauthorized".to_owned();
        assert_eq!(upgrade_answer(no), Upgrade::Refused { status });
        assert!(matches!(upgrade_answer(&[b'x'; 9000]), Upgrade::Refused { .. }));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let refused = |bytes: &[u8]| {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            decoder.message::<FromAgent>().unwrap_err()
        };
        assert!(matches!(refused(&[255; 8]), Error::TooLarge { .. }));
        assert!(matches!(refused(&[0, 0, 0, 0]), Error::Empty));
        assert!(matches!(refused(&[0, 0, 0, 2, 9, b'1']), Error::Version { found: 9 }));
        assert!(matches!(refused(&[0, 0, 0, 2, 1, b'x']), Error::Damaged(_)));
    }
}
