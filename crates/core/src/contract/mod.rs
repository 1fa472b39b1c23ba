//! What every driver does, as one script that any driver's tests play, a second one for kinds whose
//! servers replicate, and a third one for those whose servers have an archive.
//!
//! Purpose: the simulator is believed because its modelled drivers and the real ones answer the same
//! calls with the same observations. The scripts are played against both; a chapter that one of them
//! does not keep fails that one's test.
//!
//! What a script cannot order of a driver alone - a crash, a taken port, a client's write - is a
//! [`Bench`]'s to do. Checks' questions ([`Driver::read`]) are outside of it: a model has no answers.
//!
//! # Panics
//! Each chapter, when the driver does not do what its name says.

mod archives;
mod replication;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::driver::{Answer, Directory, Driver, Error, Process};
use crate::goal::{Goal, StopMode};
use crate::id::Incarnation;
pub use archives::{ARCHIVES, Archives, Ledger, Row, play_archives};
pub use replication::{Pair, Play, REPLICATION, SYNCHRONOUS, Who, play_replication};

/// Moments that anything may take to become so.
const MOMENTS_MAX: u32 = 10_000;
/// Rows that clients write in the script.
const ROWS: u64 = 3;

/// Time on a bench.
pub trait Clock {
    /// A moment passes: a few milliseconds.
    fn moment(&mut self);
}

/// A host with room for one member, a driver for it, and a hand that does what drivers do not.
pub trait Bench: Clock {
    /// What is wanted of the member: running, of incarnation 1, on a port that nobody holds.
    fn goal(&self) -> Goal;
    /// Settings other than the goal's, which a server takes while it runs.
    fn other_settings(&self) -> Arc<BTreeMap<String, String>>;
    /// The driver.
    fn driver(&mut self) -> &mut dyn Driver;
    /// Another driver in its place, as after an agent's restart.
    fn replace_driver(&mut self);
    /// Leaves a directory as an initialisation that was killed does.
    fn half_make(&mut self, goal: &Goal);
    /// Kills the server's process.
    fn crash(&mut self, goal: &Goal);
    /// Stops the server's process by a signal, or has it go on.
    fn freeze(&mut self, goal: &Goal, frozen: bool);
    /// Somebody else takes the goal's port, or frees it.
    fn hold_port(&mut self, goal: &Goal, held: bool);
    /// A client writes a row; whether it was acknowledged.
    fn write_row(&mut self, goal: &Goal) -> bool;
    /// Rows that clients find.
    fn rows(&mut self, goal: &Goal) -> u64;
}

/// One chapter: it begins where the one before ended.
pub type Chapter = fn(&mut dyn Bench);

/// The script, chapter by chapter.
pub const SCRIPT: &[(&str, Chapter)] = &[
    ("nothing is there, and nothing of nothing can be started, sealed or prepared", nothing),
    ("what is half made is told, not started, and discarded", half_made),
    ("what is made is complete, made once, and never discarded", made),
    ("a server starts once, on a free port, and comes up to take writes", started),
    ("settings that changed are told once", configured),
    ("a running server is adopted and not removed", adopted),
    ("a frozen server is there and silent, and goes on", frozen),
    ("a crash is told, and what was acknowledged is there afterwards", crashed),
    ("a stop is obeyed, hard or not, and repeated safely", stopped),
    ("what is sealed is not started until it is unsealed", sealed),
    ("what is removed is gone, and what is made anew is empty", removed),
];

/// Plays the whole script.
pub fn play(bench: &mut dyn Bench, mut chapter: impl FnMut(&str)) {
    for (name, act) in SCRIPT {
        chapter(name);
        act(bench);
    }
}

fn directory(bench: &mut dyn Bench) -> Directory {
    let goal = bench.goal();
    bench.driver().directory(&goal).expect("the disk can be read")
}

fn process(bench: &mut dyn Bench) -> Process {
    let goal = bench.goal();
    bench.driver().process(&goal).expect("processes can be read")
}

fn complete(incarnation: u32) -> Directory {
    Directory::Complete { incarnation: Incarnation(incarnation) }
}

/// The goal, for another incarnation of the directory.
fn other_incarnation(bench: &dyn Bench) -> Goal {
    Goal { incarnation: Incarnation(2), ..bench.goal() }
}

fn until<B: Clock + ?Sized>(bench: &mut B, what: &str, mut so: impl FnMut(&mut B) -> bool) {
    for _ in 0..MOMENTS_MAX {
        if so(bench) {
            return;
        }
        bench.moment();
    }
    panic!("it was never so: {what}");
}

