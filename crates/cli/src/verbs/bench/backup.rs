//! Backups, restores and log with each engine, beside the same tool by hand: one server, no fleet.
//!
//! A backup is the whole job, which ends when all of its log is archived and its manifest is written; by
//! hand nobody waits for the log. A restore is what an engine does for one: a data directory, on the disk.
//! Log is archived as the server does it, by the same command, one segment after another.
//!
//! Ours and by hand take turns to be first, each on a disk that has nothing left to write, and both
//! begin at the same part of a second: pgBackRest copies nothing before the next second begins, which
//! is up to a second of waiting that has nothing to do with the data. Beside the times are the limits:
//! what the disk takes, and the processor time that was spent, which the cores share at best.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use evenkeel_core::backup::engine::Engine;
use evenkeel_core::backup::job::{Done, Job, What};
use evenkeel_core::backup::lineage::{Archive, BackupId, Lineage, Location, Repository};
use evenkeel_core::driver::{Answer, Driver};
use evenkeel_core::goal::{
    Goal, Identity, Login, Password, RestartBudget, Role, StopMode, StoreId, Want,
};
use evenkeel_core::id::{Incarnation, MemberId, Revision, ServiceId, Term};
use evenkeel_core::kind::Kind as _;
use evenkeel_core::name::ServiceName;
use evenkeel_core::time::Span;
use evenkeel_drivers::Setup;
use evenkeel_drivers::backup::command::Settings;
use evenkeel_drivers::backup::{engine, repository};
use evenkeel_drivers::image::{self, Image, Software};
use serde_json::{Map, Value, json};

use super::{spread, usage};
use crate::failure::{Failure, Kind, chain};
use crate::print;
use crate::up::{launcher, user};

/// Of each figure; an even number, as ours and by hand are first equally often.
const RUNS: u32 = 6;
/// What is written to know what the disk takes.
const DISK_MIB: u32 = 1024;
/// Segments that are archived for one figure.
const SEGMENTS: u32 = 24;
/// Sizes of segments: ours, and PostgreSQL's default.
const SIZES_MIB: [usize; 2] = [4, 16];
/// A server is there within this.
const START_MAX: Duration = Duration::from_secs(60);
/// Between looks whether it is.
const START_STEP: Duration = Duration::from_millis(20);
/// The server's port: nobody but we uses its socket's directory.
const PORT: u16 = 21_999;

/// Measures and prints.
pub fn run(scale: u32) -> Result<(), Failure> {
    let data = PathBuf::from(format!("/tmp/evenkeel-backup-{}", std::process::id()));
    if rustix::process::geteuid().is_root() {
        // Only returns if it could not be done.
        return Err(user::become_evenkeel(&data));
    }
    fs::create_dir_all(&data)?;
    print::note(&format!("measuring in {}", data.display()));
    let bench = Bench::new(&data)?;
    let measured = bench.measure(scale);
    let stopped = bench.driver()?.stop(&bench.goal(Engine::Native, 0), StopMode::Fast);
    let figures = measured?;
    stopped.map_err(|error| failed(&error))?;
    fs::remove_dir_all(&data)?;
    print::json(&figures)
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(Kind::Failed, chain(error))
}

/// What something cost.
struct Cost {
    took_s: f64,
    /// Processor time of ours and of the tool, and not of the server.
    cpu_s: f64,
}

/// A server of one's own, and what is beside it.
struct Bench {
    data: PathBuf,
    setup: Setup,
    image: Image,
    backrest: Image,
}

impl Bench {
    fn new(data: &Path) -> Result<Self, Failure> {
        let images = data.join("images");
        let any = |software| image::any(software, &images).map_err(|error| failed(&error));
        let (image, backrest) = (any(Software::Postgres)?, any(Software::PgBackRest)?);
        let setup = Setup {
            host: "h1".to_owned(),
            members_dir: data.join("members"),
            socket_root: data.join("s"),
            pool_dir: data.join("pool"),
            pool_target: 0,
            image: Some(image.clone()),
            launcher: launcher()?,
            address: "127.0.0.1".to_owned(),
            poolers_dir: data.join("poolers"),
            pooler_image: None,
            backrest_image: Some(backrest.clone()),
        };
        Ok(Self { data: data.to_owned(), setup, image, backrest })
    }

