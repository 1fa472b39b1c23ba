//! `bench engine`: what a fleet of any size costs the engine, the store and the streams.
//!
//! The story: one process fills a store, as cells of an installed fleet would have; one measures the engine alone
//! in memory; one has services die and come back, through the real engine into the real store, and leaves the
//! longest tail behind that a store may have; one is the controller, whose start over that is the cold start;
//! and some are all agents, through real sockets. What a process costs is read from outside of it, in `/proc`.

mod agents;
mod fill;
mod fleet;
mod process;
mod serve;
mod sizes;
mod turns;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use evenkeel_api::{Client, JournalQuery};
use serde_json::{Map, Value, json};

use self::process::{Part, Stretch, rounded};
use self::sizes::Sizes;
use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::{lasting, print};

/// Open files of a controller that are no agent's stream: its store, its recordings, people.
const OTHER_FILES: u32 = 300;
/// Streams of one process of agents at most.
const STREAMS_A_PROCESS: u32 = 10_000;
/// What is left of the start when all have dialled in is over by then.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// What `bench engine` is asked.
#[derive(Debug, Args)]
pub struct Engine {
    #[command(flatten)]
    sizes: Sizes,
    /// How long transitions are measured, and beats.
    #[arg(long = "for", default_value = "10s", value_parser = lasting::parse)]
    lasts: Duration,
    /// Where the store lies: the disk that is measured [default: the system's temporary directory].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Parts to measure [default: all].
    #[arg(long, value_delimiter = ',')]
    only: Vec<Measure>,
}

/// What can be measured for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// Memory of the engine alone.
    Memory,
    /// Durable transitions.
    Transitions,
    /// A controller's cold start.
    Start,
    /// Beats and detection, through sockets.
    Streams,
}

/// A part of `bench engine` as a process of its own.
#[derive(Debug, Args)]
pub struct EnginePart {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    sizes: Sizes,
    /// The controller's directory.
    #[arg(long)]
    dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum What {
    Fill,
    Rest,
    Turns {
        #[arg(long = "for", value_parser = lasting::parse)]
        lasts: Duration,
        /// Whether the store is left with the longest tail.
        #[arg(long)]
        lengthen: bool,
    },
    Serve,
    Agents {
        #[arg(long)]
        from: u32,
        #[arg(long)]
        to: u32,
        #[arg(long)]
        deaths: usize,
    },
}

impl EnginePart {
    /// Is it.
    pub fn run(&self) -> Result<(), Failure> {
        let (sizes, dir) = (&self.sizes, self.dir.as_path());
        match &self.what {
            What::Fill => fill::run(sizes, dir),
            What::Rest => told(&turns::rest(sizes, dir)?),
            What::Turns { lasts, lengthen } => told(&turns::run(sizes, dir, *lasts, *lengthen)?),
            What::Serve => serve::run(sizes, dir),
            What::Agents { from, to, deaths } => {
                agents::run(dir, &agents::Asked { hosts: *from..*to, deaths: *deaths })
            }
        }
    }
}

fn told(figures: &Value) -> Result<(), Failure> {
    print::line(&figures.to_string());
    Ok(())
}

/// A directory that is removed in the end.
struct Place(PathBuf);

impl Place {
    fn new(top: &Path) -> Result<Self, Failure> {
        let dir = top.join(format!("evenkeel-bench-engine-{}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|error| {
            Failure::new(
                Kind::Usage,
                format!("{}: {error}; name another place with --dir", dir.display()),
            )
        })?;
        Ok(Self(dir))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left of it is named by its directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Engine {
    /// Measures and prints.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        self.sizes.check()?;
        let measured = |what| self.only.is_empty() || self.only.contains(&what);
        let (sizes, asked) = match measured(Measure::Streams) {
            true => self.with_files()?,
            false => (self.sizes, self.sizes.hosts()),
        };
        let top = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let place = Place::new(&top)?;
        let bench = Bench { sizes, dir: place.0.clone() };
        let mut figures = Map::new();
        figures.insert("services".to_owned(), sizes.services.into());
        figures.insert("hosts".to_owned(), sizes.hosts().into());
        if asked != sizes.hosts() {
            figures.insert("hosts_asked".to_owned(), asked.into());
        }
        bench.fill()?;
        if measured(Measure::Memory) {
            bench.memory(&mut figures)?;
        }
        if measured(Measure::Transitions) {
            let lengthen = measured(Measure::Start);
            bench.transitions(self.lasts, lengthen, &mut figures)?;
        }
        if measured(Measure::Start) || measured(Measure::Streams) {
            let mut controller = bench.start(&mut figures)?;
            if measured(Measure::Streams) {
                bench.streams(&mut controller, self.lasts, &mut figures)?;
            }
            controller.end()?;
        }
        let figures = Value::Object(figures);
        if context.json {
            return print::json(&figures);
        }
        print::table(&table(&figures));
        Ok(())
    }

    /// As many hosts as this process may have streams, and as many as were asked for.
    fn with_files(&self) -> Result<(Sizes, u32), Failure> {
        use rustix::process::{Resource, getrlimit};
        let asked = self.sizes.hosts();
        let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let streams = u32::try_from(files).unwrap_or(u32::MAX).saturating_sub(OTHER_FILES);
        if asked <= streams {
            return Ok((self.sizes, asked));
        }
        print::note(&format!(
            "a process may have {files} files open here, so that there can be {streams} streams, and not {asked}: \
             the fleet has {streams} hosts. For more, raise the hard limit (`ulimit -Hn`, LimitNOFILE=)"
        ));
        let sizes = Sizes::new(self.sizes.services, streams);
        sizes.check()?;
        Ok((sizes, asked))
    }
}

/// What is measured, and where.
struct Bench {
    sizes: Sizes,
    dir: PathBuf,
}

impl Bench {
    fn part(&self, what: &'static str, more: &[String]) -> Result<Part, Failure> {
        let (services, hosts) = (self.sizes.services.to_string(), self.sizes.hosts().to_string());
        let dir = self.dir.display().to_string();
        let of = ["--services", &services, "--hosts", &hosts, "--dir", &dir].map(str::to_owned);
        Part::start(&of, what, more)
    }