/// A server that was started answers that it is not there yet, then that it takes connections.
fn comes_up(bench: &mut dyn Bench) {
    let goal = bench.goal();
    until(bench, "it takes connections", |bench| match bench.driver().probe(&goal, false) {
        Answer::Accepting => true,
        Answer::NotYet | Answer::Recovering => false,
        other => panic!("a server that comes up answers {other:?}"),
    });
    assert_eq!(bench.driver().probe(&goal, true), Answer::Writing);
}

fn start(bench: &mut dyn Bench) -> u32 {
    let goal = bench.goal();
    let pid = bench.driver().start(&goal).expect("started");
    assert_eq!(process(bench), Process::Running { pid });
    comes_up(bench);
    pid
}

fn nothing(bench: &mut dyn Bench) {
    let goal = bench.goal();
    assert_eq!(directory(bench), Directory::Absent);
    assert_eq!(process(bench), Process::None);
    let driver = bench.driver();
    for write in [false, true] {
        assert_eq!(driver.probe(&goal, write), Answer::NotYet);
    }
    driver.start(&goal).expect_err("there is nothing to start");
    driver.seal(&goal, true).expect_err("there is nothing to seal");
    driver.prepare(&goal).expect_err("there is no server to prepare");
    driver.stop(&goal, StopMode::Fast).expect("nothing runs");
    driver.kill(&goal).expect("nothing runs");
    driver.discard(&goal).expect("nothing is there");
    driver.remove(&goal).expect("nothing is there");
    assert_eq!(directory(bench), Directory::Absent);
}

fn half_made(bench: &mut dyn Bench) {
    let goal = bench.goal();
    bench.half_make(&goal);
    assert_eq!(directory(bench), Directory::Partial);
    bench.driver().start(&goal).expect_err("it is half made");
    bench.driver().initialize(&goal).expect_err("what is half made is discarded first");
    bench.driver().seal(&goal, true).expect_err("it is half made");
    assert_eq!(directory(bench), Directory::Partial);
    bench.driver().discard(&goal).expect("discarded");
    assert_eq!(directory(bench), Directory::Absent);
}

fn made(bench: &mut dyn Bench) {
    let (goal, other) = (bench.goal(), other_incarnation(bench));
    for _again in 0..2 {
        bench.driver().initialize(&goal).expect("initialised");
        assert_eq!(directory(bench), complete(1));
    }
    let refused = bench.driver().discard(&goal).expect_err("it is complete");
    assert!(matches!(refused, Error::Foreign { .. }), "{refused:?}");
    assert_eq!(bench.driver().directory(&other), Ok(complete(1)));
    bench.driver().initialize(&other).expect_err("there is another incarnation");
    bench.driver().start(&other).expect_err("there is another incarnation");
    assert_eq!(directory(bench), complete(1));
    bench.driver().start(&goal).expect_err("it has no settings yet");
    assert_eq!(process(bench), Process::None);
    for _again in 0..2 {
        assert_eq!(bench.driver().configure(&goal), Ok(false), "nothing runs that must restart");
    }
}

fn started(bench: &mut dyn Bench) {
    let goal = bench.goal();
    bench.hold_port(&goal, true);
    assert_eq!(bench.driver().start(&goal), Err(Error::PortTaken { port: goal.port }));
    assert_eq!(process(bench), Process::None);
    bench.hold_port(&goal, false);
    let pid = start(bench);
    assert_eq!(bench.driver().start(&goal), Ok(pid), "it runs already");
    for _again in 0..2 {
        bench.driver().prepare(&goal).expect("prepared");
    }
    for row in 0..ROWS {
        assert_eq!(bench.rows(&goal), row);
        assert!(bench.write_row(&goal), "a server that takes writes takes clients' writes");
    }
}

fn configured(bench: &mut dyn Bench) {
    let goal = bench.goal();
    let other = Goal { settings: bench.other_settings(), ..goal.clone() };
    for wanted in [&other, &goal] {
        assert_eq!(bench.driver().configure(wanted), Ok(true), "some may wait for a restart");
        assert_eq!(bench.driver().configure(wanted), Ok(false), "they are known");
    }
    comes_up(bench);
}

