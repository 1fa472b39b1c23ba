//! Content digests: the same bytes, the same digest, on every machine and in every release.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hex;

/// A BLAKE3 digest, printed as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

/// A text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a digest of 64 hexadecimal digits")]
pub struct NotADigest {
    /// What was given.
    pub text: String,
}

impl Digest {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of a value's JSON form.
    ///
    /// # Panics
    /// When the value cannot be written as JSON, which no type of this crate allows.
    #[must_use]
    pub fn of_json<T: Serialize>(value: &T) -> Self {
        // Most are goals, and those are of about this size.
        let mut bytes = Vec::with_capacity(2048);
        serde_json::to_writer(&mut bytes, value).expect("the core's types are all JSON");
        Self::of(&bytes)
    }

    /// The first 12 digits, enough for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;
    fn try_from(text: String) -> Result<Self, NotADigest> {
        let mut bytes = [0; 32];
        let Some(read) = hex::decode(&text).filter(|_| text.len() == 64) else {
            return Err(NotADigest { text });
        };
        bytes.iter_mut().zip(read).for_each(|(byte, value)| *byte = value);
        Ok(Self(bytes))
    }
}
