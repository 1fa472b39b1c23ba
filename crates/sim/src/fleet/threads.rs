//! Seats on threads: each has some of them, and all stop at the end of a window.

use std::sync::mpsc;
use std::thread::JoinHandle;

use evenkeel_core::cell::Entry;
use evenkeel_core::id::CellId;
use evenkeel_core::incident::chain::Step;
use evenkeel_core::time::Time;

use super::seat::Seat;
use super::storage::View;

/// What a thread is given, and gives back.
type Share = Vec<Seat>;

/// A thread.
struct Hand {
    work: mpsc::Sender<(Share, Time, View)>,
    done: mpsc::Receiver<Share>,
    thread: Option<JoinHandle<()>>,
}

/// See the module.
pub(super) struct Crew {
    hands: Vec<Hand>,
    /// The seats of each thread, while none of them runs.
    shares: Vec<Share>,
}

impl Crew {
    /// Makes every cell's services, on as many threads.
    pub fn make(
        seats: Vec<(Seat, u32)>,
        threads: usize,
        chain: Vec<Step>,
        plans: Vec<(String, u8)>,
        progress: &mut dyn FnMut(u32, u32),
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if threads == 0 { cores } else { threads }.min(seats.len()).max(1);
        let all = u32::try_from(seats.len()).unwrap_or(u32::MAX);
        let mut given: Vec<Vec<(Seat, u32)>> = (0..threads).map(|_| Vec::new()).collect();
        for (at, seat) in seats.into_iter().enumerate() {
            given[at % threads].push(seat);
        }
        let (made, each) = mpsc::channel();
        let makers: Vec<JoinHandle<Share>> = given
            .into_iter()
            .map(|seats| {
                let (made, chain, plans) = (made.clone(), chain.clone(), plans.clone());
                std::thread::spawn(move || {
                    let make = |(mut seat, services): (Seat, u32)| {
                        seat.make(services, &plans, &chain);
                        // Nobody waits for the news any more when it is gone.
                        let _ = made.send(());
                        seat
                    };
                    seats.into_iter().map(make).collect()
                })
            })
            .collect();
        drop(made);
        let mut cells = 0;
        while each.recv().is_ok() {
            cells += 1;
            progress(cells, all);
        }
        let shares: Vec<Share> =
            makers.into_iter().map(|maker| maker.join().expect("a maker does not panic")).collect();
        let hands =
            if threads > 1 { (0..threads).map(|_| Hand::new()).collect() } else { Vec::new() };
        let mut crew = Self { hands, shares };
        let now = crew.now();
        crew.run(now, View::default());
        crew
    }

    /// The latest moment that any seat is at.
    pub fn now(&self) -> Time {
        self.shares.iter().flatten().map(|seat| seat.now).max().unwrap_or_default()
    }

    /// When something happens next in any of them.
    pub fn next(&self) -> Time {
        self.shares.iter().flatten().map(Seat::next).min().unwrap_or(Time(u64::MAX))
    }

    /// Lets time pass in all of them until a moment.
    pub fn run(&mut self, until: Time, storage: View) {
        if self.hands.is_empty() {
            return self.shares.iter_mut().for_each(|share| run(share, until, storage));
        }
        for (hand, share) in self.hands.iter().zip(&mut self.shares) {
            let work = (std::mem::take(share), until, storage);
            hand.work.send(work).expect("a thread waits for work as long as its crew lives");
        }
        for (hand, share) in self.hands.iter().zip(&mut self.shares) {
            *share = hand.done.recv().expect("a thread gives back what it was given");
        }
    }

    /// Each seat in the order of its number.
    pub fn each(&mut self, mut with: impl FnMut(&mut Seat)) {
        let longest = self.shares.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..longest {
            for share in &mut self.shares {
                if let Some(seat) = share.get_mut(at) {
                    with(seat);
                }
            }
        }
    }

    /// Something for one cell.
    pub fn tell(&mut self, cell: CellId, entry: Entry) {
        let at = cell.0 as usize - 1;
        let threads = self.shares.len();
        if let Some(seat) = self.shares[at % threads].get_mut(at / threads) {
            seat.tell(entry);
        }
    }
}

impl Hand {
    fn new() -> Self {
        let (work, given) = mpsc::channel::<(Share, Time, View)>();
        let (give, done) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while let Ok((mut share, until, storage)) = given.recv() {
                run(&mut share, until, storage);
                if give.send(share).is_err() {
                    return;
                }
            }
        });
        Self { work, done, thread: Some(thread) }
    }
}

fn run(share: &mut Share, until: Time, storage: View) {
    for seat in share {
        let up = seat.storage.up;
        seat.storage = View { up, ..storage };
        seat.run(until);
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