fn adopted(bench: &mut dyn Bench) {
    let goal = bench.goal();
    let before = process(bench);
    assert!(matches!(before, Process::Running { .. }), "{before:?}");
    bench.replace_driver();
    assert_eq!(directory(bench), complete(1));
    assert_eq!(process(bench), before);
    assert_eq!(bench.driver().probe(&goal, true), Answer::Writing);
    bench.driver().remove(&goal).expect_err("its server runs");
    bench.driver().discard(&goal).expect_err("it is complete");
    assert_eq!((directory(bench), process(bench)), (complete(1), before));
    assert_eq!(bench.rows(&goal), ROWS);
}

fn frozen(bench: &mut dyn Bench) {
    let goal = bench.goal();
    let Process::Running { pid } = process(bench) else { panic!("it runs") };
    bench.freeze(&goal, true);
    until(bench, "it is frozen", |bench| process(bench) == Process::Frozen { pid });
    for write in [false, true] {
        assert_eq!(bench.driver().probe(&goal, write), Answer::Silent);
    }
    bench.driver().stop(&goal, StopMode::Fast).expect_err("it hears nothing");
    bench.freeze(&goal, false);
    until(bench, "it runs", |bench| process(bench) == Process::Running { pid });
    until(bench, "it writes", |bench| bench.driver().probe(&goal, true) == Answer::Writing);
}

fn crashed(bench: &mut dyn Bench) {
    let goal = bench.goal();
    let Process::Running { pid } = process(bench) else { panic!("it runs") };
    for freeze_first in [false, true] {
        if freeze_first {
            bench.freeze(&goal, true);
        } else {
            bench.crash(&goal);
            let gone = |found| matches!(found, Process::None | Process::Leftovers { .. });
            until(bench, "it is gone", |bench| gone(process(bench)));
        }
        bench.driver().kill(&goal).expect("nothing is left");
        assert_eq!(process(bench), Process::None);
        assert_eq!(bench.driver().probe(&goal, false), Answer::NotYet);
        assert_eq!(directory(bench), complete(1));
        assert_ne!(start(bench), pid, "it is another process");
        assert_eq!(bench.rows(&goal), ROWS, "nothing acknowledged was lost");
    }
}

fn stopped(bench: &mut dyn Bench) {
    let goal = bench.goal();
    for mode in [StopMode::Immediate, StopMode::Fast] {
        for _again in 0..2 {
            bench.driver().stop(&goal, mode).expect("stopped");
            assert_eq!(process(bench), Process::None);
        }
        assert_eq!(bench.driver().probe(&goal, false), Answer::NotYet);
        bench.driver().checkpoint(&goal).expect_err("no server is there to write one");
        assert_eq!(directory(bench), complete(1));
        start(bench);
        bench.driver().checkpoint(&goal).expect("written");
        assert_eq!(bench.rows(&goal), ROWS, "nothing acknowledged was lost");
    }
    bench.driver().stop(&goal, StopMode::Fast).expect("stopped");
}

fn sealed(bench: &mut dyn Bench) {
    let goal = bench.goal();
    for _again in 0..2 {
        bench.driver().seal(&goal, true).expect("sealed");
        assert_eq!(directory(bench), Directory::Sealed { incarnation: Incarnation(1) });
    }
    bench.driver().start(&goal).expect_err("it is sealed");
    bench.driver().initialize(&goal).expect_err("it is sealed");
    bench.driver().discard(&goal).expect_err("it is complete");
    assert_eq!(process(bench), Process::None);
    for _again in 0..2 {
        bench.driver().seal(&goal, false).expect("unsealed");
        assert_eq!(directory(bench), complete(1));
    }
    start(bench);
    assert_eq!(bench.rows(&goal), ROWS);
    bench.driver().stop(&goal, StopMode::Fast).expect("stopped");
}

fn removed(bench: &mut dyn Bench) {
    let (goal, other) = (bench.goal(), other_incarnation(bench));
    for _again in 0..2 {
        bench.driver().remove(&goal).expect("removed");
        assert_eq!(directory(bench), Directory::Absent);
    }
    bench.driver().initialize(&other).expect("made anew");
    assert_eq!(directory(bench), complete(2));
    bench.driver().configure(&other).expect("configured");
    bench.driver().start(&other).expect("started");
    comes_up(bench);
    bench.driver().prepare(&other).expect("prepared");
    assert_eq!(bench.rows(&goal), 0, "nothing of the old one is there");
    bench.driver().kill(&other).expect("killed");
    bench.driver().seal(&other, true).expect("sealed");
    bench.driver().remove(&other).expect("removed though it is sealed");
    assert_eq!(directory(bench), Directory::Absent);
}
