//! A whole fleet on one machine: the controller in this process, agents and gateway in processes of
//! their own, databases nobody's children.

mod hosts;
mod place;
pub mod user;

use std::fs::OpenOptions;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evenkeel_core::backup::engine::Engine;
use evenkeel_core::service::Phase;
use evenkeel_drivers::files::write_synced;
use evenkeel_drivers::image::{self, Software};
use evenkeel_drivers::process::Identity;

use crate::failure::{Failure, Kind, chain};
use crate::find::Context;
use crate::print::{self, Progress};
use crate::rules::Rules;
use crate::verbs::repository::add;
use evenkeel_api::NewRepository;

/// Hosts that do not join in this time are not waited for.
const JOIN_MAX: Duration = Duration::from_secs(10);
/// Between looks at who has.
const JOIN_STEP: Duration = Duration::from_millis(50);

/// How a fleet is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the controller listens.
    pub listen: SocketAddr,
    /// Local hosts.
    pub hosts: u8,
    /// Racks in each zone; none: 0.
    pub racks: u8,
    /// When a killed agent is started again.
    pub respawn_after: Option<Duration>,
    /// Directories each host keeps ready.
    pub pool: usize,
    /// What packs archives that begin.
    pub backup_engine: Engine,
    /// The rules it runs by.
    pub rules: Rules,
    /// Where fetched images are.
    pub images: PathBuf,
}

/// Runs a fleet until it is told to end.
pub fn run(context: &Context, options: &Options) -> Result<(), Failure> {
    let data = context.data();
    if rustix::process::geteuid().is_root() {
        // Only returns if it could not be done.
        return Err(user::become_evenkeel(&data));
    }
    logging();
    place::make(&data)?;
    let _lock = lock(&data)?;
    write_identity(&data.join("up.json"))?;
    let program = place::own_program(&data)?;
    let failed = |error| Failure::new(Kind::Failed, chain(&error));
    find_image(Software::Postgres, &options.images).map_err(failed)?;
    if let Err(error) = find_image(Software::PgBouncer, &options.images) {
        // Everything else goes on without; a finding names who misses it.
        print::note(&format!("no pooled endpoints: {}", chain(&error)));
    }
    find_engine(options)?;
    runtime()?.block_on(serve(context, options, &data, &program))
}

async fn serve(
    context: &Context,
    options: &Options,
    data: &Path,
    program: &Path,
) -> Result<(), Failure> {
    let failed = |error| Failure::new(Kind::Failed, chain(&error));
    let setup = evenkeel_controller::Options {
        listen: options.listen,
        backup_engine: options.backup_engine,
        policy: options.rules.policy()?,
        remedies: options.rules.remedies()?,
        alerts: options.rules.alerts(),
        procedures: options.rules.procedures()?,
        vault: Some(std::sync::Arc::new(crate::vault::Repositories)),
        driller: Some(std::sync::Arc::new(crate::driller::OverApi { data: data.to_owned() })),
        ..evenkeel_controller::Options::new(data.join("controller"))
    };
    let mut running = evenkeel_controller::start(setup).await.map_err(failed)?;
    let hosts = hosts::Hosts::start(data, program, options)?;
    joined(context, usize::from(options.hosts)).await;
    repository(context, data).await;
    let hint = context.hint();
    print::line(&format!("the fleet is up: http://{} (data {})", running.address, data.display()));
    print::line(&format!("{} hosts in zones a, b, c; go on in another terminal:", options.hosts));
    print::line(&format!("  evenkeel create postgres orders{hint}"));
    print::line(&format!("  psql \"$(evenkeel url orders{hint})\""));
    print::line(&format!("  evenkeel list{hint}"));
    if crate::verbs::key::unsaved(context) {
        print::line(
            "nobody has a copy of this fleet's key yet, without which no archive can be read:",
        );
        print::line(&format!(
            "  evenkeel key export --to FILE{hint}; evenkeel key confirm --file COPY{hint}"
        ));
    }
    let ended = tokio::select! {
        () = signals() => Ok(()),
        error = running.failed() => Err(failed(error)),
    };
    hosts.leave();
    let serving = serving(context).await;
    running.stop().await;
    print::line(&format!(
        "the controller ended; agents and gateway go on, {serving}. Stop all of it: evenkeel \
         down{hint}"
    ));
    ended
}