    fn fill(&self) -> Result<(), Failure> {
        let (services, hosts, cells) =
            (self.sizes.services, self.sizes.hosts(), self.sizes.cells().len());
        print::note(&format!(
            "a store of {services} services on {hosts} hosts in {cells} cells is made"
        ));
        self.part("fill", &[])?.end()
    }

    fn memory(&self, figures: &mut Map<String, Value>) -> Result<(), Failure> {
        print::note("the engine alone, at rest");
        let mut part = self.part("rest", &[])?;
        let found = part.figures()?;
        part.end()?;
        figures.insert("rss_bytes".to_owned(), found["rss_bytes"].clone());
        figures.insert("engine".to_owned(), found);
        Ok(())
    }

    fn transitions(
        &self,
        lasts: Duration,
        lengthen: bool,
        figures: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        let mut args = vec!["--for".to_owned(), format!("{}ms", lasts.as_millis())];
        args.extend(lengthen.then(|| "--lengthen".to_owned()));
        let mut part = self.part("turns", &args)?;
        let found = part.figures()?;
        part.end()?;
        let rate = found["durable_transitions_per_second"].clone();
        figures.insert("durable_transitions_per_second".to_owned(), rate);
        figures.insert("transitions".to_owned(), found);
        Ok(())
    }

    /// From the process's start until it answers a question, which its cells do after their first turns.
    fn start(&self, figures: &mut Map<String, Value>) -> Result<Part, Failure> {
        print::note("a controller starts over that store");
        let began = Instant::now();
        let mut controller = self.part("serve", &[])?;
        controller.line()?;
        let listens = began.elapsed().as_secs_f64();
        self.client()?.journal(&JournalQuery { limit: Some(1), ..JournalQuery::default() })?;
        let decides = began.elapsed().as_secs_f64();
        figures.insert("cold_start_seconds".to_owned(), rounded(decides, 3).into());
        let start = json!({ "loaded_seconds": rounded(listens, 3) });
        figures.insert("start".to_owned(), start);
        Ok(controller)
    }

    fn client(&self) -> Result<Client, Failure> {
        let text = std::fs::read_to_string(self.dir.join("controller.json"))?;
        let found: Value = serde_json::from_str(&text).map_err(anyhow::Error::from)?;
        let of = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        Ok(Client::new(&of("address"), &of("token")))
    }

