//! Seats on threads: each thread has its own, and all stop at the end of a window.
//!
//! A seat stays where it is, as its memory is its thread's: moved about, a day costs a quarter more. Only who is
//! through with its own helps another. What a seat comes to does not depend on the thread that it is on, nor on
//! the others: a run is the same on any number of threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use evenkeel_core::cell::Entry;
use evenkeel_core::id::CellId;
use evenkeel_core::incident::chain::Step;
use evenkeel_core::time::Time;

use super::seat::Seat;
use super::storage::View;

/// What is done with each seat.
type Work = Arc<dyn Fn(&mut Seat) + Send + Sync>;

/// Seats that wait for it, by thread, and those that are through.
#[derive(Default)]
struct Round {
    waiting: Vec<Vec<Box<Seat>>>,
    through: Vec<Box<Seat>>,
}

impl Round {
    /// The next for a thread: its own, or one of the thread that has most left.
    fn next(&mut self, own: usize) -> Option<Box<Seat>> {
        let from = match self.waiting[own].is_empty() {
            false => own,
            true => (0..self.waiting.len()).max_by_key(|n| self.waiting[*n].len())?,
        };
        self.waiting[from].pop()
    }
}

/// A thread.
struct Hand {
    work: mpsc::Sender<Work>,
    done: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// See the module.
pub(super) struct Crew {
    hands: Vec<Hand>,
    round: Arc<Mutex<Round>>,
    /// In order of number, while none of them runs.
    seats: Vec<Box<Seat>>,
}

impl Crew {
    /// Makes every cell's services, on as many threads.
    pub fn make(
        seats: Vec<(Seat, u32)>,
        threads: usize,
        chain: &[Step],
        plans: &[(String, u8)],
        progress: &mut dyn FnMut(u32, u32),
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if threads == 0 { cores } else { threads }.min(seats.len()).max(1);
        let all = u32::try_from(seats.len()).unwrap_or(u32::MAX);
        let services: Vec<u32> = seats.iter().map(|(_, services)| *services).collect();
        let seats = seats.into_iter().map(|(seat, _)| Box::new(seat)).collect();
        let round = Arc::<Mutex<Round>>::default();
        let hands = if threads > 1 {
            (0..threads).map(|own| Hand::new(Arc::clone(&round), own)).collect()
        } else {
            Vec::new()
        };
        let mut crew = Self { hands, round, seats };
        let (made, each) = mpsc::channel();
        let (chain, plans) = (chain.to_vec(), plans.to_vec());
        let work = move |seat: &mut Seat| {
            seat.make(services[seat.number as usize], &plans, &chain);
            // Nobody waits for the news any more when it is gone.
            let _ = made.send(());
        };
        let mut cells = 0;
        crew.all(Arc::new(work), &mut || {
            while each.try_recv().is_ok() {
                cells += 1;
                progress(cells, all);
            }
        });
        let now = crew.now();
        crew.run(now, View::default(), true);
        crew
    }

    /// The latest moment that any seat is at.
    pub fn now(&self) -> Time {
        self.seats.iter().map(|seat| seat.now).max().unwrap_or_default()
    }

    /// When something happens next in any of them.
    pub fn next(&self) -> Time {
        self.seats.iter().map(|seat| seat.next()).min().unwrap_or(Time(u64::MAX))
    }

    /// Lets time pass in all of them until a moment, and has them look then how they are.
    pub fn run(&mut self, until: Time, storage: View, looks: bool) {
        let work = move |seat: &mut Seat| {
            let up = seat.storage.up;
            seat.storage = View { up, ..storage };
            seat.run(until);
            if looks {
                seat.look_around();
            }
        };
        self.all(Arc::new(work), &mut || {});
    }

    /// Does something with every seat; `meanwhile` is called now and then.
    fn all(&mut self, work: Work, meanwhile: &mut dyn FnMut()) {
        if self.hands.is_empty() {
            return self.seats.iter_mut().for_each(|seat| {
                work(seat);
                meanwhile();
            });
        }
        {
            let mut round = lock(&self.round);
            let threads = self.hands.len();
            round.waiting.resize_with(threads, Vec::new);
            // The last is taken first.
            for seat in self.seats.drain(..).rev() {
                round.waiting[seat.number as usize % threads].push(seat);
            }
        }
        for hand in &self.hands {
            hand.work
                .send(Arc::clone(&work))
                .expect("a thread waits for work as long as its crew lives");
        }
        for hand in &self.hands {
            loop {
                match hand.done.recv_timeout(std::time::Duration::from_millis(500)) {
                    Ok(()) => break,
                    Err(mpsc::RecvTimeoutError::Timeout) => meanwhile(),
                    Err(mpsc::RecvTimeoutError::Disconnected) => panic!("a thread panicked"),
                }
            }
        }
        meanwhile();
        self.seats = std::mem::take(&mut lock(&self.round).through);
        self.seats.sort_unstable_by_key(|seat| seat.number);
    }

    /// Each seat in the order of its number.
    pub fn each(&mut self, mut with: impl FnMut(&mut Seat)) {
        self.seats.iter_mut().for_each(|seat| with(seat));
    }

    /// Something for one cell.
    pub fn tell(&mut self, cell: CellId, entry: Entry) {
        if let Some(seat) = self.seats.get_mut(cell.0 as usize - 1) {
            seat.tell(entry);
        }
    }
}

/// Whoever panicked took its seat with it, and ends the run.
fn lock(round: &Mutex<Round>) -> MutexGuard<'_, Round> {
    round.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hand {
    fn new(round: Arc<Mutex<Round>>, own: usize) -> Self {
        let (work, given) = mpsc::channel::<Work>();
        let (give, done) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while let Ok(work) = given.recv() {
                loop {
                    let next = lock(&round).next(own);
                    let Some(mut seat) = next else { break };
                    work(&mut seat);
                    lock(&round).through.push(seat);
                }
                drop(work);
                if give.send(()).is_err() {
                    return;
                }
            }
        });
        Self { work, done, thread: Some(thread) }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for hand in self.hands.drain(..) {
            let Hand { work, done, thread } = hand;
            drop((work, done));
            if let Some(thread) = thread {
                // A panic there was printed where it happened.
                let _ = thread.join();
            }
        }
    }
}
