//! Finding the controller: by address and token, or by a data directory on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use evenkeel_api::Client;
use serde::Deserialize;

use crate::failure::{Failure, Kind};

/// What every verb takes.
#[derive(Clone, Debug, Args)]
pub struct Context {
    /// Address of the controller, such as `http://127.0.0.1:7432`.
    #[arg(long, global = true, env = "EVENKEEL_URL", value_name = "URL")]
    pub server: Option<String>,
    /// A file with the controller's token; with --data it is found there.
    #[arg(long, global = true, env = "EVENKEEL_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Data directory of a fleet on this machine [default: /var/lib/evenkeel as root, else
    /// ~/.local/state/evenkeel].
    #[arg(long, global = true, env = "EVENKEEL_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print JSON for programs.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What a controller leaves in its data directory for whoever dials it.
#[derive(Debug, Deserialize)]
struct Controller {
    address: String,
    token: String,
}

impl Context {
    /// The data directory, absolute.
    pub fn data(&self) -> PathBuf {
        let data = self.data.clone().unwrap_or_else(default_data);
        std::path::absolute(&data).unwrap_or(data)
    }

    /// Where the controller of the data directory can be dialled.
    pub fn controller_file(&self) -> PathBuf {
        self.data().join("controller/controller.json")
    }

    /// Flags that name the same fleet in another command, for hints.
    pub fn hint(&self) -> String {
        match &self.data {
            Some(_) => format!(" --data {}", self.data().display()),
            None => String::new(),
        }
    }

    /// A client of the controller.
    pub fn client(&self) -> Result<Client, Failure> {
        let token = match &self.token_file {
            Some(file) => Some(read(file, "token")?.trim().to_owned()),
            None => None,
        };
        if let (Some(server), Some(token)) = (&self.server, &token) {
            return Ok(Client::new(server, token));
        }
        let file = self.controller_file();
        let text = read(&file, "controller's address")?;
        let controller: Controller = serde_json::from_str(&text).map_err(|error| {
            Failure::new(Kind::Failed, format!("{} cannot be read: {error}", file.display()))
        })?;
        let server =
            self.server.clone().unwrap_or_else(|| format!("http://{}", controller.address));
        Ok(Client::new(&server, &token.unwrap_or(controller.token)))
    }
}

fn read(file: &Path, what: &str) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| {
        let file = file.display();
        let (kind, text) = match error.kind() {
            std::io::ErrorKind::NotFound => (
                Kind::Unreachable,
                format!(
                    "there is no {what} at {file}; start a fleet with `evenkeel up`, or name one \
                     with --data DIR, or with --server URL and --token-file FILE"
                ),
            ),
            std::io::ErrorKind::PermissionDenied => (
                Kind::Unreachable,
                format!(
                    "{file} is not readable for this user; run as the fleet's own user or root"
                ),
            ),
            _ => (Kind::Failed, format!("{file} cannot be read: {error}")),
        };
        Failure::new(kind, text)
    })
}

/// Where a fleet is kept unless somebody says otherwise.
fn default_data() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/evenkeel");
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).unwrap_or_else(|| PathBuf::from(".")).join("evenkeel")
}
