//! Bytes as hexadecimal text, so that rows stay readable in a dump: two digits a byte, by table.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};
use smallvec::{Array, SmallVec};

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// What is no digit.
const NONE: u8 = 0xff;
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut all = [NONE; 256];
    let mut at: u8 = 0;
    while at < 16 {
        let digit = DIGITS[at as usize];
        all[digit as usize] = at;
        all[digit.to_ascii_uppercase() as usize] = at;
        at += 1;
    }
    all
}

/// Two digits for each byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let digit = |at: u8| char::from(DIGITS[usize::from(at)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// The bytes of a text; `None`: it is not an even number of digits.
pub fn decode(text: &str) -> Option<impl Iterator<Item = u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let value = |digit: u8| VALUES[usize::from(digit)];
    let sound = rest.is_empty() && text.bytes().all(|digit| value(digit) != NONE);
    sound.then(|| pairs.iter().map(move |&[high, low]| value(high) << 4 | value(low)))
}

/// Writes bytes in a row.
///
/// # Errors
/// Those of whoever takes it.
pub fn serialize<S: Serializer>(bytes: impl AsRef<[u8]>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&encode(bytes.as_ref()))
}

/// Reads bytes of a row.
///
/// # Errors
/// It is no such text.
pub fn deserialize<'de, A, D>(from: D) -> Result<SmallVec<A>, D::Error>
where
    A: Array<Item = u8>,
    D: Deserializer<'de>,
{
    struct Text<A>(std::marker::PhantomData<A>);
    impl<A: Array<Item = u8>> Visitor<'_> for Text<A> {
        type Value = SmallVec<A>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("hexadecimal text")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let bytes = decode(text).map(Iterator::collect);
            bytes.ok_or_else(|| E::custom("not an even number of hexadecimal digits"))
        }
    }
    from.deserialize_str(Text(std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_goes_there_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        let text = encode(&all);
        assert!(text.starts_with("000102") && text.ends_with("fdfeff"), "{text}");
        let back = |text: &str| decode(text).map(Iterator::collect::<Vec<u8>>);
        assert_eq!(back(&text), Some(all.clone()));
        assert_eq!(back(&text.to_uppercase()), Some(all));
        assert_eq!(back(""), Some(Vec::new()));
        for wrong in ["0", "0g", "\u{e9}", "0x"] {
            assert_eq!(back(wrong), None, "{wrong}");
        }
    }
}
