//! A cell's whole state, put in words and written beside its turns: of a large cell that takes longer than anything
//! that it decides, and its hosts would be heard only afterwards. The state is copied, which is quick; a thread of
//! its own does the rest.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_core::cell::Cell;

use super::frame;

/// Where there are many cells, snapshots are made one after the other, in no more than this part of the time.
const SHARE: u32 = 20;

/// When the next snapshot of many cells may be begun; nobody may while one is being made.
#[derive(Clone, Debug)]
pub(crate) struct Turnstile(Arc<Mutex<Option<Instant>>>);

impl Turnstile {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }

    /// Whether one may be begun.
    pub fn is_open(&self) -> bool {
        self.next().is_some_and(|next| Instant::now() >= next)
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        *self.next() = None;
    }

    fn open_after(&self, took: Duration) {
        *self.next() = Some(Instant::now() + took * SHARE);
    }
}

/// Opens it however the thread ends that makes a snapshot.
struct Behind(Turnstile, Instant);

impl Drop for Behind {
    fn drop(&mut self) {
        self.0.open_after(self.1.elapsed());
    }
}

/// A snapshot that is being written; nothing else is written to its file meanwhile.
#[derive(Debug)]
pub(super) struct Pending(Receiver<io::Result<usize>>);

impl Pending {
    /// Begins one of a cell as it is now, where its file ends.
    pub fn of(cell: &Cell, mut file: File, turnstile: &Turnstile) -> io::Result<Self> {
        let (done, pending) = sync_channel(1);
        turnstile.close();
        let (behind, cell) = (Behind(turnstile.clone(), Instant::now()), cell.clone());
        let make = move || {
            let _behind = behind;
            let mut framed = Vec::new();
            frame::push(&mut framed, &cell.snapshot());
            // Whoever waited for it may have ended.
            let _ = done.send(file.write_all(&framed).map(|()| framed.len()));
        };
        std::thread::Builder::new().name("snapshot".to_owned()).spawn(make)?;
        Ok(Self(pending))
    }

    /// Its length in bytes, where it is written.
    pub fn written(&self) -> io::Result<Option<usize>> {
        match self.0.try_recv() {
            Ok(written) => written.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(lost()),
        }
    }

    /// Its length in bytes, as soon as it is written.
    pub fn wait(&self) -> io::Result<usize> {
        self.0.recv().unwrap_or_else(|_| Err(lost()))
    }
}

fn lost() -> io::Error {
    io::Error::other("the thread that made a snapshot has ended")
}
