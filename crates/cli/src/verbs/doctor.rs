//! `doctor`: is everything as it should be?

use std::path::Path;

use clap::Args;
use evenkeel_api::DoctorItem;
use evenkeel_store::Store;
use evenkeel_store::sqlite;

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print;

/// Share of a disk below which a data directory is in danger.
const FREE_MIN_PERCENT: u64 = 5;

/// Check the controller, its store and this machine; exit code 7 if anything is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel doctor
  evenkeel doctor --data /var/lib/evenkeel --json
  evenkeel doctor --deep")]
pub struct Doctor {
    /// Go through the whole store and journal again, also what was found sound before.
    #[arg(long)]
    deep: bool,
}

impl Doctor {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let asked = context.client().and_then(|client| {
            Ok(if self.deep { client.doctor_deep()? } else { client.doctor()? })
        });
        let mut items = match asked {
            Ok(items) => items,
            Err(failure) => offline(context, &failure),
        };
        if context.server.is_none() && context.data().exists() {
            items.push(free_space(&context.data()));
            items.push(image(&context.data()));
        }
        let wrong = items.iter().filter(|item| !item.ok).count();
        if context.json {
            print::json(&items)?;
        } else {
            for item in &items {
                let mark = if item.ok { "ok   " } else { "WRONG" };
                print::line(&format!("{mark}  {}: {}", item.name, item.detail));
                if !item.ok && !item.fix.is_empty() {
                    print::line(&format!("       fix: {}", item.fix));
                }
            }
        }
        match wrong {
            0 => Ok(()),
            _ => Err(Failure::new(Kind::Unwell, format!("{wrong} of {} are wrong", items.len()))),
        }
    }
}

/// Without a controller the store can be looked at directly.
fn offline(context: &Context, failure: &Failure) -> Vec<DoctorItem> {
    let mut items = vec![DoctorItem {
        name: "controller".to_owned(),
        ok: false,
        detail: failure.to_string(),
        fix: "start it: `evenkeel up`; hosts, gateways and posture were not checked".to_owned(),
    }];
    let file = context.data().join("controller/store.db");
    if file.exists() {
        let verified = sqlite::open_existing(&file).and_then(|store| store.verify());
        items.push(match verified {
            Ok(found) => DoctorItem {
                name: "store".to_owned(),
                ok: true,
                detail: format!("{} rows, {} journal entries", found.rows, found.entries),
                fix: String::new(),
            },
            Err(error) => DoctorItem {
                name: "store".to_owned(),
                ok: false,
                detail: crate::failure::chain(&error),
                fix: format!("put back a backup, or the copy {}.good", file.display()),
            },
        });
    }
    items
}

fn free_space(data: &Path) -> DoctorItem {
    let name = "free space".to_owned();
    match evenkeel_drivers::files::room(data) {
        Ok(found) => {
            let percent = found.free_percent();
            DoctorItem {
                name,
                ok: percent >= FREE_MIN_PERCENT,
                detail: format!("{percent} % of the disk of {} is free", data.display()),
                fix: "free space, or move the data directory".to_owned(),
            }
        }
        Err(error) => DoctorItem {
            name,
            ok: false,
            detail: format!("{} cannot be looked at: {error}", data.display()),
            fix: "check the mount".to_owned(),
        },
    }
}

fn image(data: &Path) -> DoctorItem {
    let name = "image".to_owned();
    match evenkeel_drivers::image::any(
        evenkeel_drivers::image::Software::Postgres,
        &data.join("images"),
    ) {
        Ok(image) => DoctorItem {
            name,
            ok: true,
            detail: format!("{} ({})", image.digest.short(), image.bin.display()),
            fix: String::new(),
        },
        Err(error) => {
            let fix = "install PostgreSQL, or let `evenkeel up` fetch it".to_owned();
            DoctorItem { name, ok: false, detail: error.to_string(), fix }
        }
    }
}
