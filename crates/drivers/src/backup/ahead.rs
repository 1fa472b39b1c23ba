//! Reading ahead: what is opened on a thread of its own, while who reads it writes elsewhere.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::sealed::Opened;

/// Read at once.
const CHUNK: usize = 256 << 10;
/// So many are ready at most.
const READY_MAX: usize = 8;

/// An object that is being opened. Its end is reached only if all of it was what was sealed.
pub struct Ahead {
    from: Option<Receiver<io::Result<Vec<u8>>>>,
    chunk: Vec<u8>,
    at: usize,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Begins to open it.
    pub fn of<R: Read + Send + 'static>(mut opened: Opened<R>) -> Self {
        let (to, from) = sync_channel(READY_MAX);
        let thread = std::thread::spawn(move || {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                let most = u64::try_from(CHUNK).unwrap_or(u64::MAX);
                let read = opened.by_ref().take(most).read_to_end(&mut chunk);
                let more = matches!(read, Ok(1..));
                if to.send(read.map(|_| chunk)).is_err() {
                    // Nobody wants more of it.
                    return;
                }
                if !more {
                    break;
                }
            }
            if let Err(error) = opened.finish() {
                let _ = to.send(Err(error));
            }
        });
        Self { from: Some(from), chunk: Vec::new(), at: 0, thread: Some(thread) }
    }

    /// Reads on to the end.
    ///
    /// # Errors
    /// When any of it is not what was sealed.
    pub fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink()).map(drop)
    }
}

impl Read for Ahead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            // What is behind the last chunk has no bytes: the next word is of the end, or of an error.
            match self.from.as_ref().and_then(|from| from.recv().ok()) {
                Some(Ok(chunk)) => (self.chunk, self.at) = (chunk, 0),
                Some(Err(error)) => {
                    self.from = None;
                    return Err(error);
                }
                None => return Ok(0),
            }
        }
        let given = into.len().min(self.chunk.len() - self.at);
        into[..given].copy_from_slice(&self.chunk[self.at..self.at + given]);
        self.at += given;
        Ok(given)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        drop(self.from.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::backup::Key;
    use crate::backup::sealed::seal;

    fn ahead(object: &[u8]) -> Ahead {
        let object = io::Cursor::new(object.to_vec());
        Ahead::of(Opened::begin(object, &Key([7; 32]), "a").unwrap().0)
    }

    #[test]
    fn what_was_sealed_is_read_and_its_end_is_told_only_when_it_is_whole() {
        for bytes in [0, 1, CHUNK, 20 * CHUNK + 17] {
            let content: Vec<u8> = (0..bytes).map(|n| (n * n % 251).to_le_bytes()[0]).collect();
            let object = seal(&Key([7; 32]), "a", &content);
            let mut read = Vec::new();
            ahead(&object).read_to_end(&mut read).unwrap();
            assert!(read == content, "{bytes} bytes");
            ahead(&object).finish().unwrap();
            let cut = &object[..object.len() - 1];
            assert!(ahead(cut).finish().is_err(), "{bytes} bytes, cut off");
            let longer = [&object[..], &[0]].concat();
            assert!(ahead(&longer).finish().is_err(), "something follows {bytes} bytes");
        }
    }

    /// Says how much of it was read.
    struct Counted(io::Cursor<Vec<u8>>, Arc<AtomicUsize>);

    impl Read for Counted {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(into)?;
            self.1.fetch_add(read, Ordering::Relaxed);
            Ok(read)
        }
    }

    #[test]
    fn what_nobody_wants_is_not_read_to_its_end() {
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        let object = seal(&Key([7; 32]), "a", &noise.take(40 * CHUNK).collect::<Vec<u8>>());
        let (total, count) = (object.len(), Arc::new(AtomicUsize::new(0)));
        let counted = Counted(io::Cursor::new(object), Arc::clone(&count));
        let mut ahead = Ahead::of(Opened::begin(counted, &Key([7; 32]), "a").unwrap().0);
        ahead.read_exact(&mut [0; 10]).unwrap();
        drop(ahead);
        let read = count.load(Ordering::Relaxed);
        assert!(read < total / 2, "{read} of {total} bytes");
    }
}
