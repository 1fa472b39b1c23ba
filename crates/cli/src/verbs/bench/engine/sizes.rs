//! How many services on how many hosts, and how they are spread over cells.

use std::ops::Range;

use clap::Args;

use crate::failure::{Failure, Kind};

/// Services of one host, where nobody says how many hosts there are.
const PER_HOST: u32 = 50;
/// Services of one cell: two ports each of the policy's range.
const PER_CELL: u32 = 5_000;
/// Hosts of one cell.
const CELL_HOSTS_MAX: u32 = evenkeel_controller::CELL_HOSTS_MAX;

/// A fleet's size.
#[derive(Clone, Copy, Debug, Args)]
pub struct Sizes {
    /// Services, spread over as many cells as their ports need.
    #[arg(long, default_value_t = 10_000)]
    pub services: u32,
    /// Hosts [default: one for each 50 services].
    #[arg(long)]
    hosts: Option<u32>,
}

/// One cell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellSize {
    /// From 1.
    pub number: u32,
    /// Services.
    pub services: u32,
    /// Hosts, from 1 on over all cells.
    pub hosts: Range<u32>,
}

impl Sizes {
    /// So many services on so many hosts.
    pub fn new(services: u32, hosts: u32) -> Self {
        Self { services, hosts: Some(hosts) }
    }

    /// Hosts.
    pub fn hosts(&self) -> u32 {
        self.hosts.unwrap_or_else(|| self.services.div_ceil(PER_HOST))
    }

    /// Whether there is such a fleet.
    pub fn check(&self) -> Result<(), Failure> {
        let (services, hosts) = (self.services, self.hosts());
        let wrong = |text: String| Err(Failure::new(Kind::Usage, text));
        if services == 0 {
            return wrong("--services is 0; a fleet has one at least".to_owned());
        }
        let cells = self.count();
        if hosts < cells {
            return wrong(format!(
                "--hosts is {hosts}, and {services} services need {cells} cells, each with a host; use --hosts {cells} or more"
            ));
        }
        if services < cells {
            return wrong(format!(
                "{hosts} hosts are {cells} cells, each with a service; use --services {cells} or more"
            ));
        }
        Ok(())
    }

    fn count(&self) -> u32 {
        self.services.div_ceil(PER_CELL).max(self.hosts().div_ceil(CELL_HOSTS_MAX))
    }

    /// Its cells, as equal as can be.
    pub fn cells(&self) -> Vec<CellSize> {
        let (count, hosts) = (self.count(), self.hosts());
        let part = |of: u32, n: u32| of / count + u32::from(n < of % count);
        let mut first = 1;
        let cell = |n| {
            let hosts = first..first + part(hosts, n);
            first = hosts.end;
            CellSize { number: n + 1, services: part(self.services, n), hosts }
        };
        (0..count).map(cell).collect()
    }

    /// Hosts of its largest cell.
    pub fn cell_hosts_max(&self) -> u32 {
        self.hosts().div_ceil(self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_equal_and_hold_everything() {
        for (services, hosts) in [(1, 1), (10_000, 200), (12_345, 7), (100, 100), (3_000, 2_500)] {
            let sizes = Sizes::new(services, hosts);
            sizes.check().unwrap();
            let cells = sizes.cells();
            assert_eq!(cells.iter().map(|cell| cell.services).sum::<u32>(), services);
            let mut next = 1;
            for cell in &cells {
                assert_eq!(cell.hosts.start, next);
                next = cell.hosts.end;
                assert!(!cell.hosts.is_empty() && cell.hosts.len() <= 1_000, "{cell:?}");
                assert!((1..=PER_CELL).contains(&cell.services), "{cell:?}");
            }
            assert_eq!(next, hosts + 1);
        }
    }

    #[test]
    fn fleets_that_cannot_be_are_refused_with_what_can() {
        let refused =
            |services, hosts| Sizes::new(services, hosts).check().unwrap_err().to_string();
        assert!(refused(0, 1).contains("one at least"));
        assert!(refused(50_000, 9).contains("use --hosts 10 or more"));
        assert!(refused(2, 3_000).contains("use --services 3 or more"));
    }
}