    fn driver(&self) -> Result<Box<dyn Driver>, Failure> {
        let none = || Failure::new(Kind::Failed, "there is no driver for PostgreSQL");
        evenkeel_drivers::driver("postgres", &self.setup).ok_or_else(none)
    }

    fn archive(&self, engine: Engine, generation: u32) -> Result<Archive, Failure> {
        let path = self.data.join("repository").display().to_string();
        let place = Repository { name: "here".to_owned(), location: Location::Directory { path } };
        repository::found(&place).map_err(|error| failed(&error))?;
        Ok(Archive {
            lineage: Lineage(format!("bench/{engine}-{generation}")),
            engine,
            key: Password("0123456789abcdef".repeat(4)),
            wrapped: "wrapped".to_owned(),
            repositories: vec![place],
        })
    }

    /// The member's goal; generation 0 archives nowhere.
    fn goal(&self, engine: Engine, generation: u32) -> Goal {
        let kind = evenkeel_kinds::postgres::Postgres;
        let secret = kind.secret("a password", &[7; 16]);
        let archive = if generation == 0 { None } else { self.archive(engine, generation).ok() };
        Goal {
            store: StoreId("bench".into()),
            identity: Identity {
                service: ServiceId(1),
                name: ServiceName::new("bench").expect("a good name"),
                kind: "postgres".into(),
                plan: "dev".into(),
                endpoint_port: PORT,
                members: Vec::new(),
                key: "fleet".into(),
            }
            .into(),
            member: MemberId(1),
            incarnation: Incarnation(1),
            term: Term(1),
            revision: Revision(1),
            want: Want::Running,
            role: Role::alone(),
            image: String::new(),
            address: "127.0.0.1".into(),
            port: PORT,
            settings: kind.settings(&kind.plans()[0]),
            logins: kind
                .verifier(&secret)
                .map(|verifier| vec![Login { role: "bench".into(), verifier }])
                .unwrap_or_default(),
            restarts: 0,
            stop: StopMode::Fast,
            ends_soon: false,
            fence: None,
            budget: RestartBudget { tries_max: 5, window: Span::mins(10), backoff: Span::secs(1) },
            archive: archive.map(Box::new),
            flush: 0,
            seed: None,
            import: None,
            succeeds: Vec::new(),
            job: None,
            script: None,
        }
    }

    fn measure(&self, scale: u32) -> Result<Value, Failure> {
        print::note(&format!("filling a database of pgbench's scale {scale}"));
        self.fill(scale)?;
        let mut figures = Map::from_iter([
            ("scale".to_owned(), json!(scale)),
            ("database_bytes".to_owned(), json!(bytes_below(&self.server())?)),
            ("cores".to_owned(), json!(std::thread::available_parallelism()?.get())),
            ("disk_write_mb_per_s".to_owned(), self.disk()?),
        ]);
        for engine in Engine::ALL {
            let mut own = self.backups(engine)?;
            for mib in SIZES_MIB {
                own.extend(self.log(engine, mib)?);
            }
            figures.insert(engine.to_string(), Value::Object(own));
        }
        Ok(Value::Object(figures))
    }

    fn server(&self) -> PathBuf {
        self.setup.members_dir.join("1/data")
    }

    fn fill(&self, scale: u32) -> Result<(), Failure> {
        let (mut driver, goal) = (self.driver()?, self.goal(Engine::Native, 0));
        driver.initialize(&goal).map_err(|error| failed(&error))?;
        driver.configure(&goal).map_err(|error| failed(&error))?;
        driver.start(&goal).map_err(|error| failed(&error))?;
        let end = Instant::now() + START_MAX;
        while driver.probe(&goal, false) != Answer::Accepting {
            if Instant::now() > end {
                return Err(Failure::new(Kind::Failed, "the server does not start"));
            }
            std::thread::sleep(START_STEP);
        }
        let mut pgbench = self.program("pgbench")?;
        pgbench.args(["-i", "-q", "-s", &scale.to_string(), "-U", "evenkeel", "-p"]);
        pgbench.arg(PORT.to_string()).arg("-h").arg(&self.setup.socket_root).arg("postgres");
        done(pgbench)?;
        Ok(())
    }

    fn program(&self, name: &str) -> Result<Command, Failure> {
        self.image.command(name).map_err(|error| failed(&error))
    }

