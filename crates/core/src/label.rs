//! Short names that never change, held inline: kinds, plans, remedies.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest label, in bytes.
pub const LENGTH_MAX: usize = 15;

/// Up to [`LENGTH_MAX`] bytes of text in 16 bytes, so that a million services name their kind for free.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    bytes: [u8; LENGTH_MAX],
    length: u8,
}

/// A text too long for a label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is longer than {LENGTH_MAX} bytes")]
pub struct TooLong {
    /// What was given.
    pub text: String,
}

impl Label {
    /// A label of this text.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn new(text: &str) -> Result<Self, TooLong> {
        let mut bytes = [0; LENGTH_MAX];
        let slot = bytes.get_mut(..text.len());
        let length = u8::try_from(text.len());
        match (slot, length) {
            (Some(slot), Ok(length)) => {
                slot.copy_from_slice(text.as_bytes());
                Ok(Self { bytes, length })
            }
            _ => Err(TooLong { text: text.to_owned() }),
        }
    }

    /// The text.
    ///
    /// # Panics
    /// Never: a label is made from text only.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("made from text")
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Label;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Label, E> {
                Label::new(text).map_err(E::custom)
            }
        }
        from.deserialize_str(Text)
    }
}

impl TryFrom<String> for Label {
    type Error = TooLong;
    fn try_from(text: String) -> Result<Self, TooLong> {
        Self::new(&text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_its_text() {
        assert_eq!(Label::new("postgres").unwrap().as_str(), "postgres");
        assert!(Label::new("sixteen-bytes-xx").is_err());
        assert_eq!(std::mem::size_of::<Label>(), 16);
    }
}