/// Waits until every host has joined and can take members, so that what is ordered next finds them.
/// Whoever does not come in time is told of by `doctor` and `host list`.
async fn joined(context: &Context, hosts: usize) {
    let end = Instant::now() + JOIN_MAX;
    loop {
        let context = context.clone();
        let asked = tokio::task::spawn_blocking(move || context.client().ok()?.hosts().ok());
        let all = asked.await.ok().flatten().unwrap_or_default();
        let ready =
            |host: &&evenkeel_api::view::Host| host.heard_ms.is_some() && host.image.is_some();
        if all.iter().filter(ready).count() >= hosts || Instant::now() > end {
            return;
        }
        tokio::time::sleep(JOIN_STEP).await;
    }
}

/// Gives a fleet without any repository its own: a directory beside its data. It survives members and
/// services, not this disk; `doctor` says so.
async fn repository(context: &Context, data: &Path) {
    let (context, directory) = (context.clone(), data.join("repository"));
    let added = tokio::task::spawn_blocking(move || {
        let client = context.client()?;
        if client.repositories()?.is_empty() {
            let directory = std::path::absolute(directory)?;
            let directory = Some(directory.display().to_string());
            let name = "local".to_owned();
            add(&client, &NewRepository { name, directory, bucket: None })?;
        }
        Ok::<(), Failure>(())
    });
    match added.await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => print::note(&format!("no repository: {failure}")),
        Err(error) => print::note(&format!("no repository: {error}")),
    }
}

/// How many databases go on serving, in words.
async fn serving(context: &Context) -> String {
    let context = context.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let services = context.client().ok()?.services().ok()?;
        Some(services.iter().filter(|service| service.phase == Phase::Serving).count())
    });
    match asked.await {
        Ok(Some(1)) => "and 1 database goes on serving".to_owned(),
        Ok(Some(count)) => format!("and {count} databases go on serving"),
        _ => "and databases go on serving".to_owned(),
    }
}

/// Finds a piece of software, or fetches it.
fn find_image(software: Software, images: &Path) -> Result<(), image::Error> {
    if image::any(software, images).is_ok() {
        return Ok(());
    }
    print::note(&format!(
        "{software} is not installed here; fetching it (nothing of the system is changed)"
    ));
    let mut progress = Progress::default();
    let told = std::cell::RefCell::new(&mut progress);
    let fetched = image::fetch(software, images, &|text: &str| told.borrow_mut().show(text));
    progress.end();
    fetched.map(|_| ())
}

/// Finds what archives are packed with, or fetches it. Without the engine that was asked for there is no
/// fleet; without another's, services that have it say so.
fn find_engine(options: &Options) -> Result<(), Failure> {
    if options.backup_engine != Engine::PgBackRest {
        return Ok(());
    }
    let found = find_image(Software::PgBackRest, &options.images);
    found.map_err(|error| Failure::new(Kind::Failed, chain(&error)))
}

/// Locks a data directory; says who has it.
fn lock(data: &Path) -> Result<std::fs::File, Failure> {
    let path = data.join("up.lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let mut file = options.open(&path)?;
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    if rustix::fs::flock(&file, operation).is_ok() {
        file.set_len(0)?;
        std::io::Write::write_all(&mut file, std::process::id().to_string().as_bytes())?;
        return Ok(file);
    }
    let mut holder = String::new();
    file.read_to_string(&mut holder)?;
    let text = format!(
        "a fleet runs on {} already (process {holder}); use another --data, or stop it with \
         `evenkeel down --data {}`",
        data.display(),
        data.display()
    );
    Err(Failure::new(Kind::Refused, text))
}

/// Writes down who this process is, for `down`.
pub fn write_identity(file: &Path) -> Result<(), Failure> {
    let identity = Identity::of(std::process::id());
    let text = serde_json::to_vec(&identity).map_err(anyhow::Error::from)?;
    write_synced(file, &text)?;
    Ok(())
}

/// The command that starts a process as nobody's child: this program, from where it runs.
pub fn launcher() -> Result<Vec<String>, Failure> {
    let program: PathBuf = std::env::current_exe()?;
    Ok(vec![program.display().to_string(), "launch".to_owned()])
}

/// A runtime for the fleet's processes. Two workers: they wait far more than they work.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(128)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()?;
    Ok(runtime)
}

/// Waits for somebody to end this process.
pub async fn signals() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Logs to stderr; `EVENKEEL_LOG` says how much.
pub fn logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("EVENKEEL_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new("warn,evenkeel_agent=info,evenkeel_gateway=info")
    });
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