    /// Backups and restores in turn, ours and by hand.
    fn backups(&self, engine: Engine) -> Result<Map<String, Value>, Failure> {
        let goal = self.goal(engine, 1);
        let mut driver = self.driver()?;
        driver.configure(&goal).map_err(|error| failed(&error))?;
        let archive = goal.archive.as_deref().expect("it archives");
        let tools =
            engine::Tools { dir: self.data.join("tools"), backrest: Some(self.backrest.clone()) };
        let opened = engine::open(archive, &tools).map_err(|error| failed(&error))?;
        let hand = Hand::of(self, engine)?;
        let into = self.into();
        let [mut backups, mut restores] = [const { Vec::new() }; 2];
        for run in 0..RUNS {
            print::note(&format!("{engine}: backup and restore {} of {RUNS}", run + 1));
            let job = Job { id: run + 1, what: What::Backup { rate_max: 0 } };
            let ours = || match driver.job(&goal, &job).map_err(|error| failed(&error))? {
                Done::Backup(_) => Ok(()),
                _ => Err(Failure::new(Kind::Failed, "a backup is none")),
            };
            backups.push(self.pair(run, ours, || hand.backup(self))?);
            let manifest = opened.lineage().manifest(BackupId(job.id));
            let manifest = manifest.map_err(|error| failed(&error))?;
            let ours = || {
                opened.restore(&manifest, &into).map_err(|error| failed(&error))?;
                synced(&into)
            };
            let by_hand = || {
                hand.restore(self, &into)?;
                synced(&into)
            };
            restores.push(self.pair(run, ours, by_hand)?);
            opened.remove(&[BackupId(run)]).map_err(|error| failed(&error))?;
            hand.expire(self)?;
        }
        let figures = |pairs: &[[Cost; 2]]| {
            let of = |figure: fn(&Cost) -> f64| {
                let [ours, by_hand] =
                    [0, 1].map(|side| pairs.iter().map(|pair| figure(&pair[side])).collect());
                beside(ours, by_hand)
            };
            (of(|cost| cost.took_s), of(|cost| cost.cpu_s))
        };
        let ((backup, backup_cpu), (restore, restore_cpu)) =
            (figures(&backups), figures(&restores));
        Ok(Map::from_iter([
            ("backup_s".to_owned(), backup),
            ("backup_cpu_s".to_owned(), backup_cpu),
            ("restore_s".to_owned(), restore),
            ("restore_cpu_s".to_owned(), restore_cpu),
        ]))
    }

    /// Where a restore goes.
    fn into(&self) -> PathBuf {
        self.data.join("restored")
    }

