//! `demo`: the main job, start to end, on its own: a fleet is started, used, broken and healed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use evenkeel_drivers::process::{self, Identity};
use rustix::process::Signal;
use serde_json::Value;

use crate::failure::{Failure, Kind};
use crate::print;

/// How long any part may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between looks.
const STEP: Duration = Duration::from_millis(20);

/// Show the main job on a fleet of its own; everything is taken down at the end.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel demo")]
pub struct Demo {
    /// Keep the data directory afterwards.
    #[arg(long)]
    keep: bool,
}

impl Demo {
    /// Does it.
    pub fn run(&self) -> Result<(), Failure> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut stage = Stage {
            program: std::env::current_exe()?,
            data: PathBuf::from(format!("/tmp/evenkeel-demo-{}", std::process::id())),
            listen: format!("127.0.0.1:{port}"),
            up: None,
        };
        let shown = stage.story();
        let down = stage.down();
        if shown.is_ok() && !self.keep {
            let _ = fs::remove_dir_all(&stage.data);
            let _ = fs::remove_file(stage.log());
        } else {
            print::note(&format!(
                "data {} and log {}",
                stage.data.display(),
                stage.log().display()
            ));
        }
        shown.and(down)
    }
}

/// A fleet of one's own.
struct Stage {
    program: PathBuf,
    data: PathBuf,
    listen: String,
    up: Option<Child>,
}

impl Stage {
    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// The story, part by part, each with what it took.
    fn story(&mut self) -> Result<(), Failure> {
        self.part("start a fleet of three hosts", Self::start)?;
        self.part("create orders: placed, initialised, started, a write proven", |s| {
            s.verb(&["create", "postgres", "orders"]).map(drop)
        })?;
        self.part("create payments", |s| s.verb(&["create", "postgres", "payments"]).map(drop))?;
        self.part("write to it through its endpoint", |s| {
            s.sql("orders", "CREATE TABLE ledger (n int); INSERT INTO ledger VALUES (1)")
        })?;
        self.part("kill -9 its server; wait for the next committed write", |s| {
            s.kill_server("orders")?;
            s.until("a write", |s| s.sql("orders", "INSERT INTO ledger VALUES (2)").is_ok())
        })?;
        self.part("SIGSTOP its server; two vantage points must agree for 10 s; recovered", |s| {
            let pid = s.server("orders")?;
            signal(pid, Signal::STOP)?;
            s.until("another server", |s| {
                s.sql("orders", "INSERT INTO ledger VALUES (3)").is_ok()
                    && s.server("orders").is_ok_and(|now| now != pid)
            })
        })?;
        self.part("kill -9 the controller and every agent; clients are served meanwhile", |s| {
            s.kill_control_plane()?;
            s.sql_known("orders", "INSERT INTO ledger VALUES (4)")
        })?;
        self.part("start it again: all is known and under guard", |s| {
            s.start()?;
            s.until("both available", |s| {
                ["orders", "payments"].iter().all(|name| s.state(name) == "available")
            })
        })?;
        self.part("nothing acknowledged was lost: four rows", |s| {
            s.sql("orders", "DO $$BEGIN ASSERT (SELECT count(*) FROM ledger) = 4; END$$")
        })?;
        self.part("restart, retire, revive", |s| {
            s.verb(&["restart", "orders"])?;
            s.verb(&["retire", "orders"])?;
            s.verb(&["revive", "orders"]).map(drop)
        })?;
        print::line("\nwhy it is as it is (`evenkeel explain orders`):");
        print::line(&self.verb(&["explain", "orders", "--limit", "6"])?);
        self.part("terminate both", |s| {
            s.verb(&["terminate", "orders", "--confirm", "orders"])?;
            s.verb(&["terminate", "payments", "--confirm", "payments"]).map(drop)
        })
    }

