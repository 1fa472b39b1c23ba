//! Drills that are due: asked of the cell, recorded as begun, done by whoever the controller was given for it.
//!
//! The story: the cell says which drills begin now, by schedules, windows and budgets. Each is ordered to
//! begin, which the cell records or refuses; then it is done beside the cell, over the same API that a person
//! uses, and what it came to is reported, whatever it came to. A controller that ends meanwhile leaves a drill
//! that is recorded as begun, and the next one records it as cut short.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::drill::{Begun, Kind, Order as Act};
use evenkeel_core::order::Order;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::cell_thread::Handle;

/// Between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks take no more than this part of the cell's time.
const SHARE: u32 = 100;
/// Who orders what is due.
const SCHEDULE: &str = "schedule";

/// The way to this controller's own API.
#[derive(Clone)]
pub struct Access {
    /// Its address and port.
    pub address: String,
    /// What lets in.
    pub token: String,
}

impl Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What a drill measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// The longest time without an acknowledged write, in milliseconds.
    pub gap_ms: u64,
    /// Acknowledged rows that were missing afterwards.
    pub lost: u64,
    /// Rows that were acknowledged.
    pub acked: u64,
    /// Why it failed.
    pub failed: Option<String>,
}

/// Who does drills.
pub trait Driller: Debug + Send + Sync {
    /// Does a drill on a service and measures it; nothing, if somebody else goes on with it and reports it.
    /// Blocks, and ends soon when the drill is aborted.
    fn drill(&self, at: &Access, service: &str, kind: Kind) -> Option<Measured>;

    /// Ends this process's program without goodbye and begins it anew, as if it had been killed and started
    /// again. Comes back only with why it could not.
    fn lose(&self) -> std::io::Error;
}

/// Does what is due until the controller stops.
pub(crate) async fn run(
    driller: Arc<dyn Driller>,
    at: Access,
    cell: Handle,
    mut stopping: watch::Receiver<bool>,
) {
    let (mut running, mut wait) = (JoinSet::new(), LOOK_EVERY);
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(wait) => {}
        }
        while running.try_join_next().is_some() {}
        let looked = cell.ask_each(|seen| {
            let began = Instant::now();
            let due = seen.cell.drills_due(seen.now);
            let under_way = seen.cell.drills_running(seen.now);
            (due, under_way, seen.cell.drills_max(), began.elapsed())
        });
        // Cells that cannot record have nothing begin; they are asked again.
        let Ok(looked) = looked.await else { continue };
        wait = LOOK_EVERY.max(looked.iter().map(|(.., took)| *took).sum::<Duration>() * SHARE);
        let due = among(looked.into_iter().map(|(due, runs, max, _)| (due, runs, max)).collect());
        for (name, kind) in due {
            let order = Act::Begin { name: name.clone(), kind, by: Begun::Schedule };
            match cell.order(SCHEDULE.to_owned(), Order::Drill { order }).await {
                Ok(_) => {
                    tracing::info!(service = name, drill = %kind, "a drill begins");
                    running.spawn(exercise(
                        Arc::clone(&driller),
                        at.clone(),
                        cell.clone(),
                        name,
                        kind,
                    ));
                }
                Err(error) => {
                    tracing::info!(service = name, drill = %kind, %error, "no drill begins");
                }
            }
        }
    }
}

/// What is due in a cell, what runs there, and how many may at once.
type Looked = (Vec<(String, Kind)>, Vec<Kind>, u16);

/// What begins of what is due in every cell, given what runs there and how many may at once: a cell sees to
/// that for itself, and here it is seen to for all of them together.
fn among(mut cells: Vec<Looked>) -> Vec<(String, Kind)> {
    if cells.len() == 1 {
        return cells.remove(0).0;
    }
    let max = cells.iter().map(|(.., max)| usize::from(*max)).max().unwrap_or_default();
    let mut running: Vec<Kind> = cells.iter().flat_map(|(_, runs, _)| runs.clone()).collect();
    let mut begin = Vec::new();
    for (name, kind) in cells.into_iter().flat_map(|(due, ..)| due) {
        let beside = |other: &Kind| kind == Kind::Controller || *other == Kind::Controller;
        if running.len() < max && !running.iter().any(beside) {
            running.push(kind);
            begin.push((name, kind));
        }
    }
    begin
}

/// Does one drill, and reports it.
async fn exercise(driller: Arc<dyn Driller>, at: Access, cell: Handle, name: String, kind: Kind) {
    let (done, told) = oneshot::channel();
    let service = name.clone();
    // A thread of its own: a runtime that ends waits for none.
    let thread = std::thread::Builder::new().name("drill".to_owned());
    let spawned = thread.spawn(move || {
        let _ = done.send(driller.drill(&at, &service, kind));
    });
    let failed = |why: String| Measured { failed: Some(why), ..Measured::default() };
    let measured = match spawned {
        Ok(_) => told.await.unwrap_or_else(|_| Some(failed("whoever did it died".to_owned()))),
        Err(error) => Some(failed(format!("the system gave no thread: {error}"))),
    };
    let Some(measured) = measured else { return };
    let Measured { gap_ms, lost, acked, failed } = measured;
    let drill = kind.to_string();
    let order = Order::Drilled { name: name.clone(), drill, gap_ms, lost, acked, failed };
    if let Err(error) = cell.order(SCHEDULE.to_owned(), order).await {
        tracing::warn!(service = name, drill = %kind, %error, "a drill's result was not kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drills_of_several_cells_are_bounded_together_and_a_controllers_is_alone() {
        let due = |name: &str, kind| (name.to_owned(), kind);
        let two = vec![due("a", Kind::Failover), due("b", Kind::Failover)];
        assert_eq!(among(vec![(two.clone(), Vec::new(), 1)]), two, "one cell's word is taken");
        let of = |runs| {
            let first = (vec![due("a", Kind::Failover)], runs, 2);
            let second = (vec![due("b", Kind::Controller)], Vec::new(), 2);
            among(vec![first, second, (vec![due("c", Kind::Failover)], Vec::new(), 2)])
        };
        assert_eq!(of(Vec::new()), [due("a", Kind::Failover), due("c", Kind::Failover)]);
        assert_eq!(of(vec![Kind::Failover]), [due("a", Kind::Failover)]);
        assert_eq!(of(vec![Kind::Controller]), []);
    }
}
