//! Commits made frames: rows sorted by place, entries chained, both packed in parts.

use std::collections::BTreeMap;

use evenkeel_core::digest::Digest;
use evenkeel_core::id::CellId;
use evenkeel_core::journal::chain_json;
use evenkeel_core::row::Writes;

use super::blocks::packed;
use super::frame::{Change, EntriesPart, Frame, Place, RowsPart, Sort, write_entry};
use super::pack::{Filter, Packer};
use super::state::State;

/// Bytes of a part before packing. LZ4 looks back 64 KiB, so a longer one would pack no better.
pub(super) const PART_RAW: usize = 60_000;
/// Packed parts together up to this long lie behind the head, in one row.
const INLINE_MAX: usize = 16 << 10;

/// Makes frames, with buffers that are kept.
#[derive(Debug)]
pub(super) struct Framer {
    order: Vec<(Place, u32, u32)>,
    raw: Vec<u8>,
    json: Vec<u8>,
    pub packer: Packer,
    /// The frame's head, with its parts behind it where they are few.
    pub head: Vec<u8>,
    /// The packed parts of the frame that was made last.
    pub bodies: Vec<u8>,
}

impl Framer {
    pub fn new() -> Self {
        Self {
            order: Vec::new(),
            raw: Vec::new(),
            json: Vec::new(),
            packer: Packer::new(),
            head: Vec::new(),
            bodies: Vec::new(),
        }
    }

    fn begin(&mut self) {
        self.raw.clear();
        self.head.clear();
        self.bodies.clear();
    }

    /// The frame of a commit; the record follows it.
    pub fn commit(
        &mut self,
        batch: &[(CellId, &Writes)],
        state: &mut State,
        large: bool,
        phase: (u64, Place),
    ) -> Frame {
        self.begin();
        state.seq += 1;
        let mut frame = blank(Sort::Commit, state.seq, state.chain, phase);
        self.rows(batch, &mut frame);
        self.entries(batch, state, &mut frame);
        frame.large = large;
        self.end(&mut frame);
        state.chain = frame.chained();
        state.frames += 1;
        state.frames_sum = state.frames_sum.wrapping_add(frame.summand());
        frame
    }

    /// The frame of small ones' rows.
    pub fn run(
        &mut self,
        rows: &BTreeMap<Place, Option<Vec<u8>>>,
        state: &mut State,
        phase: (u64, Place),
    ) -> Frame {
        self.begin();
        let mut frame = blank(Sort::Run, state.seq, state.chain, phase);
        for (place, body) in rows {
            self.row(Change { place: *place, body: body.as_deref() }, &mut frame);
        }
        self.close_rows(&mut frame);
        frame.large = true;
        self.end(&mut frame);
        state.frames += 1;
        state.frames_sum = state.frames_sum.wrapping_add(frame.summand());
        frame
    }

    fn rows(&mut self, batch: &[(CellId, &Writes)], frame: &mut Frame) {
        let short = |n: usize| u32::try_from(n).expect("a batch stays below 2^32 rows");
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        for (of, (cell, writes)) in batch.iter().enumerate() {
            let rows = writes.rows.iter().enumerate();
            order.extend(rows.map(|(n, row)| (Place::of(*cell, row.key), short(of), short(n))));
        }
        order.sort_unstable();
        for (n, (place, of, row)) in order.iter().enumerate() {
            // Of two changes of one row the later stands.
            if order.get(n + 1).is_some_and(|(next, ..)| next == place) {
                continue;
            }
            let index = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
            let body = batch[index(*of)].1.rows[index(*row)].body.as_deref();
            self.row(Change { place: *place, body }, frame);
        }
        self.close_rows(frame);
        self.order = order;
    }

    fn row(&mut self, change: Change<'_>, frame: &mut Frame) {
        let long = change.body.map_or(0, <[u8]>::len) + 20;
        if self.raw.len() + long > PART_RAW {
            self.close_rows(frame);
        }
        if self.raw.is_empty() {
            let bytes = super::frame::Packed { raw: 0, packed: 0, sum: [0; 16] };
            frame.rows.push(RowsPart { first: change.place, bytes });
        }
        change.write(&mut self.raw);
    }

    fn close_rows(&mut self, frame: &mut Frame) {
        if let Some(part) = frame.rows.last_mut().filter(|_| !self.raw.is_empty()) {
            part.bytes = packed(&mut self.packer, &self.raw, &mut self.bodies);
            self.raw.clear();
        }
    }

    fn entries(&mut self, batch: &[(CellId, &Writes)], state: &mut State, frame: &mut Frame) {
        let mut subjects: Vec<&str> = Vec::new();
        let mut open = (state.position + 1, state.head, 0);
        let entries = batch
            .iter()
            .flat_map(|(cell, writes)| writes.journal.iter().map(move |entry| (cell.0, entry)));
        for (cell, entry) in entries {
            self.json.clear();
            serde_json::to_writer(&mut self.json, entry).expect("entries are all JSON");
            if self.raw.len() + self.json.len() > PART_RAW && !subjects.is_empty() {
                let part = self.close_entries(&subjects, open);
                frame.entries.push(part);
                subjects.clear();
                open = (state.position + 1, state.head, 0);
            }
            write_entry(&mut self.raw, cell, &self.json);
            state.head = chain_json(state.head, &self.json);
            state.position += 1;
            state.newest = state.newest.max(entry.at.0);
            open.2 = open.2.max(entry.at.0);
            subjects.push(&entry.subject);
        }
        if !subjects.is_empty() {
            let part = self.close_entries(&subjects, open);
            frame.entries.push(part);
        }
    }

    fn close_entries(
        &mut self,
        subjects: &[&str],
        (first, before, newest): (u64, Digest, u64),
    ) -> EntriesPart {
        let part = entries_part(
            &mut self.packer,
            &self.raw,
            subjects.iter().copied(),
            (first, before, newest),
            &mut self.bodies,
        );
        self.raw.clear();
        part
    }

    fn end(&mut self, frame: &mut Frame) {
        frame.inline = self.bodies.len() <= INLINE_MAX;
        frame.write(&mut self.head);
        if frame.inline {
            self.head.extend_from_slice(&self.bodies);
        }
    }
}

fn blank(sort: Sort, seq: u64, chain: Digest, phase: (u64, Place)) -> Frame {
    Frame {
        sort,
        seq,
        chain,
        large: false,
        rows: Vec::new(),
        entries: Vec::new(),
        inline: false,
        head: 0,
        digest: chain,
        phase,
    }
}

/// A part of the journal from its entries' bytes.
pub(super) fn entries_part<'s>(
    packer: &mut Packer,
    raw: &[u8],
    subjects: impl ExactSizeIterator<Item = &'s str>,
    (first, before, newest): (u64, Digest, u64),
    bodies: &mut Vec<u8>,
) -> EntriesPart {
    let count = u32::try_from(subjects.len()).expect("a part has few entries");
    let mut filter = Filter::of(subjects.len());
    subjects.for_each(|subject| filter.add(subject));
    EntriesPart { first, count, bytes: packed(packer, raw, bodies), before, newest, filter }
}