    /// Ours and by hand, in an order that changes from run to run.
    fn pair(
        &self,
        run: u32,
        ours: impl FnOnce() -> Result<(), Failure>,
        by_hand: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<[Cost; 2], Failure> {
        if run.is_multiple_of(2) {
            let ours = self.cost(run, ours)?;
            Ok([ours, self.cost(run, by_hand)?])
        } else {
            let by_hand = self.cost(run, by_hand)?;
            Ok([self.cost(run, ours)?, by_hand])
        }
    }

    /// Of one of them. What was before leaves nothing to the disk, and no restored directory.
    fn cost(&self, run: u32, work: impl FnOnce() -> Result<(), Failure>) -> Result<Cost, Failure> {
        let into = self.into();
        if into.exists() {
            fs::remove_dir_all(&into)?;
        }
        fs::create_dir(&into)?;
        synced(&self.data)?;
        wait_for_part(run);
        let spent = usage::spent_s();
        let took_s = timed(work)?;
        Ok(Cost { took_s, cpu_s: usage::spent_s() - spent })
    }

    /// What the disk takes, where everything else is written too: one file from its beginning to its end.
    fn disk(&self) -> Result<Value, Failure> {
        let mut chunk = Vec::new();
        File::open("/dev/urandom")?.take(1 << 20).read_to_end(&mut chunk)?;
        let path = self.data.join("written");
        let mut rates = Vec::new();
        for _ in 0..RUNS {
            synced(&self.data)?;
            let mut file = File::create(&path)?;
            let took = timed(|| {
                (0..DISK_MIB).try_for_each(|_| file.write_all(&chunk))?;
                Ok(file.sync_all()?)
            })?;
            rates.push(f64::from(DISK_MIB) * 1.048_576 / took);
            fs::remove_file(&path)?;
        }
        Ok(spread(rates))
    }

    /// Log, one segment after another; in MB a second.
    fn log(&self, engine: Engine, mib: usize) -> Result<Map<String, Value>, Failure> {
        print::note(&format!("{engine}: log in segments of {mib} MiB"));
        let archive = self.archive(engine, 2)?;
        let settings = self.data.join(format!("{engine}-{mib}")).join("archive.json");
        fs::create_dir_all(settings.parent().unwrap_or(&self.data))?;
        let text = serde_json::to_vec(&Settings::of(&self.setup, Some(&archive), Term(1)));
        fs::write(&settings, text.map_err(anyhow::Error::from)?)?;
        let hand = Hand::of(self, engine)?;
        let segments = self.segments(mib)?;
        let size_mb = f64::from(u32::try_from(mib << 20).unwrap_or(u32::MAX)) / 1e6;
        let [mut ours, mut by_hand] = [const { Vec::new() }; 2];
        for run in 0..RUNS {
            let files: Vec<(PathBuf, String)> = (0..SEGMENTS)
                .map(|number| {
                    // Each its own name: nothing is archived twice.
                    let number = number + run * SEGMENTS;
                    let name = format!("{:08X}{:08X}{number:08X}", 1, mib);
                    let place = self.data.join("log").join(&name);
                    let from = &segments[usize::try_from(number).unwrap_or(0) % segments.len()];
                    fs::copy(from, &place).map(|_| (place, name))
                })
                .collect::<Result<_, _>>()?;
            let total = size_mb * f64::from(SEGMENTS);
            let took = timed(|| files.iter().try_for_each(|file| self.push(&settings, file)))?;
            ours.push(total / took);
            let took = timed(|| files.iter().try_for_each(|file| hand.push(self, file)))?;
            by_hand.push(total / took);
            files.iter().try_for_each(|(place, _)| fs::remove_file(place))?;
        }
        Ok(Map::from_iter([(format!("log_{mib}_mib_mb_per_s"), beside(ours, by_hand))]))
    }

    /// Segments as the server wrote them, put together to another size where it must be.
    fn segments(&self, mib: usize) -> Result<Vec<PathBuf>, Failure> {
        fs::create_dir_all(self.data.join("log"))?;
        let entries = fs::read_dir(self.server().join("pg_wal"))?.filter_map(Result::ok);
        let segment = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 24);
        let mut own: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(segment).collect();
        own.sort();
        let one = fs::metadata(
            own.first().ok_or_else(|| Failure::new(Kind::Failed, "the server has no log"))?,
        )?;
        let each = (mib << 20) / usize::try_from(one.len()).unwrap_or(1).max(1);
        let mut made = Vec::new();
        for (number, parts) in own.chunks(each).filter(|parts| parts.len() == each).enumerate() {
            let mut bytes = Vec::new();
            for part in parts {
                bytes.extend(fs::read(part)?);
            }
            let path = self.data.join("log").join(format!("from-{mib}-{number}"));
            fs::write(&path, bytes)?;
            made.push(path);
        }
        Ok(made)
    }

    /// As the server does it.
    fn push(&self, settings: &Path, (place, name): &(PathBuf, String)) -> Result<(), Failure> {
        let [program, rest @ ..] = &self.setup.launcher[..] else {
            return Err(Failure::new(Kind::Failed, "there is no launcher"));
        };
        let mut command = Command::new(program);
        command.args(rest).arg("archive-push").arg(settings).arg(place).arg(name);
        command.current_dir(self.server());
        done(command)
    }
}

/// The tool by hand: `pg_basebackup` and `tar` beside the native engine, which is made of them; else
/// pgBackRest as its manual has it, with a cipher.
enum Hand {
    Tar(PathBuf),
    BackRest(PathBuf),
}

impl Hand {
    fn of(bench: &Bench, engine: Engine) -> Result<Self, Failure> {
        let dir = bench.data.join("by-hand").join(engine.name());
        fs::create_dir_all(&dir)?;
        if engine == Engine::Native {
            return Ok(Self::Tar(dir));
        }
        let text = format!(
            "[global]\nrepo1-path={0}/repo\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=\
             {1}\nrepo1-retention-full=1\ncompress-type=lz4\nrepo1-bundle=y\nprocess-max=2\nlog-level-file=off\n\
             log-level-console=off\nlog-level-stderr=error\nlog-path={0}\nlock-path={0}\n\
             spool-path={0}\n[hand]\npg1-path={2}\npg1-socket-path={3}\npg1-port={PORT}\n\
             pg1-user=evenkeel\npg1-database=postgres\n",
            dir.display(),
            "fedcba98".repeat(8),
            bench.server().display(),
            bench.setup.socket_root.display(),
        );
        fs::write(dir.join("pgbackrest.conf"), text)?;
        let hand = Self::BackRest(dir);
        hand.backrest(bench, &["stanza-create", "--no-online"])?;
        Ok(hand)
    }