    /// All agents dial in, beat, and some of what they run dies.
    fn streams(
        &self,
        controller: &mut Part,
        lasts: Duration,
        figures: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        let hosts = self.sizes.hosts();
        print::note(&format!("{hosts} agents dial in"));
        let began = Instant::now();
        let processes = hosts.div_ceil(STREAMS_A_PROCESS);
        let each = hosts.div_ceil(processes);
        let deaths = deaths_of(hosts).div_ceil(processes);
        let mut agents = Vec::new();
        for n in 0..processes {
            let (from, to) = (n * each + 1, ((n + 1) * each).min(hosts) + 1);
            let args = ["--from".to_owned(), from.to_string(), "--to".to_owned(), to.to_string()];
            let deaths = ["--deaths".to_owned(), deaths.to_string()];
            agents.push(self.part("agents", &[args.as_slice(), &deaths].concat())?);
        }
        for part in &mut agents {
            part.line()?;
        }
        let dialled = began.elapsed().as_secs_f64();
        std::thread::sleep(SETTLED_AFTER);
        print::note(&format!("beats for {} s", lasts.as_secs()));
        let pid = controller.pid();
        let quiet = Stretch::begin(pid)?;
        std::thread::sleep(lasts);
        let share = quiet.share()?;
        let (rss, peak) = (process::resident_bytes(pid)?, process::peak_bytes(pid)?);
        controller.tell("alerts")?;
        let alerts: u64 = controller.line()?.parse().map_err(anyhow::Error::from)?;
        print::note(&format!("{} deaths of three sorts", deaths * processes * 3));
        let dying = Stretch::begin(pid)?;
        agents.iter_mut().try_for_each(|part| part.tell("die"))?;
        let told = agents.iter_mut().map(Part::figures).collect::<Result<Vec<_>, _>>()?;
        let detection = agents::spread_of(&told);
        let mut put = |name: &str, value: Value| figures.insert(name.to_owned(), value);
        put("beats_per_second", hosts.into());
        put("beat_cpu_share_of_one_core", rounded(share, 3).into());
        put("detection_p99_ms_over_rule", detection["all"]["p99"].clone());
        put("rss_bytes_with_streams", rss.into());
        put("alerts_by_the_start", alerts.into());
        put(
            "streams",
            json!({
                "dial_seconds": rounded(dialled, 1),
                "peak_rss_bytes": peak,
                "cpu_share_while_members_die": rounded(dying.share()?, 3),
                "detection_ms_over_rule": detection,
            }),
        );
        agents.iter_mut().try_for_each(Part::end)
    }
}

/// Deaths of each sort: one of each hundred hosts and at least fifty, and of all sorts no more than an eighth of the
/// hosts: when many die at once something else is measured.
fn deaths_of(hosts: u32) -> u32 {
    (hosts / 100).max(50).min(hosts.div_ceil(24))
}

/// Each figure beside its limit, which is for a million services on 20,000 hosts.
fn table(figures: &Value) -> Vec<Vec<String>> {
    let number = |path: &[&str]| path.iter().try_fold(figures, |at, name| at.get(name))?.as_f64();
    let mib = |bytes: f64| format!("{:.0} MiB", bytes / f64::from(1 << 20));
    let ms = |ms: f64| format!("{ms:.1} ms");
    let seconds = |s: f64| format!("{s:.2} s");
    let share = |share: f64| format!("{:.1} % of a core", share * 100.0);
    let rate = |rate: f64| format!("{rate:.0} a second");
    let count = |count: f64| format!("{count:.0}");
    type Told<'a> = &'a dyn Fn(f64) -> String;
    let lines: [(&str, &[&str], Told<'_>, &str); 9] = [
        ("the engine alone, resident", &["rss_bytes"], &mib, "at most 512 MiB"),
        ("durable transitions", &["durable_transitions_per_second"], &rate, "at least 100000"),
        ("  services moved", &["transitions", "services_moved_per_second"], &rate, ""),
        ("cold start", &["cold_start_seconds"], &seconds, "at most 5 s"),
        ("  alerts by it", &["alerts_by_the_start"], &count, "0"),
        ("beats", &["beats_per_second"], &rate, "20000"),
        ("  processor for them", &["beat_cpu_share_of_one_core"], &share, "at most 40 %"),
        ("  resident with streams", &["rss_bytes_with_streams"], &mib, "at most 1024 MiB"),
        (
            "  a death is known, p99 over the rule",
            &["detection_p99_ms_over_rule"],
            &ms,
            "at most 100 ms",
        ),
    ];
    let head = format!("{} services on {} hosts", figures["services"], figures["hosts"]);
    let mut table = vec![vec![head, String::new(), "limit (1000000 on 20000)".to_owned()]];
    for (name, path, told, limit) in lines {
        if let Some(found) = number(path) {
            table.push(vec![name.to_owned(), told(found), limit.to_owned()]);
        }
    }
    table
}
