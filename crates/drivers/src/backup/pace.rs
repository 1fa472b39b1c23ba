//! A host's pace towards its repositories, kept in files: those who send live for one file only.
//!
//! ```text
//! <dir>/<repository>.json   what is known (`evenkeel_core::backup::pace`), written as a whole
//! <dir>/<repository>.lock   held by whoever writes it
//! <dir>/<repository>.<n>    held by one of those who are on their way
//! ```
//!
//! Invariant: pace is never what keeps a file from being stored for good: where its files cannot be read or
//! written, everybody goes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use chacha20poly1305::aead::OsRng;
use chacha20poly1305::aead::rand_core::RngCore;
use evenkeel_core::backup::archive::Error;
use evenkeel_core::backup::guard::Level;
use evenkeel_core::backup::pace::{Leave, Pace};
use evenkeel_core::time::Time;
use rustix::fs::{FlockOperation, flock};

/// A host's pace.
#[derive(Debug)]
pub struct Paced {
    dir: Option<PathBuf>,
    room: Level,
    failed: Mutex<Vec<(String, String)>>,
}

impl Paced {
    /// By a directory that all servers of a host share, and what one's disk has. Without one everybody goes.
    #[must_use]
    pub fn new(dir: Option<&Path>, room: Level) -> Self {
        Self { dir: dir.map(Path::to_owned), room, failed: Mutex::default() }
    }

    /// The repositories that did not take something, and why.
    #[must_use]
    pub fn failed(&self) -> Vec<(String, String)> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends something to a repository when it may be sent.
    ///
    /// # Errors
    /// The sender's, or what another one found just now.
    pub fn send<T>(
        &self,
        repository: &str,
        send: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let sent = self.paced(repository, send);
        if let Err(error) = &sent {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.push((repository.to_owned(), error.to_string()));
        }
        sent
    }

    fn paced<T>(
        &self,
        repository: &str,
        send: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let slot = self.enter(repository)?;
        let sent = send();
        drop(slot);
        match &sent {
            Err(error) if error.may_pass() => {
                let (why, jitter) = (error.to_string(), u64::from(OsRng.next_u32() % 1000));
                self.change(repository, |pace| pace.failed(&why, jitter, now()));
            }
            // It answered, whatever it said.
            _ if self.known(repository).is_full() => {}
            _ => self.change(repository, |pace| pace.stored(now())),
        }
        sent
    }

    /// Waits for one's turn. What is returned is held until it was sent.
    fn enter(&self, repository: &str) -> Result<Option<File>, Error> {
        loop {
            let width = match self.known(repository).leave(self.room, now()) {
                Leave::Go => return Ok(None),
                Leave::OneOf(width) => width,
                Leave::Not(again, why) => {
                    let seconds = again.since(now()).0.div_ceil(1000);
                    let why = format!("{why} (tried again in {seconds} s)");
                    return Err(Error::Unreachable { repository: repository.to_owned(), why });
                }
            };
            let slots: Option<Vec<File>> =
                (0..width).map(|slot| self.open(&format!("{repository}.{slot}"))).collect();
            let Some(mut slots) = slots else { return Ok(None) };
            let free = |slot: &File| flock(slot, FlockOperation::NonBlockingLockExclusive).is_ok();
            if let Some(at) = slots.iter().position(free) {
                return Ok(Some(slots.swap_remove(at)));
            }
            // Whoever holds it sends one file, with time limits of its own. What it finds is looked at then.
            let at = OsRng.next_u32() as usize % slots.len();
            if flock(&slots[at], FlockOperation::LockExclusive).is_err() {
                return Ok(None);
            }
            let mine = self.known(repository).leave(self.room, now());
            if matches!(mine, Leave::OneOf(width) if at < usize::from(width)) {
                return Ok(Some(slots.swap_remove(at)));
            }
        }
    }

    fn open(&self, name: &str) -> Option<File> {
        let dir = self.dir.as_ref()?;
        fs::create_dir_all(dir).ok()?;
        File::options().create(true).truncate(false).write(true).open(dir.join(name)).ok()
    }

