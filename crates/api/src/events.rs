//! Server-sent events as an iterator of journal entries.

use std::io::{BufRead, BufReader};

use ureq::{Body, BodyReader};

use crate::{Error, JournalEntry};

/// Longest line taken, in bytes: one entry of the journal is far below.
const LINE_MAX_BYTES: u64 = 1 << 20;

/// Entries of the journal as they are recorded. Ends with the first error.
pub struct Events {
    address: String,
    position: u64,
    lines: BufReader<BodyReader<'static>>,
    ended: bool,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Events {
    pub(crate) fn new(address: String, position: u64, body: Body) -> Self {
        let reader = body.into_with_config().limit(u64::MAX).reader();
        Self { address, position, lines: BufReader::new(reader), ended: false }
    }

    /// The newest entry's position: from there a new stream goes on without a gap.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next `data` of the stream. Comments keep the connection alive, `id` and `event` repeat
    /// what the data says.
    fn data(&mut self) -> Result<String, Error> {
        use std::io::Read;
        let mut data = String::new();
        loop {
            let mut line = String::new();
            let taken = self.lines.by_ref().take(LINE_MAX_BYTES).read_line(&mut line);
            let broken = |source| Error::Broken { address: self.address.clone(), source };
            if taken.map_err(broken)? == 0 || !line.ends_with('\n') {
                return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
            }
            let line = line.trim_end_matches(['\r', '\n']);
            match line.strip_prefix("data:") {
                Some(more) => data.push_str(more.strip_prefix(' ').unwrap_or(more)),
                None if line.is_empty() && !data.is_empty() => return Ok(data),
                None => {}
            }
        }
    }
}

impl Iterator for Events {
    type Item = Result<JournalEntry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = self.data().and_then(|data| {
            serde_json::from_str::<JournalEntry>(&data).map_err(|source| Error::Unreadable {
                address: self.address.clone(),
                request: "GET /v1/events".to_owned(),
                status: 200,
                source: source.into(),
            })
        });
        match &entry {
            Ok(entry) => self.position = entry.position,
            Err(_) => self.ended = true,
        }
        Some(entry)
    }
}
