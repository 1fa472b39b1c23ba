//! Budgets, kept by somebody else: an account of what is under way, made of the journal alone.
//!
//! Purpose: the gate of claims and the budgets of remedies count for themselves. Here the same is counted anew,
//! from nothing but what was recorded, and held against what policy and remedies say: no share of a host, a zone,
//! an image or a cell is exceeded, no remedy runs more often, sooner or for more services than it may, no service
//! has two disruptive operations at once, and no repository and no host has more jobs than it may.
//!
//! It knows nothing of the engine's own counters. Where it cannot know (a job on a host that is not heard) it
//! counts less.

use std::collections::BTreeMap;

use evenkeel_core::id::{HostId, MemberId};
use evenkeel_core::journal::{Entry, Topic};
use evenkeel_core::policy::Policy;
use evenkeel_core::remedy::Remedies;
use evenkeel_core::report::{self, ToAgent};
use evenkeel_core::time::Time;

/// Operations that repair, and those that are planned and disturb somebody. The rest disturb nobody. What a
/// procedure does is its own to say: it is not counted.
const REPAIRS: &[&str] = &["failover", "recover", "relax"];
const PLANNED: &[&str] = &["archive", "restart", "retire", "switchover", "terminate"];

/// What is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Repairs,
    Planned,
}

/// A share of something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Share {
    Host(String),
    Zone(String),
    /// All members of one cell run from one image here.
    Cell,
}

/// An operation under way.
#[derive(Clone, Debug)]
struct Underway {
    id: String,
    lane: Lane,
    shares: [Share; 3],
    remedy: Option<String>,
}

/// When a remedy ran for a service.
#[derive(Clone, Debug, Default)]
struct Runs {
    began: Vec<Time>,
    ended: Option<Time>,
}

