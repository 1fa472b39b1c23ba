//! Which edges of which machine runs took, and which none did.
//!
//! Purpose: what no scenario ever does is seen by name. The machines are the real ones: a turn of a cell or of an
//! agent's mind says which edges it took.

use std::collections::BTreeMap;

use evenkeel_core::edge::{self, Edge, Named};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// How often each edge was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edges(BTreeMap<Edge, u64>);

/// One edge, and how often it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which.
    pub named: Named,
    /// How often.
    pub times: u64,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Named { edge, from, event, to } = &self.named;
        write!(f, "{}: {from} -> {to} by {event}", edge.machine)
    }
}

impl Edges {
    /// A turn took these.
    pub fn take(&mut self, edges: &[Edge]) {
        edges.iter().for_each(|edge| *self.0.entry(*edge).or_default() += 1);
    }

    /// Another run took these.
    pub fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(edge, times)| *self.0.entry(*edge).or_default() += times);
    }

    /// Every edge there is, with how often it was taken.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let times = |named: &Named| self.0.get(&named.edge).copied().unwrap_or(0);
        edge::all().into_iter().map(|named| Line { times: times(&named), named }).collect()
    }

    /// Those that were never taken.
    #[must_use]
    pub fn missed(&self) -> Vec<Line> {
        self.lines().into_iter().filter(|line| line.times == 0).collect()
    }

    /// In one line: how many of how many were taken.
    #[must_use]
    pub fn summary(&self) -> String {
        let (all, missed) = (edge::all().len(), self.missed().len());
        format!("{} of {all} taken", all - missed)
    }
}

impl Serialize for Edges {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let lines = self.lines();
        let (taken, missed): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(|l| l.times > 0);
        let times: BTreeMap<String, u64> = taken.iter().map(|l| (l.to_string(), l.times)).collect();
        let missed: Vec<String> = missed.iter().map(ToString::to_string).collect();
        let mut map = to.serialize_map(Some(4))?;
        map.serialize_entry("taken", &taken.len())?;
        map.serialize_entry("of", &lines.len())?;
        map.serialize_entry("times", &times)?;
        map.serialize_entry("not_taken", &missed)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_core::host::{Event, Machine, State};

    use super::*;

    #[test]
    fn what_was_taken_and_what_was_not_are_both_named() {
        let mut edges = Edges::default();
        edges.take(&[Edge::of::<Machine>(State::Up, Event::Late)]);
        let mut more = edges.clone();
        more.add(&edges);
        let told = toml::Value::try_from(&more).unwrap();
        assert_eq!(told["times"]["host: Up -> Suspect by Late"].as_integer(), Some(2));
        assert_eq!(told["taken"].as_integer(), Some(1));
        let missed = told["not_taken"].as_array().unwrap();
        assert_eq!(missed.len(), edge::all().len() - 1);
        assert!(missed.contains(&"host: Suspect -> Down by ConfirmedDown".into()), "{missed:?}");
        assert_eq!(more.summary(), format!("1 of {} taken", edge::all().len()));
    }
}
