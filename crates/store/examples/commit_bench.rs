//! Commits a second and rows a second for batches of three sizes; prints one JSON object a size.
use std::time::Instant;

use evenkeel_core::id::CellId;
use evenkeel_core::row::{Key, Table, Write, Writes};
use evenkeel_store::{Store, sqlite};

const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    for (rows, commits) in [(1_u64, 200_u64), (100, 50), (10_000, 5)] {
        let mut rates = Vec::new();
        for run in 0..RUNS {
            let mut store = sqlite::open(&dir.path().join(format!("{rows}-{run}.db")))?;
            let began = Instant::now();
            for commit in 0..commits {
                let row = |id| Write {
                    key: Key { table: Table::Service, id: commit * rows + id },
                    body: Some(vec![b'x'; 500]),
                };
                let writes = Writes { rows: (0..rows).map(row).collect(), journal: Vec::new() };
                store.commit(CellId(1), &writes)?;
            }
            rates.push(f64::from(u32::try_from(commits)?) / began.elapsed().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        let (low, median, high) = (rates[0], rates[RUNS / 2], rates[RUNS - 1]);
        println!(
            "{{\"rows_per_commit\":{rows},\"commits_per_s\":{{\"min\":{low:.1},\"median\":{median:.1},\"max\":{high:.1}}}}}"
        );
    }
    Ok(())
}
