//! Maps and sets that cost little more than what they hold: a cell has one entry in each for every
//! service, and ids are drawn in rising order, so that nearly every insert is at the end.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{HostId, MemberId, ServiceId};

/// A key that is drawn as a sequence number: where it is, is nearly known.
pub trait Dense: Ord + Copy {
    /// The number.
    fn number(self) -> u32;
}

impl Dense for ServiceId {
    fn number(self) -> u32 {
        self.0
    }
}

impl Dense for HostId {
    fn number(self) -> u32 {
        self.0
    }
}

impl Dense for MemberId {
    fn number(self) -> u32 {
        self.0
    }
}

/// What has its key inside.
pub trait Keyed {
    /// The key's type.
    type Key: Dense;
    /// The key.
    fn key(&self) -> Self::Key;
}

impl<K: Dense, V> Keyed for (K, V) {
    type Key = K;
    fn key(&self) -> K {
        self.0
    }
}

/// Entries in order of key, in one stretch of memory that grows by a sixteenth.
#[derive(Clone, Debug)]
pub struct Stretch<T>(Vec<T>);

impl<T> Default for Stretch<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Keyed> Stretch<T> {
    /// Where a key is, or would be. Numbers rise by one at least from place to place: a key is no further
    /// from either end than its number is, and where nothing was taken out both name one place.
    fn find(&self, key: T::Key) -> Result<usize, usize> {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return Err(0) };
        let (first, last) = (first.key(), last.key());
        if key < first {
            return Err(0);
        }
        if key > last {
            return Err(self.0.len());
        }
        let apart = |low: T::Key, high: T::Key| usize::try_from(high.number() - low.number());
        let end = self.0.len() - 1;
        let from = end.saturating_sub(apart(key, last).unwrap_or(end));
        let to = apart(first, key).unwrap_or(end).min(end);
        let found = self.0[from..=to].binary_search_by_key(&key, Keyed::key);
        found.map(|at| from + at).map_err(|at| from + at)
    }

    /// The entry of a key.
    pub fn get(&self, key: &T::Key) -> Option<&T> {
        self.find(*key).ok().map(|at| &self.0[at])
    }

    /// The entry of a key, to be changed; its key must stay what it is.
    pub fn get_mut(&mut self, key: &T::Key) -> Option<&mut T> {
        let at = self.find(*key).ok()?;
        Some(&mut self.0[at])
    }

    /// Whether a key is there.
    pub fn contains(&self, key: &T::Key) -> bool {
        self.find(*key).is_ok()
    }

    /// Puts an entry in its place, over what has its key.
    pub fn insert(&mut self, entry: T) {
        match self.find(entry.key()) {
            Ok(at) => self.0[at] = entry,
            Err(at) => {
                grow(&mut self.0);
                self.0.insert(at, entry);
            }
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &T::Key) -> Option<T> {
        let at = self.find(*key).ok()?;
        Some(self.0.remove(at))
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Makes room for so many more at once.
    pub fn expect(&mut self, more: usize) {
        self.0.reserve_exact(more);
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = T::Key> {
        self.0.iter().map(Keyed::key)
    }

    /// Entries in order of key.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.0.iter()
    }
}

/// As a list of pairs, as maps are.
impl<T: Keyed<Key: Serialize> + Serialize> Serialize for Stretch<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|entry| (entry.key(), entry)))
    }
}

impl<'de, T: Keyed<Key: Deserialize<'de>> + Deserialize<'de>> Deserialize<'de> for Stretch<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(T::Key, T)>::deserialize(from)?;
        Ok(Self(pairs.into_iter().map(|(_, entry)| entry).collect()))
    }
}

/// A map in order of key, in the same way.
#[derive(Clone, Debug)]
pub struct Sorted<K, V>(Stretch<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self(Stretch::default())
    }
}

impl<K: Dense, V> Sorted<K, V> {
    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key).map(|(_, value)| value)
    }

    /// Sets a key's value.
    pub fn insert(&mut self, key: K, value: V) {
        self.0.insert((key, value));
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key).map(|(_, value)| value)
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Values in order of key.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.0.values().map(|(_, value)| value)
    }
}

impl<K: Serialize, V: Serialize> Serialize for Sorted<K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.0.serialize(to)
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Sorted<K, V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Vec::deserialize(from).map(|pairs| Self(Stretch(pairs)))
    }
}

