//! Archives under many services: what proofs on rotation do to writers, and what a burnt host takes with it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use evenkeel_drivers::image::Image;
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Kind};
use crate::print;
use crate::stage::{Stage, signal};
use crate::verbs::bench::clients::{self, Session};
use crate::verbs::bench::{backed_up, on_stage, pairs, spread};

/// How the fleet is started: a host that burns stays dead.
const FLAGS: [&str; 2] = ["--respawn-after", "never"];
/// How long writers are watched before the proofs begin.
const BEFORE: Duration = Duration::from_secs(60);
/// Every service is written to so often.
const EVERY: Duration = Duration::from_millis(500);
/// Services that one thread writes to.
const SHARE: usize = 10;
/// The row that a burnt service's writer writes so often is how its loss is told.
const TICK: Duration = Duration::from_millis(50);
/// A segment of log goes after a minute at the latest, and its fate is known within this.
const SEGMENT: Duration = Duration::from_secs(90);

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// All services proven one after another, under writers: their commits before and meanwhile.
    Proofs,
    /// A host without standbys burns: what is missing afterwards.
    Burn,
}

/// Measures and prints.
pub fn run(services: usize, burns: usize, only: &[Part]) -> Result<(), Failure> {
    let wanted = |part: Part| only.is_empty() || only.contains(&part);
    on_stage("archives", &FLAGS, |stage| {
        stage.start()?;
        let mut figures = Map::new();
        if wanted(Part::Proofs) {
            figures.insert("proofs".into(), proofs(stage, services)?);
        }
        if wanted(Part::Burn) {
            figures.insert("burn".into(), burn(stage, burns)?);
        }
        Ok(Value::Object(figures))
    })
}

/// What writers saw, in milliseconds a commit.
fn commits(took: &[Duration]) -> Value {
    let all: Vec<f64> = took.iter().map(|one| one.as_secs_f64() * 1000.0).collect();
    pairs::in_short(&all)
}

/// Writers of many services that go on until they are ended.
struct Writers {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<(Instant, Duration)>>>,
}

impl Writers {
    fn start(stage: &Stage, image: &Image, names: &[String]) -> Result<Self, Failure> {
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for names in names.chunks(SHARE) {
            let mut sessions = Vec::new();
            for name in names {
                let url = stage.verb(&["url", name])?.trim().to_owned();
                clients::sql(image, &url, "CREATE TABLE IF NOT EXISTS beat (n bigint)");
                sessions.push(Session::open(image, &url)?);
            }
            let over = Arc::clone(&over);
            threads.push(std::thread::spawn(move || write_on(&mut sessions, &over)));
        }
        Ok(Self { over, threads })
    }

    /// Ends them; when each commit was begun, and how long it took.
    fn end(self) -> Result<Vec<(Instant, Duration)>, Failure> {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in self.threads {
            all.extend(thread.join().map_err(|_| Failure::new(Kind::Failed, "a writer broke"))?);
        }
        Ok(all)
    }
}

fn write_on(sessions: &mut [Session], over: &AtomicBool) -> Vec<(Instant, Duration)> {
    let mut all = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let round = Instant::now();
        for session in &mut *sessions {
            let began = Instant::now();
            if session.says("INSERT INTO beat VALUES (1) RETURNING 'here'") {
                all.push((began, began.elapsed()));
            }
        }
        // The next round is not before its time.
        std::thread::sleep(EVERY.saturating_sub(round.elapsed()));
    }
    all
}

fn proofs(stage: &mut Stage, services: usize) -> Result<Value, Failure> {
    let image = stage.image()?;
    let names: Vec<String> = (0..services).map(|n| format!("db-{n}")).collect();
    for name in &names {
        stage.verb(&["create", "postgres", name])?;
    }
    backed_up(stage, services)?;
    let writers = Writers::start(stage, &image, &names)?;
    print::note(&format!("written to for {} s", BEFORE.as_secs()));
    std::thread::sleep(BEFORE);
    let began = Instant::now();
    let (mut took, mut restored) = (Vec::new(), Vec::new());
    for (at, name) in names.iter().enumerate() {
        let asked = Instant::now();
        stage.verb(&["prove", name])?;
        took.push(asked.elapsed().as_secs_f64());
        let shown = stage.json(&["show", name]);
        restored.extend(shown["backup"]["restore_seconds"].as_f64());
        print::note(&format!("{} of {services} proven", at + 1));
    }
    let lasted = began.elapsed().as_secs_f64();
    let all = writers.end()?;
    let (before, during): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _)| *at < began);
    let only =
        |all: Vec<(Instant, Duration)>| all.into_iter().map(|(_, took)| took).collect::<Vec<_>>();
    for name in &names {
        stage.verb(&["terminate", name, "--confirm", name])?;
    }
    Ok(json!({
        "services": services, "proven_in_s": lasted, "proof_s": spread(took),
        "restore_s": spread(restored),
        "commit_ms_before": commits(&only(before)), "commit_ms_during": commits(&only(during)),
    }))
}

fn burn(stage: &mut Stage, burns: usize) -> Result<Value, Failure> {
    let image = stage.image()?;
    let (mut lost, mut back) = (Vec::new(), Vec::new());
    for run in 0..burns {
        let (name, copy) = (format!("burnt-{run}"), format!("again-{run}"));
        stage.verb(&["create", "postgres", &name])?;
        stage.verb(&["backup", &name, "--wait"])?;
        let url = stage.verb(&["url", &name])?.trim().to_owned();
        clients::sql(&image, &url, "CREATE TABLE beat (n bigint, at timestamptz DEFAULT now())");
        let mut session = Session::open(&image, &url)?;
        // Some segments go in this time, and the fire comes at another moment of one each time.
        let lasts = SEGMENT + Duration::from_secs(17) * u32::try_from(run % 4).unwrap_or(0);
        let began = Instant::now();
        let mut written = Vec::new();
        while began.elapsed() < lasts {
            let number = written.len();
            if session.says(&format!("INSERT INTO beat VALUES ({number}) RETURNING 'here'")) {
                written.push(Instant::now());
            }
            std::thread::sleep(TICK);
        }
        let shown = stage.json(&["show", &name]);
        let host = shown["members"][0]["host"].as_str().unwrap_or_default().to_owned();
        let fire = Instant::now();
        signal(stage.process(&format!("hosts/{host}/pid.json"))?, Signal::KILL)?;
        signal(stage.server(&name)?, Signal::KILL)?;
        fs::remove_dir_all(stage.data().join("hosts").join(&host).join("members"))?;
        stage.until("known to be gone", |stage| stage.state(&name) != "available")?;
        stage.verb(&["fork", &name, &copy, "--timeout", "600"])?;
        back.push(fire.elapsed().as_secs_f64());
        let url = stage.verb(&["url", &copy])?.trim().to_owned();
        let kept = clients::number(&image, &url, "SELECT count(*) FROM beat")?;
        // Rows are written one after another: those that are there are the first ones.
        let first_lost = usize::try_from(kept).ok().and_then(|kept| written.get(kept));
        lost.push(first_lost.map_or(0.0, |at| fire.duration_since(*at).as_secs_f64()));
        print::note(&format!("burnt {}: the last {:.1} s are lost", run + 1, lost[run]));
        stage.verb(&["terminate", &copy, "--confirm", &copy])?;
        stage.start_again(&FLAGS)?;
    }
    Ok(json!({
        "archive_timeout_s": 60, "lost_s": spread(lost), "back_after_s": spread(back),
    }))
}
