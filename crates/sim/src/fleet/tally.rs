//! What a seat counts while it runs; all seats' together are a report.

use std::collections::BTreeMap;

use evenkeel_core::cell::Send;
use evenkeel_core::journal;
use evenkeel_core::row::Writes;
use evenkeel_core::time::{Span, Time};

use crate::report::{Counts, Invariant};

/// Sorts of decisions that are told apart at most.
const REASONS_MAX: usize = 200;
/// What is drawn has one point for so many seconds.
pub(super) const BIN_S: u64 = 60;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub counts: Counts,
    pub promotions: u64,
    pub starts: u64,
    /// Members that were copied from another.
    pub copies: u64,
    /// Bytes that were acknowledged and are gone.
    pub lost: u64,
    /// The first thing that must never be otherwise and was.
    pub broken: Option<String>,
    /// Services whose clients cannot write now.
    pub down: u64,
    /// Longest that clients of one service could not.
    pub worst: Span,
    /// Outages that ended, by [`BIN_S`].
    pub rose: BTreeMap<u64, u64>,
    /// Decisions that were noted, by their words.
    pub decisions: BTreeMap<String, u64>,
    /// How often each remedy began.
    pub remedies: BTreeMap<String, u64>,
    /// Of everything that was recorded and sent, in order.
    pub trace: u64,
}

impl Tally {
    pub fn check(&mut self, invariant: Invariant) {
        self.counts.check(invariant);
    }

    pub fn broke(&mut self, invariant: Invariant, what: String) {
        self.counts.broke(invariant);
        self.broken.get_or_insert(what);
    }

    pub fn outage(&mut self, lasted: Span, now: Time) {
        self.counts.outage(lasted, now);
        self.worst = self.worst.max(lasted);
        self.down = self.down.saturating_sub(1);
        *self.rose.entry(bin(now)).or_default() += 1;
    }

    /// One that lasts on: it counts for as long as it was looked at, and its clients are still down.
    pub fn lasts_on(&mut self, lasted: Span) {
        self.counts.unavailable.0 += lasted.0;
        self.worst = self.worst.max(lasted);
    }

    pub fn fell(&mut self) {
        self.down += 1;
    }

    pub fn turn(&mut self, writes: &Writes, sends: &[Send]) {
        self.counts.turns += 1;
        self.counts.transitions += writes.journal.len() as u64;
        for row in &writes.rows {
            self.mix(row.key.id);
            self.mix(row.body.as_ref().map_or(0, |body| fnv(body)));
        }
        self.mix(sends.len() as u64);
    }

    pub fn recorded(&mut self, now: Time, entry: &journal::Entry) {
        self.mix(now.0);
        self.mix(fnv(entry.text.as_bytes()));
        self.mix(fnv(entry.subject.as_bytes()));
        if let Some((_, remedy)) = entry.text.split_once(" begins: remedy ") {
            *self.remedies.entry(remedy.to_owned()).or_default() += 1;
        }
    }

    /// A decision was noted: counted by its words, whatever the numbers in it.
    pub fn decided(&mut self, text: &str) {
        let mut words = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '0'..='9' if words.ends_with('N') => {}
                '0'..='9' => words.push('N'),
                c => words.push(c),
            }
        }
        if self.decisions.len() < REASONS_MAX || self.decisions.contains_key(&words) {
            *self.decisions.entry(words).or_default() += 1;
        }
    }

    fn mix(&mut self, number: u64) {
        self.trace = (self.trace ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }
}

fn bin(now: Time) -> u64 {
    now.since(crate::world::BEGIN).0 / 1000 / BIN_S
}

fn fnv(bytes: &[u8]) -> u64 {
    // Words at a time: a million rows are hashed in a second.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    }
    hash
}
