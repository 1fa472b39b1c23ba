//! Maps and sets that cost little more than what they hold: a cell has one entry in each for every
//! service, and ids are drawn in rising order, so that nearly every insert is at the end.

use serde::{Deserialize, Serialize};

use crate::id::{MemberId, ServiceId};

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

impl Dense for MemberId {
    fn number(self) -> u32 {
        self.0
    }
}

/// A map in order of key, in one stretch of memory that grows by an eighth.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sorted<K, V>(Vec<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Dense, V> Sorted<K, V> {
    /// Where a key is, or would be. Numbers rise by one at least from place to place: a key is no further
    /// from either end than its number is, and where nothing was taken out both name one place.
    fn find(&self, key: &K) -> Result<usize, usize> {
        let (Some((first, _)), Some((last, _))) = (self.0.first(), self.0.last()) else {
            return Err(0);
        };
        if key < first {
            return Err(0);
        }
        if key > last {
            return Err(self.0.len());
        }
        let apart = |low: K, high: K| usize::try_from(high.number() - low.number());
        let end = self.0.len() - 1;
        let from = end.saturating_sub(apart(*key, *last).unwrap_or(end));
        let to = apart(*first, *key).unwrap_or(end).min(end);
        let found = self.0[from..=to].binary_search_by_key(key, |(known, _)| *known);
        found.map(|at| from + at).map_err(|at| from + at)
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.find(key).ok()?;
        Some(&mut self.0[at].1)
    }

    /// Whether a key is there.
    pub fn contains(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Sets a key's value.
    pub fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                grow(&mut self.0);
                self.0.insert(at, (key, value));
            }
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key).ok()?;
        Some(self.0.remove(at).1)
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = K> {
        self.0.iter().map(|(key, _)| *key)
    }

    /// Values in order of key.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}

/// Makes room for one more. Doubling would leave a third of a large cell's memory empty.
pub fn grow<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 1);
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
        assert_eq!(map.keys().collect::<Vec<_>>(), [1, 3, 5, 9].map(id));
        assert_eq!(map.remove(&id(3)), Some(30));
        let of = |n| map.get(&id(n)).copied();
        assert_eq!((of(3), of(5), map.contains(&id(9))), (None, Some(50), true));
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
        assert!(list.capacity() <= 11_250, "{}", list.capacity());
    }

    #[test]
    fn ports_at_both_ends_are_ports() {
        let mut ports = Ports::from(vec![0, 63, 64, u16::MAX]);
        assert!(ports.contains(0) && ports.contains(u16::MAX) && !ports.contains(65));
        ports.remove(63);
        assert_eq!(Vec::from(ports), [0, 64, u16::MAX]);
    }
}
