//! A member's script, as its agent runs it beside the server.
//!
//! Invariants: a script is begun once for its number, and that is on disk before it begins; an agent that
//! finds one begun that it does not run tells of it as interrupted, unless it may be begun again; a text that
//! is not its digest's is never run; one that is not wanted any more is ended.

use serde::{Deserialize, Serialize};

use super::member::Member;
use super::stored::Stored;
use crate::id::OperationId;
use crate::procedure::{Ran, Script};

/// A script that was begun, as the agent keeps it on disk for as long as its goal names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Which.
    pub id: OperationId,
    /// What came of it; none while it runs, or if its agent ended before it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<Ran>,
}

/// The script that runs, by its number at this agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scripting {
    running: Option<(OperationId, u64)>,
}

/// What is to be done about a member's script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The one that runs, by its number, is to end.
    pub end: Option<u64>,
    /// The goal's is to begin.
    pub begin: bool,
    /// What is kept changed.
    pub changed: bool,
}

impl Scripting {
    /// What is to be done, as a goal wants it and as the disk has it.
    pub fn due(&mut self, wanted: Option<&Script>, kept: &mut Option<Box<Begun>>) -> Due {
        let mut due = Due::default();
        if let Some((id, number)) = self.running
            && wanted.is_none_or(|script| script.id != id)
        {
            (self.running, due.end) = (None, Some(number));
        }
        let Some(script) = wanted else {
            due.changed = kept.take().is_some();
            return due;
        };
        match kept {
            Some(begun) if begun.id == script.id => {
                if begun.ran.is_some() || self.running.is_some() {
                    return due;
                }
                // An agent before this one began it.
                due.begin = script.code.repeatable;
                if !due.begin {
                    let text = "it was interrupted: its agent ended while it ran";
                    (begun.ran, due.changed) = (Some(Ran::failed(text)), true);
                }
            }
            _ => {
                let same = script.code.digest() == script.digest;
                let refused =
                    "it was not run: its text is not the one that was ordered, by its digest";
                let ran = (!same).then(|| Ran::failed(refused));
                (due.begin, due.changed) = (same, true);
                *kept = Some(Box::new(Begun { id: script.id, ran }));
            }
        }
        due
    }

    /// It begins, under a number that is nobody else's.
    pub fn begin(&mut self, id: OperationId, number: u64) {
        self.running = Some((id, number));
    }

    /// What came of it; whether anybody waits for that.
    pub fn ended(&mut self, number: u64, ran: &Ran, kept: &mut Option<Box<Begun>>) -> bool {
        let Some((id, _)) = self.running.take_if(|(_, own)| *own == number) else { return false };
        match kept {
            Some(begun) if begun.id == id => {
                begun.ran = Some(ran.clone());
                true
            }
            _ => false,
        }
    }
}

impl Member {
    /// What is to be done about its script.
    pub fn script_due(&mut self) -> Due {
        let Stored { applied, script, .. } = &mut self.stored;
        let due = self.scripting.due(applied.goal.script.as_deref(), script);
        (self.unsaved, self.touched) = (self.unsaved || due.changed, self.touched || due.changed);
        due
    }

    /// What came of its script. Whatever it changed is looked at soon: what it healed is to be seen before
    /// anybody is asked about it again.
    pub fn script_ended(&mut self, number: u64, ran: &Ran) {
        self.seen.due.soon();
        let waited = self.scripting.ended(number, ran, &mut self.stored.script);
        (self.unsaved, self.touched) = (self.unsaved || waited, self.touched || waited);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::procedure::{Code, Login};
    use crate::time::Span;

    fn script(id: u64, repeatable: bool) -> Script {
        let code = Code {
            interpreter: vec!["/bin/sh".to_owned()],
            limit: Span::secs(60),
            login: Login::Check,
            disruptive: false,
            repeatable,
            text: "true".to_owned(),
        };
        Script {
            id: OperationId(id),
            procedure: "tidy".to_owned(),
            digest: code.digest(),
            limit: code.limit,
            code,
            parameters: BTreeMap::new(),
            dry_run: false,
        }
    }

    const BEGIN: Due = Due { end: None, begin: true, changed: true };
    const NOTHING: Due = Due { end: None, begin: false, changed: false };

    #[test]
    fn a_script_is_begun_once_and_told_of_until_nobody_asks() {
        let (mut own, mut kept) = (Scripting::default(), None);
        let wanted = script(3, false);
        assert_eq!(own.due(Some(&wanted), &mut kept), BEGIN);
        own.begin(wanted.id, 8);
        assert_eq!(own.due(Some(&wanted), &mut kept), NOTHING);
        assert!(!own.ended(7, &Ran::failed("another's"), &mut kept));
        assert!(own.ended(8, &Ran::failed("its own"), &mut kept));
        assert_eq!(own.due(Some(&wanted), &mut kept), NOTHING, "not a second time");
        assert_eq!(kept.as_ref().unwrap().ran.as_ref().unwrap().text, "its own");
        assert_eq!(own.due(None, &mut kept), Due { changed: true, ..NOTHING });
        assert_eq!(kept, None);
    }

    #[test]
    fn an_agent_that_restarts_runs_again_only_what_may_be_repeated() {
        for repeatable in [false, true] {
            let (mut own, mut kept) = (Scripting::default(), None);
            let wanted = script(3, repeatable);
            assert_eq!(own.due(Some(&wanted), &mut kept), BEGIN);
            // What is on disk outlives the agent, what it runs does not.
            let mut next = Scripting::default();
            assert_eq!(next.due(Some(&wanted), &mut kept).begin, repeatable);
            let told = kept.and_then(|begun| begun.ran);
            assert_eq!(told.is_some_and(|ran| ran.text.contains("interrupted")), !repeatable);
        }
    }

    #[test]
    fn what_nobody_wants_any_more_is_ended() {
        let (mut own, mut kept) = (Scripting::default(), None);
        own.due(Some(&script(3, false)), &mut kept);
        own.begin(OperationId(3), 8);
        let due = own.due(Some(&script(4, false)), &mut kept);
        assert_eq!(due, Due { end: Some(8), begin: true, changed: true });
        assert!(!own.ended(8, &Ran::failed("late"), &mut kept), "it is nobody's any more");
    }

    #[test]
    fn a_text_of_another_digest_is_refused() {
        let (mut own, mut kept) = (Scripting::default(), None);
        let mut forged = script(3, true);
        forged.code.text = "rm -rf /".to_owned();
        assert_eq!(own.due(Some(&forged), &mut kept), Due { begin: false, ..BEGIN });
        assert!(kept.unwrap().ran.unwrap().text.contains("digest"));
    }
}
