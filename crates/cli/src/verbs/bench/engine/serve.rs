//! A controller over the store, until its input ends. Whom it would tell of incidents is counted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_controller::{AlertPort, Alerts, Options, Parts, Teller};
use evenkeel_core::alert::{Delivery, Purpose, Receipt, Told};
use evenkeel_core::incident::chain::Step;
use evenkeel_core::label::Label;
use evenkeel_core::time::Span;
use evenkeel_store::sqlite;

use super::fill::failed;
use super::sizes::Sizes;
use crate::failure::{Failure, Kind, chain};
use crate::print;

/// A channel that confirms everything.
struct Counting {
    raised: Arc<AtomicU64>,
    teller: Teller,
}

impl AlertPort for Counting {
    fn send(&self, delivery: Delivery) {
        if delivery.notice.purpose == Purpose::Raise {
            self.raised.fetch_add(1, Ordering::Relaxed);
            print::note(&format!("the controller tells people: {}", delivery.notice.title));
        }
        let outcome = Ok(Receipt { text: "counted".to_owned() });
        self.teller.told(Told::new(delivery.number, outcome));
    }
}

/// Says `ready` when it answers, and to each line on its input how many alerts were raised so far.
pub fn run(sizes: &Sizes, dir: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(serve(sizes, dir))
}

async fn serve(sizes: &Sizes, dir: &Path) -> Result<(), Failure> {
    let store = sqlite::open(&dir.join("store.db")).map_err(failed)?;
    let mut options = Options::new(dir.to_owned());
    options.cell_hosts_max = sizes.cell_hosts_max();
    let raised = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&raised);
    let channel = Label::new("counted").map_err(anyhow::Error::from)?;
    let parts = Parts {
        store: Box::new(store),
        kinds: evenkeel_kinds::KINDS,
        remedies: Arc::clone(&options.remedies),
        alerts: Alerts {
            chain: vec![Step { channel, ack_within: Span::mins(5) }],
            open: Box::new(move |teller| Box::new(Counting { raised: counted, teller })),
        },
    };
    let running = evenkeel_controller::start_with(options, parts).await;
    let running = running.map_err(|error| Failure::new(Kind::Failed, chain(&error)))?;
    print::line("ready");
    let asked = tokio::task::spawn_blocking(move || {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            print::line(&raised.load(Ordering::Relaxed).to_string());
        }
    });
    asked.await.map_err(anyhow::Error::from)?;
    running.stop().await;
    Ok(())
}