    fn backrest(&self, bench: &Bench, arguments: &[&str]) -> Result<(), Failure> {
        let (Self::Tar(dir) | Self::BackRest(dir)) = self;
        let mut command = bench.backrest.command("pgbackrest").map_err(|error| failed(&error))?;
        command.arg(format!("--config={}/pgbackrest.conf", dir.display()));
        command.arg("--stanza=hand").args(arguments);
        done(command)
    }

    fn backup(&self, bench: &Bench) -> Result<(), Failure> {
        let Self::Tar(dir) = self else {
            let how = ["--type=full", "--start-fast", "--no-archive-check", "--no-expire-auto"];
            return self.backrest(bench, &[&["backup"], &how[..]].concat());
        };
        let file = File::create(dir.join("base.tar"))?;
        let mut command = bench.program("pg_basebackup")?;
        command.args(["-D", "-", "--format=tar", "--wal-method=none", "--checkpoint=fast", "-U"]);
        command.args(["evenkeel", "-p", &PORT.to_string(), "-h"]).arg(&bench.setup.socket_root);
        command.stdout(file.try_clone()?);
        done(command)?;
        Ok(file.sync_all()?)
    }

    /// Lets go of all backups but the last, as is done with ours.
    fn expire(&self, bench: &Bench) -> Result<(), Failure> {
        match self {
            // It has one only.
            Self::Tar(_) => Ok(()),
            Self::BackRest(_) => self.backrest(bench, &["expire"]),
        }
    }

    fn restore(&self, bench: &Bench, into: &Path) -> Result<(), Failure> {
        match self {
            Self::Tar(dir) => {
                let mut command = Command::new("tar");
                command.arg("-xf").arg(dir.join("base.tar")).arg("-C").arg(into);
                done(command)
            }
            Self::BackRest(_) => {
                let path = format!("--pg1-path={}", into.display());
                self.backrest(bench, &["restore", "--type=none", &path])
            }
        }
    }

    fn push(&self, bench: &Bench, (place, name): &(PathBuf, String)) -> Result<(), Failure> {
        let Self::Tar(dir) = self else {
            let place = place.display().to_string();
            return self.backrest(bench, &["archive-push", "--no-archive-mode-check", &place]);
        };
        // What many people's command to archive is, made durable.
        let mut command = Command::new("dd");
        command.arg(format!("if={}", place.display()));
        command.arg(format!("of={}", dir.join(name).display()));
        command.args(["bs=1M", "conv=fsync", "status=none"]);
        done(command)
    }
}

/// Runs a program to its end.
fn done(mut command: Command) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let run = command.stdin(Stdio::null()).stderr(Stdio::piped());
    let out = run.spawn()?.wait_with_output()?;
    if out.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&out.stderr);
    Err(Failure::new(Kind::Failed, format!("{program} failed: {}", words.trim())))
}

/// Waits for a part of a second, each run for another one.
fn wait_for_part(run: u32) {
    const SECOND: u32 = 1_000_000_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    let part = SECOND / RUNS * run;
    std::thread::sleep(Duration::from_nanos(u64::from((part + SECOND - now) % SECOND)));
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

fn synced(path: &Path) -> Result<(), Failure> {
    Ok(rustix::fs::syncfs(&File::open(path)?).map_err(std::io::Error::from)?)
}

fn bytes_below(path: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { bytes_below(&entry.path())? } else { found.len() };
    }
    Ok(bytes)
}

/// A figure beside its peer's; the ratio is the median of the pairs' ratios. What of ours comes before a
/// wait for the next second is hidden by it in most pairs: the sums have it.
fn beside(ours: Vec<f64>, by_hand: Vec<f64>) -> Value {
    let ratios = spread(ours.iter().zip(&by_hand).map(|(ours, by_hand)| ours / by_hand).collect());
    json!({ "ours": spread(ours), "by_hand": spread(by_hand), "ratio": ratios["median"] })
}
