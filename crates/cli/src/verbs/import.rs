//! `import`: a service from a foreign server.

use std::io::Read;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use evenkeel_api::ImportOrder;
use evenkeel_core::goal::Password;
use evenkeel_core::import::{Method, Source};
use evenkeel_core::service::State;
use evenkeel_core::view;
use evenkeel_drivers::image::{self, Software};
use evenkeel_drivers::postgres::import::look::{Look, Obstacle, look};

use super::wait::Wait;
use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print;

/// The way a source's data is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// The first of the two that is possible, after a look.
    Auto,
    /// All of its server, byte for byte: the same release, a role that may replicate.
    Base,
    /// The one database: any release that is not newer, a role that may read it.
    Dump,
}

impl How {
    const fn method(self) -> Method {
        match self {
            Self::Auto => Method::Auto,
            Self::Base => Method::Base,
            Self::Dump => Method::Dump,
        }
    }
}

/// Make a new service from a PostgreSQL server that is not Evenkeel's; that one is only read.
#[derive(Debug, Args)]
#[command(
    after_help = "The password is taken from --password-file, --password-stdin or PGPASSWORD; an \
address that holds one is refused, as others can read it. The host that gets the service reads the \
source; --check looks from where it is run.

Examples:
  evenkeel import orders --from postgres://postgres@db.example:5432/shop --check
  evenkeel import orders --from postgres://postgres@db.example:5432/shop --password-file secret
  evenkeel import orders --from \"postgres://app@db.example/shop?sslmode=require\" --method dump --plan ha"
)]
pub struct Import {
    /// The new service's name.
    name: String,
    /// The source: postgres://USER@HOST:PORT/DATABASE, without a password.
    #[arg(long, value_name = "URL")]
    from: String,
    /// How its data is taken.
    #[arg(long, value_enum, default_value_t = How::Auto)]
    method: How,
    /// The new service's plan; the kind's first if not given.
    #[arg(long)]
    plan: Option<String>,
    /// A file with the source's password in its first line.
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<PathBuf>,
    /// Read the source's password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
    /// Only look, and say what stands in the way; nothing is made.
    #[arg(long)]
    check: bool,
    /// Wait until it takes writes; what is done anyway.
    #[arg(long, hide = true)]
    wait: bool,
    /// Return as soon as the order is accepted.
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Give up waiting after this many seconds; the import goes on.
    #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
    timeout: u64,
}

impl Import {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let bad =
            |error: evenkeel_core::import::Error| Failure::new(Kind::Usage, error.to_string());
        let source = Source::parse(&self.from).map_err(bad)?;
        let password = self.password()?;
        if self.check {
            return self.look(context, &source, password);
        }
        let (client, began) = (context.client()?, Instant::now());
        let accepted = client.import(&ImportOrder {
            name: self.name.clone(),
            from: self.from.clone(),
            plan: self.plan.clone(),
            method: Some(self.method.method().as_str().to_owned()),
            password,
        })?;
        let wait = Wait::new(self.no_wait, self.timeout);
        let Some(service) = wait.until(&client, &self.name, State::Available)? else {
            if context.json {
                return print::json(&accepted);
            }
            print::line(&accepted.text);
            return Ok(());
        };
        if context.json {
            return print::json(&service);
        }
        tell(context, &service, began.elapsed().as_secs_f64());
        Ok(())
    }

    fn password(&self) -> Result<Option<Password>, Failure> {
        let text = match (&self.password_file, self.password_stdin) {
            (Some(file), _) => std::fs::read_to_string(file).map_err(|error| {
                let text = format!("the password in {} cannot be read: {error}", file.display());
                Failure::new(Kind::Usage, text)
            })?,
            (None, true) => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                text
            }
            (None, false) => match std::env::var("PGPASSWORD") {
                Ok(text) => return Ok(Some(Password(text))),
                Err(_) => return Ok(None),
            },
        };
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            let text = "the password is empty; write it in the first line, or leave the flag out";
            return Err(Failure::new(Kind::Usage, text.to_owned()));
        }
        Ok(Some(Password(line.to_owned())))
    }

    /// A look from this machine, with its own software.
    fn look(
        &self,
        context: &Context,
        source: &Source,
        password: Option<Password>,
    ) -> Result<(), Failure> {
        let failed = |text: String| Failure::new(Kind::Failed, text);
        let image = image::any(Software::Postgres, &context.data().join("images"));
        let image = image.map_err(|error| failed(crate::failure::chain(&error)))?;
        let look = look(&image, source, password, self.method.method());
        let look = look.map_err(|error| failed(error.to_string()))?;
        if context.json {
            print::json(&look)?;
        } else {
            show(&look);
        }
        match &look.refused {
            None => Ok(()),
            Some(why) => Err(Failure::new(Kind::Refused, why.clone())),
        }
    }
}

fn show(look: &Look) {
    let found = &look.found;
    let role = match (found.superuser, found.replicates) {
        (true, _) => "a superuser",
        (false, true) => "may replicate",
        (false, false) => "may not replicate",
    };
    let extensions: Vec<&str> = found.extensions.iter().map(|e| e.name.as_str()).collect();
    let yes = |so: bool| if so { "yes" } else { "no" };
    let rows = [
        ("source", look.source.clone()),
        ("release", found.version.clone()),
        ("role", role.to_owned()),
        ("database", print::bytes(found.size)),
        ("all databases", format!("{}: {}", print::bytes(found.whole), found.databases.join(", "))),
        ("texts", format!("{}, ordered by {}", found.encoding, found.collate)),
        ("extensions", extensions.join(", ")),
        ("checksums", yes(found.checksums).to_owned()),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    print::table(&rows);
    for (name, obstacles) in [("base", &look.base), ("dump", &look.dump)] {
        let is = if obstacles.is_empty() { "possible" } else { "not possible" };
        print::heading(&format!("{name}: {is}"));
        for Obstacle { what, fix } in obstacles {
            print::line(&format!("  {what}; {fix}"));
        }
    }
    for note in &look.notes {
        print::line(&format!("note: {note}"));
    }
    if let Some(chosen) = &look.chosen {
        print::line(&format!("it would be imported by {}: {}", chosen.method, chosen.why));
    }
}

fn tell(context: &Context, service: &view::Service, seconds: f64) {
    let (name, hint) = (&service.name, context.hint());
    print::line(&format!(
        "{name} is available after {seconds:.1} s ({}, plan {})",
        service.kind, service.plan
    ));
    if let Some(import) = &service.import {
        print::line(&format!(
            "imported  by {} from {}: {}",
            import.method, import.source, import.why
        ));
        for change in &import.changes {
            print::line(&format!("          {change}"));
        }
    }
    if let Some(url) = &service.url {
        print::line(&format!("endpoint  {url}"));
    }
    print::line(&format!("connect   evenkeel connect {name}{hint}"));
    print::line(&format!("          psql \"$(evenkeel url {name}{hint})\""));
}
