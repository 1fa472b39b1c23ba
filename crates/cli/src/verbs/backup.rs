//! `backup`, `prove`: jobs on a service's archive.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use evenkeel_api::order::Accepted;
use evenkeel_api::{Client, GiveUpOrder};
use evenkeel_core::view;

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print::{self, Progress};

/// Between looks at a job.
const STEP: Duration = Duration::from_millis(100);

/// Take a backup of a service now, or look at those there are.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:
  evenkeel backup orders --wait
  evenkeel backup list orders
  evenkeel backup show b12 --json
  evenkeel backup give-up orders --confirm orders --reason \"its disk is full before the bucket is back\""
)]
pub struct Backup {
    #[command(subcommand)]
    look: Option<Look>,
    /// The service's name.
    name: Option<String>,
    #[command(flatten)]
    wait: JobWait,
}

#[derive(Debug, Subcommand)]
enum Look {
    /// A service's backups, newest first.
    List {
        /// The service's name.
        name: String,
    },
    /// One backup.
    Show {
        /// Its id, as `backup list` shows it.
        id: String,
    },
    /// Give up the log that no repository took yet, so that a disk has room again, and take a backup at
    /// once. What was written since the last archived log can then be restored from nowhere but the disks,
    /// until that backup is complete; the time before it stays a hole.
    GiveUp {
        /// The service's name.
        name: String,
        /// Why, for the journal.
        #[arg(long)]
        reason: String,
        /// The service's name again.
        #[arg(long, value_name = "NAME", default_value = "")]
        confirm: String,
    },
}

/// Restore the newest backup into a scratch member now, check everything, time it, drop it.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel prove orders")]
pub struct Prove {
    /// The service's name.
    name: String,
    /// Return as soon as the order is accepted.
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting after this many seconds; the proof goes on.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    timeout: u64,
}

#[derive(Clone, Debug, Args)]
struct JobWait {
    /// Wait until it has ended.
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this many seconds; the backup goes on.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    timeout: u64,
}

impl Backup {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match (&self.look, &self.name) {
            (Some(Look::List { name }), _) => list(context, &client.backups(name)?),
            (Some(Look::Show { id }), _) => show(context, &client.backup(id)?),
            (Some(Look::GiveUp { name, reason, confirm }), _) => {
                let (confirm, reason) = (confirm.clone(), reason.clone());
                let accepted = client.give_up_log(name, &GiveUpOrder { confirm, reason })?;
                if context.json {
                    return print::json(&accepted);
                }
                print::line(&accepted.text);
                Ok(())
            }
            (None, Some(name)) => self.take(context, &client, name),
            (None, None) => {
                Err(Failure::new(Kind::Usage, "name a service: `evenkeel backup NAME`".to_owned()))
            }
        }
    }

    fn take(&self, context: &Context, client: &Client, name: &str) -> Result<(), Failure> {
        let accepted = client.take_backup(name)?;
        let id = format!("b{}", accepted.job.unwrap_or(0));
        if !self.wait.wait {
            return told(context, &accepted, &id);
        }
        ended(client, name, &id, self.wait.timeout)?;
        show(context, &client.backup(&id)?)
    }
}

impl Prove {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let accepted = client.prove(&self.name)?;
        let id = format!("b{}", accepted.job.unwrap_or(0));
        if self.no_wait {
            return told(context, &accepted, &id);
        }
        let service = ended(&client, &self.name, &id, self.timeout)?;
        if context.json {
            return print::json(&service.backup);
        }
        let Some(backup) = service.backup else { return Ok(()) };
        let took = backup.restore_seconds.unwrap_or_default();
        let window = backup.loss_window_seconds.unwrap_or_default();
        print::line(&format!(
            "{} is proven: restored in {took:.1} s, its newest write was {window} s old",
            self.name
        ));
        Ok(())
    }
}

fn told(context: &Context, accepted: &Accepted, id: &str) -> Result<(), Failure> {
    if context.json {
        return print::json(accepted);
    }
    print::line(&format!("{}: {id}", accepted.text));
    Ok(())
}

/// Waits until a job has ended; the service as it is then.
fn ended(client: &Client, name: &str, id: &str, timeout: u64) -> Result<view::Service, Failure> {
    let (began, mut progress) = (Instant::now(), Progress::default());
    loop {
        let service = client.service(name)?;
        let backup = service.backup.as_ref();
        let job = backup.and_then(|backup| backup.job.as_ref()).filter(|job| job.id == id);
        let Some(job) = job else {
            progress.end();
            let failed = backup.and_then(|backup| backup.failed.as_ref());
            return match failed.filter(|failed| failed.id == id) {
                Some(failed) => Err(Failure::new(
                    Kind::Failed,
                    format!("{id} of {name} failed: {}", failed.why),
                )),
                None => Ok(service),
            };
        };
        progress.show(&format!("{name}: {} {id} for {}", job.what, print::span(job.since_ms)));
        if began.elapsed() > Duration::from_secs(timeout) {
            progress.end();
            let text = format!("{id} of {name} is under way after {timeout} s; it goes on");
            return Err(Failure::new(Kind::TimedOut, text));
        }
        std::thread::sleep(STEP);
    }
}

fn list(context: &Context, backups: &[view::BackupRow]) -> Result<(), Failure> {
    if context.json {
        return print::json(&backups);
    }
    let heading = ["BACKUP", "ENDED", "DATA", "STORED", "REPOSITORIES", "PROVEN"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for backup in backups {
        rows.push(vec![
            backup.id.clone(),
            backup.ended_at.clone(),
            mebibytes(backup.bytes),
            mebibytes(backup.stored_bytes),
            backup.repositories.join(","),
            backup.proven_at.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    print::table(&rows);
    Ok(())
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn show(context: &Context, backup: &view::BackupRow) -> Result<(), Failure> {
    if context.json {
        return print::json(backup);
    }
    print::heading(&format!("backup {} of {}", backup.id, backup.service));
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    print::table(&[
        row("begun", backup.begun_at.clone()),
        row("complete", backup.ended_at.clone()),
        row("log", format!("{} to {} on timeline {}", backup.from, backup.to, backup.timeline)),
        row("data", mebibytes(backup.bytes)),
        row(
            "stored",
            format!("{} in {}", mebibytes(backup.stored_bytes), backup.repositories.join(", ")),
        ),
        row(
            "proven",
            backup.proven_at.clone().unwrap_or_else(|| "not yet, or an older one".to_owned()),
        ),
    ]);
    backup.wrong.iter().for_each(|wrong| print::line(&format!("wrong: {wrong}")));
    Ok(())
}
