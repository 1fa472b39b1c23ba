//! Archiving a log file, and asking for one back: what may come of it, and what the server is told.
//!
//! Invariants: "it is not there" and "it could not be asked for" are never the same answer, since a
//! server that restores takes the first for the end of the log; the same name with other bytes is never
//! taken; who writes in a lower term than another did before is refused.

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use crate::digest::Digest;
use crate::id::Term;

/// What came of archiving a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Archived {
    /// It is stored, durably.
    Stored,
    /// It was stored before, byte for byte.
    Already,
}

/// Why a repository did not do as it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Error {
    /// It answered: there is nothing of that name.
    #[error("{name} is not in repository {repository}")]
    NotThere {
        /// Which repository.
        repository: String,
        /// What was asked for.
        name: String,
    },
    /// It gave no answer, or none that can be believed.
    #[error("repository {repository} cannot be asked: {why}")]
    Unreachable {
        /// Which repository.
        repository: String,
        /// In the words of whoever tried.
        why: String,
    },
    /// It has no room.
    #[error("repository {repository} has no room left")]
    Full {
        /// Which repository.
        repository: String,
    },
    /// It lets nobody in with these credentials.
    #[error(
        "repository {repository} refuses its credentials; `evenkeel repository show` names them"
    )]
    Denied {
        /// Which repository.
        repository: String,
    },
    /// The name is taken by something else: two servers write to one archive.
    #[error("{name} is in repository {repository} with other content; nothing was overwritten")]
    Differs {
        /// Which repository.
        repository: String,
        /// Which file.
        name: String,
    },
    /// Somebody has written in a newer term.
    #[error("{name} was written in {term}, and {newest} has begun: it is not archived")]
    Stale {
        /// Which file.
        name: String,
        /// The writer's term.
        term: Term,
        /// The newest that wrote.
        newest: Term,
    },
    /// It is another engine's.
    #[error(
        "the archive in repository {repository} was begun with engine {begun}, and {engine} can \
         neither read it nor write to it"
    )]
    OtherEngine {
        /// Which repository.
        repository: String,
        /// Whose it is.
        begun: Engine,
        /// Whoever came.
        engine: Engine,
    },
    /// What is there is not what was stored.
    #[error("{name} in repository {repository} is damaged")]
    Damaged {
        /// Which repository.
        repository: String,
        /// Which file.
        name: String,
    },
}

impl Error {
    /// Whether the same may go well later without anybody doing anything here.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Full { .. } | Self::Denied { .. })
    }
}

/// What a repository has under a name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct There {
    /// Of its content, before it was packed.
    pub digest: Digest,
}

/// Whether a file of a server may be stored, is, or must not be.
///
/// # Errors
/// [`Error::Stale`] and [`Error::Differs`].
pub fn admit(
    repository: &str,
    name: &str,
    content: Digest,
    writer: Term,
    newest: Term,
    there: Option<There>,
) -> Result<Option<Archived>, Error> {
    match there {
        // It is in already: nothing is written, whoever asks.
        Some(there) if there.digest == content => Ok(Some(Archived::Already)),
        _ if writer < newest => Err(Error::Stale { name: name.to_owned(), term: writer, newest }),
        Some(_) => {
            let (repository, name) = (repository.to_owned(), name.to_owned());
            Err(Error::Differs { repository, name })
        }
        None => Ok(None),
    }
}

/// What several repositories together come to, where one that stored it is enough.
///
/// # Errors
/// The error that should be told, where none stored it: what no waiting will mend comes first.
pub fn of_all(results: Vec<Result<Archived, Error>>) -> Result<Archived, Error> {
    // Two writers of one archive are an emergency, however many repositories took it.
    let split = |result: &Result<Archived, Error>| {
        matches!(result, Err(Error::Differs { .. } | Error::Stale { .. }))
    };
    if let Some(at) = results.iter().position(split) {
        return results.into_iter().nth(at).unwrap_or(Ok(Archived::Already));
    }
    let mut errors = Vec::new();
    let mut best = None;
    for result in results {
        match result {
            Ok(Archived::Stored) => best = Some(Archived::Stored),
            Ok(Archived::Already) => best = best.or(Some(Archived::Already)),
            Err(error) => errors.push(error),
        }
    }
    errors.sort_by_key(Error::may_pass);
    let none = || Error::Unreachable { repository: "none".into(), why: "there is none".into() };
    best.ok_or_else(|| errors.into_iter().next().unwrap_or_else(none))
}

/// What a server's command to archive ends with. It asks for the same file again after anything but 0,
/// and counts it as failed; a code above 125 would end its archiver uncounted.
#[must_use]
pub const fn archive_exit(result: &Result<Archived, Error>) -> u8 {
    match result {
        Ok(_) => 0,
        Err(Error::Unreachable { .. } | Error::NotThere { .. }) => 1,
        Err(Error::Full { .. }) => 2,
        Err(Error::Denied { .. }) => 3,
        Err(Error::Damaged { .. }) => 4,
        Err(Error::Differs { .. }) => 5,
        Err(Error::Stale { .. }) => 6,
        Err(Error::OtherEngine { .. }) => 7,
    }
}

