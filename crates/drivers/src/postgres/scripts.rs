//! Scripts beside a server: which login they get, and what surrounds them.

use std::sync::atomic::AtomicBool;

use evenkeel_core::goal::Goal;
use evenkeel_core::procedure::{Login, Ran, Script};

use super::image;
use crate::Setup;
use crate::script::{self, Place};

/// Runs a procedure's script beside a member's server.
pub fn run(setup: &Setup, goal: &Goal, script: &Script, stop: &AtomicBool) -> Ran {
    let image = match image(setup) {
        Ok(image) => image,
        Err(error) => return Ran::failed(format!("it was not run: {error}")),
    };
    let scratch = setup.members_dir.join(format!(".script-{}", goal.member.0));
    let (user, database) = match script.code.login {
        Login::Check => ("evenkeel_probe", "evenkeel"),
        Login::Maintenance => ("evenkeel", goal.owner()),
    };
    let own = [
        ("PATH", format!("{}:/usr/bin:/bin", image.bin.display())),
        ("HOME", scratch.display().to_string()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PGHOST", setup.socket_root.display().to_string()),
        ("PGPORT", goal.port.to_string()),
        ("PGUSER", user.to_owned()),
        ("PGDATABASE", database.to_owned()),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    let env = own.chain(image.env.iter().cloned()).collect();
    let place = Place { launcher: setup.launcher.clone(), scratch, env };
    let input = script.input(goal, &setup.host).to_string();
    script::run(&place, script, &input, stop)
}