/// What few have: it takes room only while there is any of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Few<T>(Option<Box<T>>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Default + PartialEq> Few<T> {
    /// What there is, if there is any.
    pub fn get(&self) -> Option<&T> {
        self.0.as_deref()
    }

    /// Changes it; what is nothing then takes no room any more.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        let all = self.0.get_or_insert_default();
        let changed = change(all);
        if **all == T::default() {
            self.0 = None;
        }
        changed
    }
}

/// A text that many have, kept once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(Arc<Box<str>>);

impl Name {
    /// This text, for a start.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(text.into()))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

impl std::ops::Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self
    }
}

/// Makes room for one more. Doubling would leave a third of a large cell's memory empty.
pub fn grow<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 16 + 1);
    }
}

/// Inserts into a list in order, if it is not there yet.
pub fn insert<T: Ord>(list: &mut Vec<T>, value: T) {
    if let Err(at) = list.binary_search(&value) {
        grow(list);
        list.insert(at, value);
    }
}

/// Takes out of a list in order.
pub fn remove<T: Ord>(list: &mut Vec<T>, value: &T) {
    if let Ok(at) = list.binary_search(value) {
        list.remove(at);
    }
}

const WORDS: usize = 1024;

/// A set of ports, a bit each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Vec<u16>", into = "Vec<u16>")]
pub struct Ports(Box<[u64]>);

impl Default for Ports {
    fn default() -> Self {
        Self(vec![0; WORDS].into())
    }
}

impl Ports {
    const fn place(port: u16) -> (usize, u64) {
        (port as usize / 64, 1 << (port % 64))
    }

    /// Whether a port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        let (word, bit) = Self::place(port);
        self.0[word] & bit != 0
    }

    /// How many are in the set.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Takes a port in.
    pub fn insert(&mut self, port: u16) {
        let (word, bit) = Self::place(port);
        self.0[word] |= bit;
    }

    /// Takes a port out.
    pub fn remove(&mut self, port: u16) {
        let (word, bit) = Self::place(port);
        self.0[word] &= !bit;
    }
}

impl From<Vec<u16>> for Ports {
    fn from(ports: Vec<u16>) -> Self {
        let mut set = Self::default();
        ports.into_iter().for_each(|port| set.insert(port));
        set
    }
}

impl From<Ports> for Vec<u16> {
    fn from(set: Ports) -> Self {
        (0..=u16::MAX).filter(|port| set.contains(*port)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sorted_map_keeps_order_however_it_is_filled() {
        let id = ServiceId;
        let mut map = Sorted::default();
        [5, 1, 3, 9, 3].into_iter().for_each(|n| map.insert(id(n), n * 10));
        assert_eq!(map.0.keys().collect::<Vec<_>>(), [1, 3, 5, 9].map(id));
        assert_eq!(map.remove(&id(3)), Some(30));
        let of = |n| map.get(&id(n)).copied();
        assert_eq!((of(3), of(5), map.0.contains(&id(9))), (None, Some(50), true));
        let json = serde_json::to_string(&map).unwrap();
        let back: Sorted<ServiceId, u32> = serde_json::from_str(&json).unwrap();
        assert_eq!(back.values().copied().collect::<Vec<_>>(), [10, 50, 90]);
    }

    #[test]
    fn every_key_is_found_whatever_was_taken_out() {
        for gaps in 0..256_u32 {
            let (mut map, mut plain) = (Sorted::default(), std::collections::BTreeMap::new());
            (0..8).filter(|bit| gaps & (1 << bit) != 0).for_each(|n| {
                map.insert(ServiceId(n * 2 + 3), n);
                plain.insert(n * 2 + 3, n);
            });
            for n in 0..24 {
                assert_eq!(map.get(&ServiceId(n)), plain.get(&n), "{gaps:b} {n}");
            }
        }
    }

    #[test]
    fn growth_leaves_little_empty() {
        let mut list = Vec::new();
        (0..10_000).for_each(|n| insert(&mut list, n));
        assert!(list.capacity() <= 10_650, "{}", list.capacity());
    }

    #[test]
    fn ports_at_both_ends_are_ports() {
        let mut ports = Ports::from(vec![0, 63, 64, u16::MAX]);
        assert!(ports.contains(0) && ports.contains(u16::MAX) && !ports.contains(65));
        ports.remove(63);
        assert_eq!(Vec::from(ports), [0, 64, u16::MAX]);
    }
}
