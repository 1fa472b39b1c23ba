//! Archives: repositories, what is sealed in them, a server's log on its way there and back.
//!
//! ```text
//! <repository>/evenkeel-repository.json   says that it is one: without it nothing is believed to be absent
//! <lineage>/key                           the service's key, wrapped for the holder of the fleet's
//! <lineage>/terms/<term>                  a term that has begun: who writes in a lower one is refused
//! <lineage>/terms/by-<engine>             who packs all of it
//! <lineage>/backups/<number>/manifest     written last: a backup without one is none
//!
//! <lineage>/log/<timeline>/<name>         native: the log's files
//! <lineage>/backups/<number>/base         native: a backup's data
//!
//! <lineage>/marks/<timeline>/<name>       pgbackrest: what a file of the log must be
//! <lineage>/pgbackrest                    pgbackrest: its own repository
//! ```
//!
//! Invariants: what is stored is durable before anybody is told so; nothing but a running backup's own
//! data is overwritten; what is read is what was sealed, under the same name, or an error.

mod ahead;
pub mod command;
pub mod engine;
pub mod lineage;
pub mod missed;
pub mod pace;
pub mod repository;
pub mod sealed;

use evenkeel_core::backup::archive::Error;
use evenkeel_core::goal::Password;

/// What everything of a service is sealed with.
#[derive(Clone)]
pub struct Key(pub [u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(a key)")
    }
}

impl Key {
    /// From 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Unreachable`]: without its key nothing can be asked of an archive.
    pub fn of(text: &Password) -> Result<Self, Error> {
        let bad = || Error::Unreachable {
            repository: "any".to_owned(),
            why: "its service's key is not 64 hexadecimal digits".to_owned(),
        };
        let text = text.0.as_bytes();
        let (digits, []) = text.as_chunks::<2>() else { return Err(bad()) };
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes: Option<Vec<u8>> =
            digits.iter().map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
        let key = bytes.and_then(|bytes| bytes.try_into().ok());
        key.map(Self).ok_or_else(bad)
    }
}