    fn known(&self, repository: &str) -> Pace {
        let read = |dir: &PathBuf| fs::read(dir.join(format!("{repository}.json"))).ok();
        let text = self.dir.as_ref().and_then(read);
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// A crash loses what was learnt, and nothing else.
    fn change(&self, repository: &str, change: impl FnOnce(&mut Pace)) {
        let lock = self.open(&format!("{repository}.lock"));
        let (Some(dir), Some(lock)) = (&self.dir, lock) else { return };
        if flock(&lock, FlockOperation::LockExclusive).is_err() {
            return;
        }
        let mut pace = self.known(repository);
        change(&mut pace);
        let text = serde_json::to_vec(&pace).expect("a pace is JSON");
        let [new, place] = ["new", "json"].map(|end| dir.join(format!("{repository}.{end}")));
        // Who cannot write it down goes on as before.
        let _ = fs::write(&new, text).and_then(|()| fs::rename(&new, &place));
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};
    use std::sync::{Arc, Barrier};

    use evenkeel_core::backup::pace::WIDTH_MAX;

    use super::*;

    fn down() -> Error {
        Error::Unreachable { repository: "far".into(), why: "no route".into() }
    }

    #[test]
    fn no_more_are_on_their_way_than_may_be() {
        let dir = tempfile::tempdir().expect("a directory");
        let paced = Arc::new(Paced::new(Some(dir.path()), Level::Fine));
        let (here, most) = (Arc::new(AtomicU16::new(0)), Arc::new(AtomicU16::new(0)));
        let begun = Arc::new(AtomicU16::new(0));
        let all = Arc::new(Barrier::new(usize::from(WIDTH_MAX)));
        let threads: Vec<_> = (0..WIDTH_MAX * 3)
            .map(|_| {
                let (paced, all) = (Arc::clone(&paced), Arc::clone(&all));
                let (here, most) = (Arc::clone(&here), Arc::clone(&most));
                let begun = Arc::clone(&begun);
                std::thread::spawn(move || {
                    paced.send("far", || {
                        most.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        // As many as may be are on their way at once, or this would never end.
                        if begun.fetch_add(1, Ordering::SeqCst) < WIDTH_MAX {
                            all.wait();
                        }
                        here.fetch_sub(1, Ordering::SeqCst);
                        Ok(())
                    })
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("ends").expect("sent");
        }
        assert_eq!(most.load(Ordering::SeqCst), WIDTH_MAX);
    }

    #[test]
    fn what_failed_for_one_is_told_to_all_and_to_nobody_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let paced = Paced::new(Some(dir.path()), Level::Fine);
        assert_eq!(paced.send("far", || Err::<(), _>(down())), Err(down()));
        let told = paced.send("far", || -> Result<(), Error> { panic!("it is not tried") });
        let error = told.expect_err("told").to_string();
        assert!(error.contains("no route") && error.contains("tried again in"), "{error}");
        assert_eq!(paced.send("near", || Ok(7)), Ok(7), "another repository");
        // An answer that is a refusal is no failure of its repository.
        let differs = || Error::Differs { repository: "near".into(), name: "a".into() };
        assert_eq!(paced.send("near", || Err::<(), _>(differs())), Err(differs()));
        assert_eq!(paced.send("near", || Ok(8)), Ok(8));
        let names: Vec<String> = paced.failed().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["far", "far", "near"]);
    }

    #[test]
    fn a_pace_that_cannot_be_kept_keeps_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        fs::write(&file, "no directory").expect("written");
        assert_eq!(Paced::new(Some(&file), Level::Fine).send("far", || Ok(1)), Ok(1));
        let torn = Paced::new(Some(dir.path()), Level::Fine);
        fs::write(dir.path().join("far.json"), "{\"width\":").expect("written");
        assert_eq!(torn.send("far", || Ok(2)), Ok(2));
    }
}
