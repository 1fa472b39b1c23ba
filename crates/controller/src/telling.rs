//! Channels and watcher, joined to the cell: deliveries go out, what became of them comes back, and the
//! watcher hears of the journal's head for as long as the cell's thread answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::alert::Delivery;
use evenkeel_core::incident::chain::Step;
use evenkeel_core::time::Span;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::alert::{self, Channels, Config, Head, Sender, Watch};
use crate::cell_thread::Handle;
use crate::{AlertPort, Alerts, Error, Parts};

/// A ping carries a head that is no older than this part of its interval.
const FRESH: u32 = 2;

/// Where the file lies that says whom to tell, and who knows the variables it names.
#[derive(Clone, Debug)]
pub struct AlertFile {
    /// The file.
    pub path: PathBuf,
    /// A variable's value. Only whoever starts the controller sees an environment.
    pub variable: fn(&str) -> Option<String>,
}

struct Lanes(Sender);

impl AlertPort for Lanes {
    fn send(&self, delivery: Delivery) {
        self.0.send(delivery);
    }
}

/// Parts with the channels that a file describes, if there is one; and who watches.
///
/// # Errors
/// As [`open`].
pub(crate) fn join(
    parts: Parts,
    file: Option<&AlertFile>,
) -> Result<(Parts, Option<Arc<Watch>>), Error> {
    let Some(file) = file else { return Ok((parts, None)) };
    let (alerts, watch) = open(file, &parts.store.id().0)?;
    Ok((Parts { alerts, ..parts }, watch.map(Arc::new)))
}

/// The port that a file describes, and its watcher.
///
/// # Errors
/// [`Error::Alerts`], with every line that is wrong; or no thread is to be had.
fn open(file: &AlertFile, store: &str) -> Result<(Alerts, Option<Watch>), Error> {
    let config = Config::load(&file.path, file.variable).map_err(Error::Alerts)?;
    for note in config.notes() {
        tracing::warn!("{}: {note}", file.path.display());
    }
    let (channels, watcher) = Channels::new(config, store);
    let span = |wait: Duration| Span(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    let step = |(channel, wait)| Step { channel, ack_within: span(wait) };
    let chain = channels.chain().into_iter().map(step).collect();
    let channels = Arc::new(channels);
    let alerts = Alerts {
        chain,
        open: Box::new(move |teller| match alert::spawn(channels, move |told| teller.told(told)) {
            Ok(sender) => Box::new(Lanes(sender)),
            Err(error) => {
                tracing::error!(%error, "alert channels have no threads: nobody is told");
                Box::new(NoThreads)
            }
        }),
    };
    let watch = watcher.map(|watcher| watcher.watch(store)).transpose().map_err(Error::Thread)?;
    Ok((alerts, watch))
}

/// The system gave no threads: what is sent is answered by silence, which the cell takes for a failure.
struct NoThreads;

impl AlertPort for NoThreads {
    fn send(&self, delivery: Delivery) {
        tracing::error!(channel = %delivery.channel, "an alert has no thread to be sent by");
    }
}

/// Has the watcher be told, where there is one.
pub(crate) fn beat_if(
    watcher: Option<Arc<Watch>>,
    cell: &Handle,
    stopping: &watch::Receiver<bool>,
    server: &mut JoinSet<()>,
) {
    if let Some(watcher) = watcher {
        server.spawn(beat(watcher, cell.clone(), stopping.clone()));
    }
}

/// Tells the watcher where the journal ends, for as long as the cell's thread says so.
async fn beat(watcher: Arc<Watch>, cell: Handle, mut stopping: watch::Receiver<bool>) {
    loop {
        let newest = cell.ask(|seen| seen.store.journal(None, None, 1)).await;
        if let Ok(Ok(entries)) = newest {
            let head = entries.last().map_or_else(
                || Head { position: 0, digest: String::new() },
                |entry| Head { position: entry.position, digest: entry.link.to_string() },
            );
            watcher.beat(head);
        }
        tokio::select! {
            () = tokio::time::sleep(watcher.every() / FRESH) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}