/// What a text says of a service whose name another has now: that, and what it is called since.
fn changed_names(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(" is what was restored; what it was until now is ")?;
    Some((name, rest.split(',').next()?))
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budgets {
    underway: BTreeMap<String, Underway>,
    held: BTreeMap<(Lane, Share), u32>,
    remedies: BTreeMap<String, u32>,
    runs: BTreeMap<(String, String), Runs>,
    /// Jobs under way by member: which, and on which host.
    jobs: BTreeMap<MemberId, (u32, usize)>,
    by_host: BTreeMap<usize, u32>,
}

/// Where a service's primary is: its host, and that host's zone.
pub(crate) type Place = (String, String);

impl Budgets {
    /// Something was recorded; what is not so of it, or `None` where no budget is concerned.
    pub fn recorded(
        &mut self,
        entry: &Entry,
        (policy, remedies): (&Policy, &Remedies),
        place: impl FnOnce(&str) -> Option<Place>,
    ) -> Option<Result<(), String>> {
        if entry.topic != Topic::Operation {
            return None;
        }
        if let Some((name, away)) = changed_names(&entry.text) {
            self.renamed(name, away);
            return None;
        }
        let mut words = entry.text.splitn(4, ' ');
        let (name, id, what) = (words.next()?, words.next()?, words.next()?);
        if !id.starts_with("op") || id.ends_with(':') {
            return None;
        }
        if what != "begins:" {
            self.ended(&entry.subject, id, what == "gives", entry.at);
            return None;
        }
        let lane = match name {
            name if REPAIRS.contains(&name) => Some(Lane::Repairs),
            name if PLANNED.contains(&name) => Some(Lane::Planned),
            _ => None,
        };
        let remedy = words.next().and_then(|cause| cause.strip_prefix("remedy "));
        let mut wrong = remedy.and_then(|remedy| self.runs_again(entry, remedy, remedies).err());
        let Some(lane) = lane else {
            return remedy.map(|_| wrong.map_or(Ok(()), Err));
        };
        let (host, zone) = place(&entry.subject)?;
        let shares = [Share::Host(host), Share::Zone(zone), Share::Cell];
        let remedy = remedy.map(str::to_owned);
        let new = Underway { id: id.to_owned(), lane, shares, remedy };
        wrong = wrong.or_else(|| self.take(&entry.subject, new, policy, remedies).err());
        Some(wrong.map_or(Ok(()), Err))
    }

    /// A service has another name from now on, and its own is another's.
    fn renamed(&mut self, name: &str, away: &str) {
        if let Some(underway) = self.underway.remove(name) {
            self.underway.insert(away.to_owned(), underway);
        }
        let of = |(service, _): &(String, String), _: &mut Runs| service == name;
        let runs: Vec<_> = self.runs.extract_if(.., of).collect();
        self.runs.extend(runs.into_iter().map(|((_, remedy), r)| ((away.to_owned(), remedy), r)));
    }

    /// An operation holds its shares from now on.
    fn take(
        &mut self,
        service: &str,
        new: Underway,
        policy: &Policy,
        remedies: &Remedies,
    ) -> Result<(), String> {
        let mut wrong = None;
        for share in &new.shares {
            let held = self.held.entry((new.lane, share.clone())).or_default();
            *held += 1;
            let most = most(policy, new.lane, share);
            if *held > most {
                let lane = new.lane;
                wrong.get_or_insert(format!(
                    "{service}: {share:?} has {held} {lane:?} at once, {most} are allowed"
                ));
            }
        }
        if let Some(remedy) = &new.remedy {
            let running = self.remedies.entry(remedy.clone()).or_default();
            *running += 1;
            let most = remedies.named(remedy).and_then(|remedy| remedy.budget.fleet_max);
            if most.is_some_and(|most| *running > u32::from(most)) {
                wrong.get_or_insert(format!(
                    "{service}: remedy {remedy} runs for {running} services at once"
                ));
            }
        }
        if let Some(before) = self.underway.insert(service.to_owned(), new) {
            let text = format!("{service}: {} had not ended when another began", before.id);
            self.give_back(&before);
            wrong.get_or_insert(text);
        }
        wrong.map_or(Ok(()), Err)
    }

    fn give_back(&mut self, over: &Underway) {
        for share in &over.shares {
            if let Some(held) = self.held.get_mut(&(over.lane, share.clone())) {
                *held = held.saturating_sub(1);
            }
        }
        if let Some(running) = over.remedy.as_ref().and_then(|remedy| self.remedies.get_mut(remedy))
        {
            *running = running.saturating_sub(1);
        }
    }

    /// A remedy runs for a service once more.
    fn runs_again(
        &mut self,
        entry: &Entry,
        remedy: &str,
        remedies: &Remedies,
    ) -> Result<(), String> {
        let Some(budget) = remedies.named(remedy).map(|remedy| remedy.budget) else {
            return Err(format!("{}: there is no remedy {remedy}", entry.subject));
        };
        let key = (entry.subject.clone(), remedy.to_owned());
        let runs = self.runs.entry(key).or_default();
        runs.began.retain(|at| entry.at.since(*at) < budget.window);
        runs.began.push(entry.at);
        let (times, most) = (runs.began.len(), usize::from(budget.tries_max));
        if times > most {
            return Err(format!(
                "{}: remedy {remedy} ran {times} times within {}, {most} are allowed",
                entry.subject, budget.window
            ));
        }
        let since = runs.ended.map(|at| entry.at.since(at));
        match since.filter(|since| *since < budget.cooldown) {
            Some(since) => Err(format!(
                "{}: remedy {remedy} runs {since} after it had, and not {} after it",
                entry.subject, budget.cooldown
            )),
            None => Ok(()),
        }
    }

    fn ended(&mut self, service: &str, id: &str, gave_way: bool, at: Time) {
        if self.underway.get(service).is_none_or(|underway| underway.id != id) {
            return;
        }
        let Some(over) = self.underway.remove(service) else { return };
        self.give_back(&over);
        let Some(remedy) = over.remedy else { return };
        let Some(runs) = self.runs.get_mut(&(service.to_owned(), remedy)) else { return };
        if gave_way {
            // It was ordered before it began, and is counted from then.
            runs.began.pop();
        } else {
            runs.ended = Some(at);
        }
    }

    /// A message goes to the agent of a host: jobs that it asks for are under way.
    ///
    /// Gives whether any is new.
    pub fn sent(&mut self, host: usize, message: &ToAgent) -> bool {
        let ToAgent::Goals { goals, whole } = message else { return false };
        let mut new = false;
        if *whole {
            // Who is not named any more does nothing more.
            let named = |id: &MemberId| goals.iter().any(|goal| goal.member == *id);
            let over = self.jobs.iter().filter(|(id, (_, at))| *at == host && !named(id));
            let over: Vec<MemberId> = over.map(|(id, _)| *id).collect();
            over.into_iter().for_each(|id| self.end_job(id, None));
        }
        for goal in goals {
            match &goal.job {
                Some(job) => new |= self.begin_job(goal.member, job.id, host),
                None => self.end_job(goal.member, None),
            }
        }
        new
    }

    fn begin_job(&mut self, member: MemberId, job: u32, host: usize) -> bool {
        if self.jobs.get(&member).is_some_and(|(known, _)| *known == job) {
            return false;
        }
        self.end_job(member, None);
        self.jobs.insert(member, (job, host));
        *self.by_host.entry(host).or_default() += 1;
        true
    }

    fn end_job(&mut self, member: MemberId, job: Option<u32>) {
        let is_it = |known: &(u32, usize)| job.is_none_or(|job| job == known.0);
        if self.jobs.get(&member).is_some_and(is_it)
            && let Some((_, host)) = self.jobs.remove(&member)
            && let Some(count) = self.by_host.get_mut(&host)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// The cell is told of members: jobs whose outcome is among that are over.
    pub fn told<'a>(&mut self, members: impl IntoIterator<Item = &'a report::Member>) {
        for member in members {
            let told = member.archive.as_ref().and_then(|archive| archive.job.as_ref());
            if let Some(told) = told {
                self.end_job(member.member, Some(told.id));
            }
        }
    }

    /// A host's stream ended: what it still does is not known.
    pub fn lost(&mut self, host: usize) {
        if self.by_host.remove(&host).is_some() {
            self.jobs.retain(|_, (_, of)| *of != host);
        }
    }

    /// A turn is over, and everything it ordered is out: what is not so of jobs.
    pub fn hold_jobs(&self, policy: &Policy) -> Result<(), String> {
        let most = usize::from(policy.backup_repository_max);
        if self.jobs.len() > most {
            let jobs = self.jobs.len();
            return Err(format!("{jobs} jobs at once on the repositories, {most} are allowed"));
        }
        let most = u32::from(policy.backup_host_max);
        match self.by_host.iter().find(|(_, jobs)| **jobs > most) {
            Some((host, jobs)) => {
                let host = HostId(u32::try_from(*host).unwrap_or(u32::MAX));
                Err(format!("{jobs} jobs at once on host {host}, {most} are allowed"))
            }
            None => Ok(()),
        }
    }
}

/// What policy allows.
fn most(policy: &Policy, lane: Lane, share: &Share) -> u32 {
    match (lane, share) {
        (Lane::Repairs, Share::Host(_)) => policy.host_emergencies_max.into(),
        (Lane::Repairs, Share::Zone(_)) => policy.zone_emergencies_max,
        (Lane::Repairs, Share::Cell) => {
            policy.cell_emergencies_max.min(policy.image_emergencies_max)
        }
        (Lane::Planned, Share::Host(_)) => policy.host_operations_max.into(),
        (Lane::Planned, Share::Zone(_)) => policy.zone_operations_max,
        (Lane::Planned, Share::Cell) => policy.cell_operations_max.min(policy.image_operations_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: u64, subject: &str, text: &str) -> Entry {
        let (topic, evidence) = (Topic::Operation, Vec::new());
        let (subject, text) = (subject.to_owned(), text.to_owned());
        Entry { at: Time(at * 1000), topic, subject, text, evidence }
    }

    fn tell(budgets: &mut Budgets, entry: &Entry) -> Option<Result<(), String>> {
        let policy = Policy { host_emergencies_max: 2, ..Policy::default() };
        let remedies = evenkeel_kinds::remedies::bundled();
        let place = |_: &str| Some(("h1".to_owned(), "a".to_owned()));
        budgets.recorded(entry, (&policy, &remedies), place)
    }

    #[test]
    fn what_was_put_back_has_its_account_under_its_new_name() {
        let mut budgets = Budgets::default();
        let begins = |n: u32| entry(0, "s", &format!("recover op{n} begins: ordered by ada"));
        assert_eq!(tell(&mut budgets, &begins(1)), Some(Ok(())));
        let text = "s is what was restored; what it was until now is s-before-2, and is retired";
        assert_eq!(tell(&mut budgets, &entry(0, "s", text)), None);
        assert_eq!(tell(&mut budgets, &begins(3)), Some(Ok(())));
        assert_eq!(budgets.underway.keys().collect::<Vec<_>>(), ["s", "s-before-2"]);
    }

    #[test]
    fn shares_are_counted_from_what_begins_and_ends() {
        let mut budgets = Budgets::default();
        let begins =
            |n: u32| entry(0, &format!("s{n}"), &format!("recover op{n} begins: ordered by ada"));
        assert_eq!(tell(&mut budgets, &begins(1)), Some(Ok(())));
        assert_eq!(tell(&mut budgets, &begins(2)), Some(Ok(())));
        assert_eq!(
            tell(&mut budgets, &entry(0, "s2", "recover op2: \"stop it\" done in 1 s")),
            None
        );
        let third = tell(&mut budgets, &begins(3)).unwrap().unwrap_err();
        assert!(third.contains("has 3 Repairs at once, 2 are allowed"), "{third}");
        for n in 1..4 {
            tell(&mut budgets, &entry(1, &format!("s{n}"), &format!("recover op{n} done in 1 s")));
        }
        assert_eq!(tell(&mut budgets, &begins(4)), Some(Ok(())));
        let again = tell(&mut budgets, &entry(2, "s4", "recover op5 begins: ordered by ada"));
        assert!(again.unwrap().unwrap_err().contains("op4 had not ended"));
        assert_eq!(tell(&mut budgets, &entry(2, "s9", "rejoin op9 begins: ordered by ada")), None);
    }

    #[test]
    fn a_remedy_that_runs_too_often_or_too_soon_is_found() {
        let mut budgets = Budgets::default();
        let run = |budgets: &mut Budgets, n: u64, at: u64| {
            let said =
                tell(budgets, &entry(at, "s", &format!("recover op{n} begins: remedy hung")));
            tell(budgets, &entry(at + 1, "s", &format!("recover op{n} done in 1 s")));
            said.unwrap()
        };
        assert_eq!(run(&mut budgets, 1, 0), Ok(()));
        let soon = run(&mut budgets, 2, 20).unwrap_err();
        assert!(soon.contains("19 s after it had"), "{soon}");
        assert_eq!(run(&mut budgets, 3, 200), Ok(()));
        assert!(run(&mut budgets, 4, 400).unwrap_err().contains("ran 4 times within"));
        assert_eq!(run(&mut budgets, 5, 3000), Ok(()), "its window is over");
    }

    #[test]
    fn jobs_are_counted_from_goals_until_they_are_told_of() {
        let policy = Policy { backup_repository_max: 1, ..Policy::default() };
        let mut budgets = Budgets::default();
        budgets.begin_job(MemberId(1), 7, 0);
        budgets.begin_job(MemberId(1), 7, 0);
        assert_eq!(budgets.hold_jobs(&policy), Ok(()));
        budgets.begin_job(MemberId(2), 8, 1);
        assert!(budgets.hold_jobs(&policy).unwrap_err().contains("2 jobs at once"));
        budgets.end_job(MemberId(1), Some(6));
        assert!(budgets.hold_jobs(&policy).is_err());
        budgets.end_job(MemberId(1), Some(7));
        assert_eq!(budgets.hold_jobs(&policy), Ok(()));
        let wide = Policy { backup_repository_max: 9, ..Policy::default() };
        budgets.begin_job(MemberId(3), 9, 1);
        assert!(budgets.hold_jobs(&wide).unwrap_err().contains("2 jobs at once on host"));
        budgets.lost(1);
        assert_eq!(budgets.hold_jobs(&wide), Ok(()));
    }
}
