//! Shrinking: a run that shows a mistake is made smaller as long as it shows the same mistake.
//!
//! Fewer hosts, fewer services, fewer acts, less time: each is tried, and kept where the smaller run
//! fails in the same way. What is left is what the mistake needs, or near to it.

use evenkeel_core::time::Span;

use super::plan::{Plan, What};
use super::{Failure, Summary};

/// Most runs spent on one failure: half a minute of a debug build.
const RUNS_MAX: usize = 300;

/// What a shrinking needs.
struct Search<'a> {
    run: &'a mut dyn FnMut(&Plan) -> Result<Summary, Failure>,
    best: Failure,
    runs: usize,
}

/// The smallest run found that fails in the same way; it is given as it failed.
pub fn shrink(failure: Failure, run: &mut dyn FnMut(&Plan) -> Result<Summary, Failure>) -> Failure {
    let mut search = Search { run, best: failure, runs: 0 };
    loop {
        let before = search.best.plan.clone();
        search.fewer_hosts();
        search.fewer_services();
        search.fewer_acts();
        search.less_time();
        if search.best.plan == before || search.runs >= RUNS_MAX {
            return search.best;
        }
    }
}

impl Search<'_> {
    /// Takes a smaller plan if it fails in the same way; whether it does.
    fn take(&mut self, plan: Plan) -> bool {
        if self.runs >= RUNS_MAX || plan == *self.best.plan {
            return false;
        }
        self.runs += 1;
        match (self.run)(&plan) {
            Err(failure) if failure.wrong.is_like(&self.best.wrong) => {
                self.best = failure;
                true
            }
            _ => false,
        }
    }

    fn fewer_hosts(&mut self) {
        for hosts in 1..self.best.plan.hosts {
            if self.take(Plan { hosts, ..(*self.best.plan).clone() }) {
                return;
            }
        }
    }

    fn fewer_services(&mut self) {
        let of = |what: &What| match what {
            What::Order(_, name) => Some(name.clone()),
            What::Break(..) => None,
        };
        let mut names: Vec<String> =
            self.best.plan.acts.iter().filter_map(|act| of(&act.what)).collect();
        names.sort();
        names.dedup();
        for name in names {
            let mut plan = (*self.best.plan).clone();
            plan.acts.retain(|act| of(&act.what).as_ref() != Some(&name));
            self.take(plan);
        }
    }

    /// Leaves out half of the acts, then quarters, down to single ones (Zeller, Hildebrandt:
    /// "Simplifying and Isolating Failure-Inducing Input", 2002).
    fn fewer_acts(&mut self) {
        let mut chunk = self.best.plan.acts.len();
        while chunk > 0 {
            let mut from = 0;
            while from < self.best.plan.acts.len() {
                let mut plan = (*self.best.plan).clone();
                plan.acts.drain(from..(from + chunk).min(plan.acts.len()));
                if !self.take(plan) {
                    from += chunk;
                }
            }
            chunk /= 2;
        }
    }

    fn less_time(&mut self) {
        let last = self.best.plan.acts.last().map_or(Span(0), |act| act.at);
        for lasts in [last, Span(last.0 + 10_000)] {
            if lasts < self.best.plan.lasts
                && self.take(Plan { lasts, ..(*self.best.plan).clone() })
            {
                break;
            }
        }
        for from in 0..self.best.plan.acts.len() {
            let acts = &self.best.plan.acts;
            let before = from.checked_sub(1).map_or(0, |earlier| acts[earlier].at.0);
            let gap = acts[from].at.0 - before;
            // Nothing, a moment, or half of what it is.
            for pause in [0, 1000, gap / 2] {
                if pause < gap && self.take(sooner(&self.best.plan, from, gap - pause)) {
                    break;
                }
            }
        }
    }
}

/// A plan with everything from one act on sooner by so many milliseconds.
fn sooner(plan: &Plan, from: usize, by_ms: u64) -> Plan {
    let mut plan = plan.clone();
    plan.acts[from..].iter_mut().for_each(|act| act.at.0 -= by_ms);
    plan.lasts.0 -= by_ms;
    plan
}

#[cfg(test)]
mod tests {
    use super::super::plan::Act;
    use super::super::{Wrong, play, swarm_with};
    use super::*;
    use crate::world::{Fault, World};
    use evenkeel_core::service::State;

    /// A planted mistake: it is wrong to kill the gateway while a service is available.
    fn planted(world: &World, act: &Act) -> Option<String> {
        let gateway = matches!(act.what, What::Break(Fault::KillGateway, _));
        let serves = world.services().iter().any(|service| service.state == State::Available);
        (gateway && serves).then(|| "planted".to_owned())
    }

    #[test]
    fn a_planted_mistake_is_shrunk_to_what_it_needs_and_its_text_shows_it_again() {
        for from in [0, 40, 80] {
            let failure = swarm_with(from..from + 40, &mut |_| {}, &planted).expect_err("planted");
            let text = failure.to_string();
            let acts: Vec<String> =
                failure.plan.acts.iter().map(|act| act.what.to_string()).collect();
            assert_eq!(acts.len(), 2, "{text}");
            assert!(acts[0].starts_with("create"), "{text}");
            assert!(acts[1].starts_with("kill-gateway "), "{text}");
            assert_eq!(failure.plan.hosts, 1, "{text}");
            assert!(failure.plan.lasts <= Span::secs(6), "{text}");
            let line = text.lines().last().expect("it says how to see it again");
            let line = line.split('"').nth(1).expect("in quotes");
            let again: Plan = line.parse().expect("a plan");
            let seen = play(&again, None, &planted).expect_err("planted");
            assert_eq!((&seen.wrong, &seen.plan), (&failure.wrong, &failure.plan));
            assert_eq!(play(&again, None, &|_, _| None).err().map(|f| f.to_string()), None);
        }
    }

    fn failure(plan: &Plan, what: &str) -> Failure {
        let wrong = Wrong::Broken(what.to_owned());
        Failure { plan: Box::new(plan.clone()), wrong, journal: Vec::new(), shrunk: None }
    }

    #[test]
    fn another_mistake_is_not_taken_for_the_same() {
        let plan = Plan::of(1);
        let full = plan.acts.len();
        // Fewer acts show another mistake: none of them may be taken.
        let mut run = |plan: &Plan| {
            let what = if plan.acts.len() == full { "m1 lost rows" } else { "m1 has two goals" };
            Err(failure(plan, what))
        };
        let shrunk = shrink(failure(&plan, "m7 lost rows"), &mut run);
        assert_eq!(shrunk.plan.acts.len(), full);
        assert_eq!(shrunk.plan.hosts, 1, "the same mistake, with another number in it");
    }

    #[test]
    fn a_mistake_that_cannot_be_made_smaller_costs_a_bounded_number_of_runs() {
        let plan = Plan::of(2);
        let mut runs = 0;
        let full = plan.clone();
        let mut run = |plan: &Plan| {
            runs += 1;
            // Each run is another way to fail, and none of them the first.
            let what = if *plan == full { "first" } else { "other" };
            Err(failure(plan, what))
        };
        assert_eq!(*shrink(failure(&plan, "first"), &mut run).plan, plan);
        assert!(runs <= RUNS_MAX, "{runs}");
    }
}
