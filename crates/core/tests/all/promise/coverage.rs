//! The coverage test as a table: every set of two and three members, every group of recruits.

use evenkeel_core::id::{Incarnation, MemberId, Term};
use evenkeel_core::promise::{Copy, Missing, Position, Promise, Recruit, Refused, Set, Unusable};

fn copy(member: u32) -> Copy {
    Copy { member: MemberId(member), incarnation: Incarnation(1) }
}

fn promise(standbys: u32, acks: u8) -> Promise {
    let mut promise = Promise::alone(copy(1));
    let standbys: Vec<Copy> = (2..2 + standbys).map(copy).collect();
    standbys.iter().for_each(|standby| promise.admit(*standby));
    if acks > 0 {
        promise.change(Set::any(acks, &standbys).expect("enough")).expect("steady");
        assert!(promise.confirmed(Term(1), 1));
    }
    promise
}

#[test]
fn recruits_cover_when_every_possible_acknowledgement_meets_them() {
    for (standbys, acks) in [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)] {
        let promise = promise(standbys, acks);
        for group in 0_u32..1 << (standbys + 1) {
            let there: Vec<Copy> =
                (0..=standbys).filter(|n| group >> n & 1 == 1).map(|n| copy(n + 1)).collect();
            // By definition: no choice of `acks` standbys avoids those who are there.
            let mut meets = there.contains(&copy(1)) || acks > 0;
            for chosen in 0_u32..1 << standbys {
                let avoids = |n: u32| chosen >> n & 1 == 0 || !there.contains(&copy(n + 2));
                if chosen.count_ones() == u32::from(acks) && (0..standbys).all(avoids) {
                    meets &= there.contains(&copy(1));
                }
            }
            assert_eq!(
                promise.covered_by(&there).is_ok(),
                meets,
                "{acks} of {standbys}: {there:?}"
            );
        }
    }
}

#[test]
fn what_is_missing_is_said_in_numbers() {
    let missing =
        promise(2, 1).safe_without_primary(&[copy(1), copy(2)], None).expect_err("one of two");
    assert_eq!(missing.to_string(), "n=2, k=1 under m1.i1, reached 1, need 2");
    let alone = promise(1, 0).safe_without_primary(&[copy(2)], None).expect_err("alone");
    assert_eq!(alone, Missing::Primary { primary: copy(1) });
}

#[test]
fn the_first_in_rank_is_promoted_or_nobody() {
    let mut promise = promise(2, 1);
    promise.recruit();
    let recruit = |member, history, flushed| Recruit {
        copy: copy(member),
        history: Term(history),
        flushed: Position(flushed),
    };
    let winner = |recruits: &[Recruit]| promise.winner(recruits, None);
    assert_eq!(winner(&[recruit(2, 1, 10), recruit(3, 1, 11)]), Ok(copy(3)));
    assert_eq!(winner(&[recruit(2, 2, 10), recruit(3, 1, 99)]), Ok(copy(2)));
    assert_eq!(winner(&[recruit(2, 1, 10), recruit(3, 1, 10)]), Ok(copy(2)), "ties by id");
    assert!(matches!(winner(&[recruit(3, 1, 10)]), Err(Refused::Uncovered(_))));
    let both = [recruit(2, 1, 10), recruit(3, 1, 11)];
    assert_eq!(promise.promote(&both, None, Set::nobody()), Ok(copy(3)));
    promise.recruit();
    let tainted = Refused::Unusable(Unusable::Tainted(copy(3)));
    assert_eq!(
        promise.winner(&both, None),
        Err(Refused::Uncovered(Missing::Primary { primary: copy(3) })).or(Err(tainted.clone()))
    );
    promise.told(copy(3));
    assert_eq!(promise.winner(&both, None), Ok(copy(3)));
}

#[test]
fn there_is_no_way_back_from_a_recorded_promotion() {
    let mut promise = promise(1, 1);
    assert_eq!(promise.reappoint(), Err(Refused::Phase(promise.phase)));
    promise.recruit();
    promise.reappoint().expect("a false alarm");
    assert_eq!((promise.term, promise.change), (Term(3), 1));
    assert!(promise.confirmed(Term(3), 1) && !promise.confirmed(Term(3), 1));
    promise.recruit();
    promise.unknown = true;
    assert_eq!(promise.reappoint(), Err(Refused::Unknown));
    promise.assert_sound();
}

#[test]
fn a_copy_that_something_is_owed_of_is_not_remade() {
    let mut promise = promise(2, 1);
    assert!(!promise.may_be_remade(copy(1)) && !promise.may_be_remade(copy(2)));
    promise.change(Set::any(1, &[copy(3)]).expect("one")).expect("steady");
    assert!(!promise.may_be_remade(copy(2)), "not before the new set is confirmed");
    promise.confirmed(Term(1), 2);
    assert!(promise.may_be_remade(copy(2)));
    let stranger = Set::any(1, &[copy(9)]).expect("one");
    assert_eq!(promise.change(stranger), Err(Refused::NotAStandby(copy(9))));
    assert!(Set::any(2, &[copy(2)]).is_err());
}

#[test]
fn what_is_forgiven_covers_only_with_somebody_near_and_nobody_left_in_contact() {
    let mut promise = promise(2, 0);
    let (near, all) = ([copy(2)], [copy(2), copy(3)]);
    let safe = |there: &[Copy], forgiven| promise.safe_without_primary(there, forgiven);
    assert_eq!(safe(&all, Some(&near)), Ok(()));
    assert_eq!(safe(&all, None), Err(Missing::Primary { primary: copy(1) }), "a plan that waits");
    assert_eq!(safe(&all, Some(&[])), Err(Missing::Bound { primary: copy(1) }));
    assert_eq!(safe(&[copy(3)], Some(&near)), Err(Missing::Bound { primary: copy(1) }));
    assert_eq!(safe(&near, Some(&near)), Err(Missing::Contact { copy: copy(3) }));
    // What was forgiven when the primary was given up is in the record, and of use for that alone.
    promise.recruit();
    promise.forgive(near.to_vec());
    assert_eq!(promise.covered_by(&all), Ok(()));
    let recruit = |n, at| Recruit { copy: copy(n), history: Term(0), flushed: Position(at) };
    let recruits = [recruit(2, 10), recruit(3, 20)];
    let winner = promise.promote(&recruits, None, Set::nobody());
    assert_eq!(winner, Ok(copy(3)), "who has more than one that was near goes first");
    assert!(promise.confirmed(Term(2), 1));
    assert_eq!(promise.forgiven, None);
    assert!(promise.covered_by(&[copy(2)]).is_err());
}
