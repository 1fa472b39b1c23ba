//! When backups are taken: every service at its own moment, and no more at once than hosts and
//! repositories bear.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{HostId, ServiceId};
use crate::time::{Span, Time};

const DAY: Span = Span::mins(24 * 60);

/// How often, and at which times of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// From one to the next; whole days where there is a window.
    pub every: Span,
    /// Begin of the window, since midnight UTC.
    pub from: Span,
    /// How long the window is open; a day or more: always.
    pub open: Span,
}

impl Schedule {
    /// When a service's next backup is due, if it began the last one then; one that never had any is due at
    /// once. Services with one schedule are spread over its window.
    #[must_use]
    pub fn due(&self, service: ServiceId, last: Option<Time>) -> Time {
        let Some(last) = last else { return Time(0) };
        if self.open >= DAY {
            // The first one was taken when the service was made: that spreads them.
            return last + self.every;
        }
        let own = self.from.0 + spread(service, self.open);
        // The first of its moments after the last one: a window may reach past midnight.
        let day = last.0.saturating_sub(own) / DAY.0;
        let moments = (day..day + 3).map(|day| Time(day * DAY.0 + own));
        let next = moments.into_iter().find(|moment| *moment > last).unwrap_or(last + DAY);
        next + DAY.times((self.every.0 / DAY.0).saturating_sub(1))
    }
}

/// A service's own part of a span.
#[must_use]
pub fn spread(service: ServiceId, over: Span) -> u64 {
    let digest = Digest::of_json(&("backup", service));
    let number = digest.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    number.checked_rem(over.0).unwrap_or(0)
}

/// A backup that is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Of which service.
    pub service: ServiceId,
    /// Since when.
    pub since: Time,
    /// The host that it is taken on.
    pub host: HostId,
    /// The repository that it goes to.
    pub repository: String,
}

/// How many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// On one host.
    pub host: usize,
    /// To one repository.
    pub repository: usize,
}

/// Which are taken now beside those that run, the longest overdue first.
#[must_use]
pub fn pick(due: &[Due], running: &[Due], limits: Limits) -> Vec<ServiceId> {
    let mut order: Vec<&Due> = due.iter().collect();
    order.sort_by_key(|due| (due.since, due.service));
    let mut hosts: BTreeMap<HostId, usize> = BTreeMap::new();
    let mut repositories: BTreeMap<&str, usize> = BTreeMap::new();
    for taken in running {
        *hosts.entry(taken.host).or_default() += 1;
        *repositories.entry(&taken.repository).or_default() += 1;
    }
    let mut picked = Vec::new();
    for due in order {
        let host = hosts.entry(due.host).or_default();
        let repository = repositories.entry(&due.repository).or_default();
        let known = running.iter().any(|running| running.service == due.service);
        if *host < limits.host && *repository < limits.repository && !known {
            (*host, *repository) = (*host + 1, *repository + 1);
            picked.push(due.service);
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    /// A midnight.
    const MIDNIGHT: u64 = 20_000 * 24 * HOUR;

    #[test]
    fn a_backup_is_due_once_in_each_window_at_a_moment_of_its_own() {
        let daily = Schedule { every: DAY, from: Span(22 * HOUR), open: Span(4 * HOUR) };
        let mut moments = std::collections::BTreeSet::new();
        for service in (1..=200).map(ServiceId) {
            // Ordered by a person at noon: the next is in the coming window.
            let mut last = Time(MIDNIGHT + 12 * HOUR);
            for day in 0..10 {
                let due = daily.due(service, Some(last));
                let begin = MIDNIGHT + (22 + day * 24) * HOUR;
                assert!(
                    (begin..begin + 4 * HOUR).contains(&due.0),
                    "{service}, day {day}: {due:?}"
                );
                moments.insert(due.0 - begin);
                // It may begin late.
                last = due + Span(HOUR / 2);
            }
        }
        assert!(moments.len() > 190, "{} moments of 200", moments.len());
        assert!(moments.first() < Some(&(HOUR / 4)) && moments.last() > Some(&(15 * HOUR / 4)));
        assert_eq!(daily.due(ServiceId(1), None), Time(0), "none yet");
    }

    #[test]
    fn without_a_window_it_is_due_when_its_time_has_passed() {
        let always = Schedule { every: Span(6 * HOUR), from: Span(0), open: DAY };
        assert_eq!(always.due(ServiceId(1), Some(Time(MIDNIGHT))), Time(MIDNIGHT + 6 * HOUR));
    }

    #[test]
    fn no_more_are_taken_at_once_than_hosts_and_repositories_bear() {
        let due = |service, host, repository: &str| Due {
            service: ServiceId(service),
            since: Time(1000 - u64::from(service)),
            host: HostId(host),
            repository: repository.to_owned(),
        };
        let all = [due(1, 1, "a"), due(2, 1, "a"), due(3, 2, "a"), due(4, 2, "b"), due(5, 3, "a")];
        let ids = |running: &[Due], host, repository| -> Vec<u32> {
            let picked = pick(&all, running, Limits { host, repository });
            picked.into_iter().map(|service| service.0).collect()
        };
        assert_eq!(ids(&[], 1, 2), [5, 4, 2], "the longest overdue first");
        assert_eq!(ids(&[], 9, 9), [5, 4, 3, 2, 1]);
        assert_eq!(
            ids(&[due(5, 3, "a")], 1, 2),
            [4, 2],
            "what runs counts, and is not begun again"
        );
        assert_eq!(ids(&[], 0, 9), [0; 0]);
    }
}
