//! Goals are fenced: every relation of (incarnation, term, revision, content) has one answer.

use std::sync::Arc;

use evenkeel_core::goal::{
    Accept, Applied, Goal, Identity, Refusal, RestartBudget, Role, StopMode, StoreId, Want, accept,
};
use evenkeel_core::id::{Incarnation, MemberId, Revision, ServiceId, Term};
use evenkeel_core::name::ServiceName;
use evenkeel_core::row;
use evenkeel_core::time::Span;

fn goal(term: u32, revision: u32) -> Goal {
    Goal {
        store: StoreId("a".into()),
        succeeds: Vec::new(),
        identity: Identity {
            service: ServiceId(1),
            name: ServiceName::new("orders").expect("a good name"),
            kind: "postgres".into(),
            plan: "dev".into(),
            endpoint_port: 21000,
            members: Vec::new(),
            key: "k1".into(),
        }
        .into(),
        member: MemberId(1),
        incarnation: Incarnation(1),
        term: Term(term),
        revision: Revision(revision),
        want: Want::Running,
        role: Role::alone(),
        image: "i".into(),
        address: "127.0.0.1".into(),
        port: 21001,
        settings: Arc::default(),
        logins: Vec::new(),
        restarts: 0,
        stop: StopMode::Fast,
        ends_soon: false,
        fence: None,
        budget: RestartBudget { tries_max: 3, window: Span::mins(1), backoff: Span::secs(1) },
        archive: None,
        flush: 0,
        seed: None,
        import: None,
        job: None,
        script: None,
    }
}

#[test]
fn every_relation_of_goals_has_one_answer() {
    for pledged in 1..4 {
        let applied = Applied {
            incarnation: Incarnation(1),
            pledged: Term(pledged),
            goal: goal(2.min(pledged), 2).into(),
        };
        for term in 1..4 {
            for revision in 1..4 {
                let new = goal(term, revision);
                let answer = accept(Some(&applied), &new);
                let mine = (applied.goal.term.0, applied.goal.revision.0);
                if term < pledged || (term, revision) < mine {
                    assert!(matches!(answer, Err(Refusal::Stale { .. })), "{term}/{revision}");
                } else if (term, revision) == mine {
                    assert_eq!(answer, Ok(Accept::Known));
                } else {
                    assert_eq!(answer, Ok(Accept::New));
                }
            }
        }
    }
}

#[test]
fn the_same_revision_with_other_content_is_refused() {
    let applied =
        Applied { incarnation: Incarnation(1), pledged: Term(1), goal: goal(1, 1).into() };
    let mut other = goal(1, 1);
    other.want = Want::Removed;
    assert!(matches!(accept(Some(&applied), &other), Err(Refusal::Forked { .. })));
}

#[test]
fn a_goal_for_another_incarnation_is_refused_however_new() {
    let applied =
        Applied { incarnation: Incarnation(2), pledged: Term(1), goal: goal(1, 1).into() };
    let refused = accept(Some(&applied), &goal(9, 9)).unwrap_err();
    assert_eq!(refused.to_string(), "goal is for incarnation i1, the directory is i2");
}

#[test]
fn rows_begin_with_their_version() {
    let bytes = row::encode(&goal(1, 1));
    assert_eq!(bytes[0], row::VERSION);
    assert_eq!(row::decode::<Goal>(&bytes).unwrap(), goal(1, 1));
    assert!(matches!(row::decode::<Goal>(&[]), Err(row::Error::Empty)));
    assert!(matches!(row::decode::<Goal>(&[9, b'{']), Err(row::Error::Newer { found: 9 })));
    assert!(matches!(row::decode::<Goal>(&bytes[..20]), Err(row::Error::Damaged(_))));
}
