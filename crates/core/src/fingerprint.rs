//! Fingerprints: what a value says, as a few bytes, on every machine and in every release.
//!
//! A value's fields are put one after the other with their names and lengths, as serde tells them, and the
//! XXH3 hash of that is taken: nobody gains by making two values look alike, and a fleet in trouble makes one for
//! each report. A field that is left out when it says nothing (`skip_serializing_if`) changes
//! no fingerprint, so that an agent and a controller of two releases agree on what neither knows more of.
//! It does what a digest of the JSON form would do, with no text between.

use std::fmt::Display;

use serde::ser::{self, Serialize};
use twox_hash::XxHash3_64;

/// The fingerprint of a value.
#[must_use]
pub fn of<T: Serialize>(value: &T) -> [u8; 8] {
    let mut said = Said(Vec::with_capacity(1024));
    // Nothing refuses here; a type that refuses to be told says so, and always in the same words.
    if let Err(Refused(why)) = value.serialize(&mut said) {
        said.text(Sort::Text, &why);
    }
    XxHash3_64::oneshot(&said.0).to_le_bytes()
}

/// What was said so far.
struct Said(Vec<u8>);

/// A type refuses to be told.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

impl ser::Error for Refused {
    fn custom<T: Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

/// What comes next, so that no two values say the same.
#[derive(Clone, Copy)]
enum Sort {
    Nothing,
    Something,
    Bool,
    Number,
    Text,
    Bytes,
    Variant,
    Many,
    Field,
    End,
}

impl Said {
    fn sort(&mut self, sort: Sort) {
        self.0.push(sort as u8);
    }

    fn number(&mut self, number: i128) -> Result<(), Refused> {
        match u8::try_from(number) {
            // Most are small.
            Ok(small) => self.0.extend_from_slice(&[Sort::Number as u8, 1, small]),
            Err(_) => {
                self.0.extend_from_slice(&[Sort::Number as u8, 16]);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
        }
        Ok(())
    }

    fn text(&mut self, sort: Sort, text: &str) {
        let [a, b, c, d, ..] = (text.len() as u64).to_le_bytes();
        self.0.extend_from_slice(&[sort as u8, a, b, c, d]);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn variant(&mut self, name: &str) {
        self.text(Sort::Variant, name);
    }

    fn part<T: Serialize + ?Sized>(&mut self, part: &T) -> Result<(), Refused> {
        part.serialize(self)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Refused> {
        self.text(Sort::Field, name);
        value.serialize(self)
    }

    fn many(&mut self) -> Result<&mut Self, Refused> {
        self.sort(Sort::Many);
        Ok(self)
    }

    fn done(&mut self) -> Result<(), Refused> {
        self.sort(Sort::End);
        Ok(())
    }
}

macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {
        $(fn $name(self, number: $type) -> Result<(), Refused> {
            self.number(i128::from(number))
        })*
    };
}

impl<'a> ser::Serializer for &'a mut Said {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = &'a mut Said;
    type SerializeTuple = &'a mut Said;
    type SerializeTupleStruct = &'a mut Said;
    type SerializeTupleVariant = &'a mut Said;
    type SerializeMap = &'a mut Said;
    type SerializeStruct = &'a mut Said;
    type SerializeStructVariant = &'a mut Said;

    numbers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);

    fn serialize_bool(self, is: bool) -> Result<(), Refused> {
        self.sort(Sort::Bool);
        self.0.push(u8::from(is));
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<(), Refused> {
        self.serialize_f64(f64::from(number))
    }

    fn serialize_f64(self, number: f64) -> Result<(), Refused> {
        self.sort(Sort::Bytes);
        self.0.extend_from_slice(&number.to_bits().to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, sign: char) -> Result<(), Refused> {
        self.number(i128::from(u32::from(sign)))
    }

    fn serialize_str(self, text: &str) -> Result<(), Refused> {
        self.text(Sort::Text, text);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Refused> {
        self.sort(Sort::Bytes);
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.sort(Sort::Nothing);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.sort(Sort::Something);
        self.part(value)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &str, _: u32, name: &'static str) -> Result<(), Refused> {
        self.variant(name);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.part(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.variant(name);
        self.part(value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Refused> {
        self.many()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Refused> {
        self.many()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.many()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        self.variant(name);
        self.many()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Refused> {
        self.many()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.many()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        self.variant(name);
        self.many()
    }
}

macro_rules! parts {
    ($($part:ident: $name:ident),*) => {
        $(impl ser::$part for &mut Said {
            type Ok = ();
            type Error = Refused;
            fn $name<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.part(value)
            }
            fn end(self) -> Result<(), Refused> {
                self.done()
            }
        })*
    };
}

parts!(SerializeSeq: serialize_element, SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field);

macro_rules! fields {
    ($($part:ident),*) => {
        $(impl ser::$part for &mut Said {
            type Ok = ();
            type Error = Refused;
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Refused> {
                self.field(name, value)
            }
            fn end(self) -> Result<(), Refused> {
                self.done()
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for &mut Said {
    type Ok = ();
    type Error = Refused;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.sort(Sort::Field);
        self.part(key)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.part(value)
    }
    fn end(self) -> Result<(), Refused> {
        self.done()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::of;

    #[derive(Serialize)]
    struct Older {
        name: &'static str,
        numbers: Vec<u32>,
    }

    #[derive(Serialize)]
    struct Newer {
        name: &'static str,
        numbers: Vec<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        more: Option<u64>,
    }

    #[test]
    fn what_says_the_same_has_one_fingerprint_and_what_differs_another() {
        let older = |name, numbers: &[u32]| of(&Older { name, numbers: numbers.to_vec() });
        let newer = |more| of(&Newer { name: "a", numbers: vec![1, 2], more });
        assert_eq!(older("a", &[1, 2]), newer(None), "a field that says nothing");
        let all = [
            older("a", &[1, 2]),
            older("a", &[12]),
            older("a", &[1, 2, 0]),
            older("a", &[1 << 20, 2]),
            older("ab", &[1, 2]),
            newer(Some(0)),
            newer(Some(1)),
        ];
        let different: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
        assert_ne!(of(&(vec!["a"], vec!["b"])), of(&(vec!["a", "b"], Vec::<&str>::new())));
        assert_ne!(of(&Some(1)), of(&None::<u32>));
        assert_ne!(of(&Ok::<u8, u8>(1)), of(&Err::<u8, u8>(1)));
        assert_ne!(of(&BTreeMap::from([("a", "b")])), of(&BTreeMap::from([("b", "a")])));
    }

    #[test]
    fn it_is_the_same_in_every_release() {
        assert_eq!(
            of(&Older { name: "a", numbers: vec![1, 1 << 20] }),
            [38, 143, 224, 140, 28, 109, 215, 81]
        );
    }
}
