//! `key`: the fleet's recovery key, and that a person has a copy.

use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use evenkeel_controller::FleetKey;
use evenkeel_drivers::files::write_synced;

use crate::failure::{Failure, Kind, chain};
use crate::find::Context;
use crate::print;

/// The fleet's recovery key: copy it to a safe place, and say so. On the controller's machine.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel key export --to /media/usb/fleet.key
  evenkeel key export | lpr                        # it is a text that can be typed in again
  evenkeel key confirm --file /media/usb/fleet.key
  evenkeel key confirm                             # asks for the check digits of the copy")]
pub struct Key {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a copy.
    Export {
        /// Where to; a file that is there is not overwritten [default: stdout].
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Say that a copy is in a safe place; it is compared first.
    Confirm {
        /// The copy [default: its check digits are asked for].
        #[arg(long, value_name = "COPY")]
        file: Option<PathBuf>,
    },
}

/// Reads a key, with a failure that says what is wrong with its file.
pub fn read(path: &Path) -> Result<FleetKey, Failure> {
    use evenkeel_controller::CredentialError as E;
    FleetKey::read(path).map_err(|error| {
        let kind = match &error {
            E::NoKey { .. } => Kind::NotFound,
            E::NotAKey { .. } | E::DamagedCopy { .. } => Kind::Usage,
            _ => Kind::Failed,
        };
        Failure::new(kind, chain(&error))
    })
}

/// The fleet's own, on the controller's machine.
fn own(context: &Context) -> PathBuf {
    context.data().join("controller/fleet.key")
}

/// Whether a person has yet to say that there is a copy.
pub fn unsaved(context: &Context) -> bool {
    let own = own(context);
    own.exists() && !own.with_extension("key.saved").exists()
}

impl Key {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let path = own(context);
        let key = read(&path)?;
        match &self.verb {
            Verb::Export { to: None } => {
                print::line(key.export().trim_end());
                Ok(())
            }
            Verb::Export { to: Some(to) } => export(context, &key, to),
            Verb::Confirm { file } => {
                match file {
                    Some(file) => {
                        let same = fs::canonicalize(file).ok() == fs::canonicalize(&path).ok();
                        if same {
                            let text = format!(
                                "{} is the fleet's own key and no copy; name the one that was \
                                 written by `evenkeel key export`",
                                file.display()
                            );
                            return Err(Failure::new(Kind::Usage, text));
                        }
                        compare(&read(file)?.digits(), &key, &file.display().to_string())?;
                    }
                    None => compare(&asked()?, &key, "what was typed")?,
                }
                write_synced(&path.with_extension("key.saved"), key.digits().as_bytes())?;
                print::line("noted: a copy of the fleet's key is in a safe place");
                Ok(())
            }
        }
    }
}

fn export(context: &Context, key: &FleetKey, to: &Path) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(to);
    let written = file.and_then(|mut file| {
        file.write_all(key.export().as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        let text = match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                format!("{} exists and is not overwritten; name another file", to.display())
            }
            _ => format!("{} cannot be written: {error}", to.display()),
        };
        Failure::new(Kind::Failed, text)
    })?;
    print::line(&format!("the fleet's key is in {} (check {})", to.display(), key.digits()));
    print::note(&format!(
        "put it where no disk of this fleet is, then: evenkeel key confirm --file COPY{}",
        context.hint()
    ));
    Ok(())
}

fn asked() -> Result<String, Failure> {
    print::note("the 16 digits after `check:` in the copy:");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_ascii_lowercase())
}

fn compare(digits: &str, key: &FleetKey, of: &str) -> Result<(), Failure> {
    if digits == key.digits() {
        return Ok(());
    }
    let text = format!(
        "{of} is of another key: its check digits are {digits:?}, this fleet's are {:?}; nothing was noted",
        key.digits()
    );
    Err(Failure::new(Kind::Usage, text))
}
