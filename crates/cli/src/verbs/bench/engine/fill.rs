//! A store with a fleet that was installed long ago, made by the cells themselves.

use std::fs;
use std::path::Path;

use evenkeel_controller::FleetKey;
use evenkeel_core::cell::Setup;
use evenkeel_core::goal::StoreId;
use evenkeel_core::id::CellId;
use evenkeel_core::policy::Policy;
use evenkeel_core::row::{Write, Writes};
use evenkeel_core::time::{Span, Time};
use evenkeel_sim::obedient::{self, Obedient, Shape};
use evenkeel_store::{Store as _, sqlite};

use super::sizes::Sizes;
use crate::failure::{Failure, Kind, chain};

/// The fleet is older than anything that an install leaves pending.
const AGE: Span = Span::secs(3_600);

/// A failure of the store.
pub fn failed(error: evenkeel_store::Error) -> Failure {
    Failure::new(Kind::Failed, chain(&error))
}

/// What the cells of a store are made with: what a controller with default policies would take.
pub fn setup(store: StoreId, cell: CellId) -> Setup {
    Setup { cell, store, policy: Policy::default(), ..obedient::setup(cell.0) }
}

/// Makes it, in a controller's directory.
pub fn run(sizes: &Sizes, dir: &Path) -> Result<(), Failure> {
    let digits = dir.join("key");
    fs::write(&digits, [7; 32])?;
    let key = FleetKey::read(&digits).map_err(anyhow::Error::from)?;
    key.write(&dir.join("fleet.key")).map_err(anyhow::Error::from)?;
    let mut store = sqlite::open(&dir.join("store.db")).map_err(failed)?;
    let wall = u64::try_from(evenkeel_controller::wall()).unwrap_or(1);
    for cell in sizes.cells() {
        let id = CellId(cell.number);
        let hosts = u32::try_from(cell.hosts.len()).unwrap_or(u32::MAX);
        let shape = Shape { services: cell.services, hosts, archives: false };
        let before = u64::from(cell.hosts.start - 1);
        let begun = Time(wall) - AGE;
        let mut made = Obedient::of_fleet(setup(store.id(), id), before, begun, shape);
        made.rest();
        let rows = made.rows().into_iter().map(|(key, body)| Write { key, body: Some(body) });
        let writes = Writes { rows: rows.collect(), journal: Vec::new() };
        store.commit(id, &writes).map_err(failed)?;
    }
    Ok(())
}