/// What its command to restore ends with. Only "not there" may look like the end of the log: codes above
/// 125 end recovery instead, and it is tried again.
#[must_use]
pub const fn restore_exit(result: &Result<(), Error>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(Error::NotThere { .. }) => 1,
        Err(_) => 126,
    }
}

/// Asking several repositories for one file: the first that has it gives it; it is not there only if
/// every one says so.
///
/// # Errors
/// What the first that could not be believed said, else [`Error::NotThere`].
pub fn fetched(results: Vec<Result<(), Error>>) -> Result<(), Error> {
    let mut nowhere = None;
    let mut unsure = None;
    for result in results {
        match result {
            Ok(()) => return Ok(()),
            Err(error @ Error::NotThere { .. }) => nowhere = Some(error),
            Err(error) => unsure = unsure.or(Some(error)),
        }
    }
    let none = || Error::Unreachable { repository: "none".into(), why: "there is none".into() };
    Err(unsure.or(nowhere).unwrap_or_else(none))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors() -> Vec<Error> {
        let (repository, name) = ("here".to_owned(), "a".to_owned());
        vec![
            Error::NotThere { repository: repository.clone(), name: name.clone() },
            Error::Unreachable { repository: repository.clone(), why: "no route".to_owned() },
            Error::Full { repository: repository.clone() },
            Error::Denied { repository: repository.clone() },
            Error::Differs { repository: repository.clone(), name: name.clone() },
            Error::Stale { name: name.clone(), term: Term(1), newest: Term(2) },
            Error::OtherEngine {
                repository: repository.clone(),
                begun: Engine::Native,
                engine: Engine::PgBackRest,
            },
            Error::Damaged { repository, name },
        ]
    }

    #[test]
    fn a_server_takes_only_one_answer_for_the_end_of_its_log() {
        for error in errors() {
            let ends = matches!(error, Error::NotThere { .. });
            assert_eq!(restore_exit(&Err(error.clone())) <= 125, ends, "{error}");
            let exit = archive_exit(&Err(error.clone()));
            assert!((1..=125).contains(&exit), "{error}: {exit} is counted and tried again");
        }
        assert_eq!((restore_exit(&Ok(())), archive_exit(&Ok(Archived::Already))), (0, 0));
    }

    #[test]
    fn nothing_is_overwritten_and_no_older_term_writes() {
        let (one, other) = (Digest([1; 32]), Digest([2; 32]));
        let admit = |content, writer, there: Option<Digest>| {
            let there = there.map(|digest| There { digest });
            admit("here", "a", content, Term(writer), Term(5), there)
        };
        assert_eq!(admit(one, 5, None), Ok(None));
        assert_eq!(admit(one, 6, None), Ok(None));
        assert_eq!(admit(one, 5, Some(one)), Ok(Some(Archived::Already)));
        assert_eq!(admit(one, 4, Some(one)), Ok(Some(Archived::Already)), "nothing is written");
        assert!(matches!(admit(one, 4, None), Err(Error::Stale { .. })));
        assert!(matches!(admit(one, 4, Some(other)), Err(Error::Stale { .. })));
        assert!(matches!(admit(one, 9, Some(other)), Err(Error::Differs { .. })));
    }

    #[test]
    fn one_repository_is_enough_to_store_and_all_are_needed_to_say_that_it_is_nowhere() {
        let stored = || Ok(Archived::Stored);
        for error in errors() {
            let both = of_all(vec![Err(error.clone()), stored()]);
            let split = matches!(error, Error::Differs { .. } | Error::Stale { .. });
            assert_eq!(both.is_err(), split, "{error}");
            let nowhere = Error::NotThere { repository: "b".into(), name: "a".into() };
            for order in [[error.clone(), nowhere.clone()], [nowhere, error.clone()]] {
                let answer = fetched(order.into_iter().map(Err).collect());
                let there = matches!(answer, Err(Error::NotThere { .. }));
                assert_eq!(there, matches!(error, Error::NotThere { .. }), "{error}");
            }
            assert_eq!(fetched(vec![Err(error), Ok(())]), Ok(()));
        }
        assert_eq!(of_all(vec![Ok(Archived::Already), stored()]), stored());
        assert!(of_all(Vec::new()).is_err() && fetched(Vec::new()).is_err());
        let worse = Error::Damaged { repository: "b".into(), name: "a".into() };
        let passing = Error::Full { repository: "a".into() };
        assert_eq!(of_all(vec![Err(passing), Err(worse.clone())]), Err(worse), "told first");
    }
}