    fn part(
        &mut self,
        what: &str,
        act: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let done = act(self);
        let took = began.elapsed().as_secs_f64();
        let mark = if done.is_ok() { "ok    " } else { "FAILED" };
        print::line(&format!("{mark} {took:7.2} s  {what}"));
        done
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("EVENKEEL_DATA", &self.data).env_remove("EVENKEEL_URL");
        command.stdin(Stdio::null());
        command
    }

    fn verb(&self, arguments: &[&str]) -> Result<String, Failure> {
        let out = self.command(arguments).output()?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        Err(Failure::new(Kind::Failed, said))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.verb(&[arguments, &["--json"]].concat()).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    fn state(&self, name: &str) -> String {
        self.json(&["show", name])["state"].as_str().unwrap_or_default().to_owned()
    }

    fn server(&self, name: &str) -> Result<u32, Failure> {
        let pid = self.json(&["show", name])["members"][0]["pid"].as_u64();
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        pid.ok_or_else(|| Failure::new(Kind::Failed, format!("{name} has no server now")))
    }

    fn start(&mut self) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let up = self
            .command(&["up", "--listen", &self.listen])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.up = Some(up);
        self.until("every host", |stage| {
            let up = |host: &Value| host["state"] == "up" && !host["image"].is_null();
            stage
                .json(&["host", "list"])
                .as_array()
                .is_some_and(|h| h.len() == 3 && h.iter().all(up))
        })
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            let ended = self.up.as_mut().and_then(|up| up.try_wait().ok().flatten()).is_some();
            if ended || Instant::now() > end {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                let text = format!("there is no {what}; the fleet said:\n{log}");
                return Err(Failure::new(Kind::Failed, text));
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    /// A statement through the endpoint, with psql.
    fn sql(&self, name: &str, statement: &str) -> Result<(), Failure> {
        let done = self.verb(&["connect", name, "--", "-qAtX", "-c", statement]).map(drop);
        if done.is_ok() {
            // Known from here on without asking anybody.
            let url = self.verb(&["url", name])?;
            fs::write(self.data.with_extension("url"), url)?;
        }
        done
    }

    /// The same with nobody to ask for the address.
    fn sql_known(&self, _name: &str, statement: &str) -> Result<(), Failure> {
        let url = fs::read_to_string(self.data.with_extension("url"))?;
        let _ = fs::remove_file(self.data.with_extension("url"));
        let image = evenkeel_drivers::image::any(&self.data.join("images"));
        let psql = image.ok().and_then(|image| image.command("psql").ok());
        let mut psql = psql.unwrap_or_else(|| Command::new("psql"));
        let out = psql.args([url.trim(), "-qAtX", "-c", statement]).output()?;
        if out.status.success() {
            return Ok(());
        }
        Err(Failure::new(Kind::Failed, String::from_utf8_lossy(&out.stderr).into_owned()))
    }

    fn kill_server(&self, name: &str) -> Result<(), Failure> {
        signal(self.server(name)?, Signal::KILL)
    }

    fn kill_control_plane(&mut self) -> Result<(), Failure> {
        let mut files = vec![self.data.join("up.json")];
        files.extend(
            ["h1", "h2", "h3"].map(|host| self.data.join("hosts").join(host).join("pid.json")),
        );
        for file in files {
            signal(read(&file)?.pid, Signal::KILL)?;
        }
        if let Some(mut up) = self.up.take() {
            up.wait()?;
        }
        Ok(())
    }

    fn down(&mut self) -> Result<(), Failure> {
        let down = self.verb(&["down"])?;
        print::line(down.trim());
        if let Some(mut up) = self.up.take() {
            up.wait()?;
        }
        Ok(())
    }
}

fn read(file: &Path) -> Result<Identity, Failure> {
    let text = fs::read(file)?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(Kind::Failed, format!("{} cannot be read: {error}", file.display()))
    })
}

fn signal(pid: u32, which: Signal) -> Result<(), Failure> {
    let descriptor = process::pidfd(pid)?;
    process::signal(&descriptor, which)?;
    if which == Signal::KILL {
        let _ = process::wait_gone(&descriptor, Duration::from_secs(10));
    }
    Ok(())
}
