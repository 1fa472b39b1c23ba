//! `demo`: the main job, start to end, on its own: a fleet is started, used, broken and healed.

use std::process::Command;
use std::time::Instant;

use clap::Args;
use rustix::process::Signal;

use crate::failure::{Failure, Kind};
use crate::print;
use crate::stage::{self, Stage};

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
        let mut story = Story { stage: Stage::new("demo", &[])?, url: String::new() };
        let shown = story.tell();
        let down = story.stage.down().map(|said| print::line(&said));
        story.stage.put_away(shown.is_ok() && !self.keep);
        shown.and(down)
    }
}

/// The story and where it is played.
struct Story {
    stage: Stage,
    /// Where orders was reached last: known when there is nobody to ask.
    url: String,
}

impl Story {
    /// Part by part, each with what it took.
    fn tell(&mut self) -> Result<(), Failure> {
        self.part("start a fleet of three hosts", |s| s.stage.start())?;
        self.part("create orders: placed, initialised, started, a write proven", |s| {
            s.stage.verb(&["create", "postgres", "orders"]).map(drop)
        })?;
        self.part("create payments, with a standby on another host that commits wait for", |s| {
            s.stage.verb(&["create", "postgres", "payments", "--plan", "ha"])?;
            s.until_safe()
        })?;
        self.part("write to it through its endpoint", |s| {
            s.url = s.stage.verb(&["url", "orders"])?.trim().to_owned();
            s.sql("CREATE TABLE ledger (n int); INSERT INTO ledger VALUES (1)")
        })?;
        self.part("kill -9 its server; wait for the next committed write", |s| {
            stage::signal(s.stage.server("orders")?, Signal::KILL)?;
            s.until_written("INSERT INTO ledger VALUES (2)")
        })?;
        self.part("SIGSTOP its server; two vantage points must agree for 10 s; recovered", |s| {
            let pid = s.stage.server("orders")?;
            stage::signal(pid, Signal::STOP)?;
            s.stage.until("another server", |stage| {
                stage.server("orders").is_ok_and(|now| now != pid)
            })?;
            s.until_written("INSERT INTO ledger VALUES (3)")
        })?;
        self.fail_over()?;
        self.part("kill -9 the controller and every agent; clients are served meanwhile", |s| {
            s.stage.kill_control_plane()?;
            s.sql("INSERT INTO ledger VALUES (4)")
        })?;
        self.part("start it again: all is known and under guard", |s| {
            s.stage.start()?;
            s.stage.until("both available", |stage| {
                ["orders", "payments"].iter().all(|name| stage.state(name) == "available")
            })
        })?;
        self.part("nothing acknowledged was lost: four rows", |s| {
            s.sql("DO $$BEGIN ASSERT (SELECT count(DISTINCT n) FROM ledger) = 4; END$$")
        })?;
        self.part("restart, retire, revive", |s| {
            s.stage.verb(&["restart", "orders"])?;
            s.stage.verb(&["retire", "orders"])?;
            s.stage.verb(&["revive", "orders"]).map(drop)
        })?;
        print::line("\nwhy it is as it is (`evenkeel explain orders`):");
        print::line(&self.stage.verb(&["explain", "orders", "--limit", "6"])?);
        self.part("terminate both", |s| {
            s.stage.verb(&["terminate", "orders", "--confirm", "orders"])?;
            s.stage.verb(&["terminate", "payments", "--confirm", "payments"]).map(drop)
        })
    }

    /// A service with a standby loses its primary's host, and gives way in order.
    fn fail_over(&mut self) -> Result<(), Failure> {
        let orders = self.url.clone();
        self.url = self.stage.verb(&["url", "payments"])?.trim().to_owned();
        self.sql("CREATE TABLE paid (n int); INSERT INTO paid VALUES (1)")?;
        self.part("kill -9 payments' agent and server; its standby takes the next write", |s| {
            let (host, server) = (s.primary_host("payments")?, s.stage.server("payments")?);
            stage::signal(s.stage.process(&format!("hosts/{host}/pid.json"))?, Signal::KILL)?;
            stage::signal(server, Signal::KILL)?;
            s.until_written("INSERT INTO paid VALUES (2)")
        })?;
        self.part("what was killed is back as a standby, by itself", Self::until_safe)?;
        self.part("switchover: it is the primary again, in order", |s| {
            s.stage.verb(&["switchover", "payments"])?;
            s.until_written("INSERT INTO paid VALUES (3)")
        })?;
        self.part("nothing acknowledged was lost: three rows", |s| {
            s.sql("DO $$BEGIN ASSERT (SELECT count(DISTINCT n) FROM paid) = 3; END$$")
        })?;
        self.url = orders;
        Ok(())
    }

    /// Waits until payments could lose its primary without losing a write.
    fn until_safe(&mut self) -> Result<(), Failure> {
        self.stage.until("a standby that could take over", |stage| {
            stage.json(&["show", "payments"])["failover"]["safe_now"] == true
        })
    }

    fn primary_host(&self, name: &str) -> Result<String, Failure> {
        let show = self.stage.json(&["show", name]);
        let members = show["members"].as_array().cloned().unwrap_or_default();
        let primary = members.iter().find(|member| member["role"] == "primary");
        let host = primary.and_then(|member| member["host"].as_str());
        let none = || Failure::new(Kind::Failed, format!("{name} has no primary"));
        host.map(str::to_owned).ok_or_else(none)
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

    fn until_written(&mut self, statement: &str) -> Result<(), Failure> {
        let (image, url) = (self.stage.image(), self.url.clone());
        self.stage.until("a write", |_| sql(image.as_ref().ok(), &url, statement).is_ok())
    }

    /// A statement through the endpoint, with psql.
    fn sql(&self, statement: &str) -> Result<(), Failure> {
        sql(self.stage.image().ok().as_ref(), &self.url, statement)
    }
}

fn sql(
    image: Option<&evenkeel_drivers::image::Image>,
    url: &str,
    statement: &str,
) -> Result<(), Failure> {
    let unpacked = image.and_then(|image| image.command("psql").ok());
    let mut psql = unpacked.unwrap_or_else(|| Command::new("psql"));
    let out = psql.args([url, "-qAtX", "-c", statement]).output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(Failure::new(Kind::Failed, String::from_utf8_lossy(&out.stderr).into_owned()))
}
