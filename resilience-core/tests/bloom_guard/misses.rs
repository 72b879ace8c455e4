//! What passed and was not found.

use std::time::Duration;

use resilience_core::{Outcome, Reason, Settle as _, bloom_guard::Presence};

use super::{false_positives, forgetful, guard, miss, policy};

#[test]
fn a_false_positive_that_is_not_found_is_remembered_for_its_time() {
    let (guard, clock) = forgetful(100);
    let ghost = false_positives(&guard).next().unwrap();
    miss(&guard, ghost);
    assert_eq!(guard.check(&ghost), Presence::Absent);
    let rejected = guard.try_acquire(&ghost).unwrap_err();
    assert_eq!(
        (rejected.reason(), rejected.policy()),
        (Reason::Absent, "dishes")
    );
    assert_eq!(
        (rejected.outcome(), rejected.retry_after()),
        (Outcome::NotCalled, None)
    );
    assert_eq!(guard.snapshot().remembered, 1);
    clock.advance(Duration::from_secs(60));
    assert_eq!(guard.check(&ghost), Presence::Maybe);
    assert_eq!(guard.snapshot().remembered, 0);
}

#[test]
fn only_an_answer_says_that_a_key_does_not_exist_never_an_error() {
    let (guard, _clock) = forgetful(100);
    let ghost = false_positives(&guard).next().unwrap();
    for outcome in [
        Outcome::Failure,
        Outcome::NotCalled,
        Outcome::Canceled,
        Outcome::Ignored,
        Outcome::Overload { retry_after: None },
    ] {
        let mut permit = guard.try_acquire(&ghost).unwrap();
        permit.not_found();
        permit.settle(outcome);
    }
    let mut dropped = guard.try_acquire(&ghost).unwrap();
    dropped.not_found();
    drop(dropped);
    guard.try_acquire(&ghost).unwrap().settle(Outcome::Success);
    assert_eq!(guard.check(&ghost), Presence::Maybe);
}

#[test]
fn a_key_that_is_inserted_is_visible_at_once_though_it_was_remembered() {
    let (guard, _clock) = forgetful(100);
    let ghost = false_positives(&guard).next().unwrap();
    miss(&guard, ghost);
    guard.insert(&ghost);
    assert_eq!(guard.check(&ghost), Presence::Maybe);
    // The commit that creates it comes after the insert: the service does not find it yet.
    miss(&guard, ghost);
    assert_eq!(guard.check(&ghost), Presence::Maybe);
}

#[test]
fn a_not_found_under_way_while_its_key_is_inserted_is_not_remembered() {
    for inserts in [1, 10_000] {
        let (guard, _clock) = forgetful(100);
        let ghost = false_positives(&guard).next().unwrap();
        let mut permit = guard.try_acquire(&ghost).unwrap();
        permit.not_found();
        guard.insert(&ghost);
        (1..inserts).for_each(|_| guard.insert(&0));
        permit.settle(Outcome::Success);
        assert_eq!(guard.check(&ghost), Presence::Maybe, "after {inserts}");
    }
    let (guard, _clock) = forgetful(100);
    let ghost = false_positives(&guard).next().unwrap();
    let mut permit = guard.try_acquire(&ghost).unwrap();
    permit.not_found();
    guard.rebuild_from(|| (0..1000).chain([ghost])).unwrap();
    permit.settle(Outcome::Success);
    assert_eq!(guard.check(&ghost), Presence::Maybe);
}

#[test]
fn a_rebuild_forgets_what_was_not_found() {
    let (guard, _clock) = forgetful(100);
    let ghost = false_positives(&guard).next().unwrap();
    miss(&guard, ghost);
    guard.rebuild_from(|| (0..1000).chain([ghost])).unwrap();
    assert_eq!(guard.check(&ghost), Presence::Maybe);
}

#[test]
fn what_is_remembered_is_bounded() {
    let (guard, clock) = forgetful(64);
    let ghosts: Vec<u64> = false_positives(&guard).take(1000).collect();
    for ghost in &ghosts {
        clock.advance(Duration::from_millis(1));
        if guard.check(ghost) == Presence::Maybe {
            miss(&guard, *ghost);
        }
    }
    let remembered = guard.snapshot().remembered;
    assert!((32..=64).contains(&remembered), "{remembered}");
    assert_eq!(guard.check(ghosts.last().unwrap()), Presence::Absent);
}

#[test]
fn the_measured_rate_is_that_of_the_unknown_keys_that_passed() {
    let guard = guard(policy(), 0..1000);
    assert_eq!(guard.snapshot().measured_false_positive_rate, None);
    for key in 1_000_000..1_020_000 {
        if let Ok(mut permit) = guard.try_acquire(&key) {
            permit.not_found();
            permit.settle(Outcome::Success);
        }
    }
    let snapshot = guard.snapshot();
    let measured = snapshot.measured_false_positive_rate.unwrap();
    assert!((0.005..0.015).contains(&measured), "{measured}");
    assert_eq!(snapshot.absent + snapshot.maybe, 20_000);
    guard.rebuild_from(|| 0..1000_u64).unwrap();
    assert_eq!(guard.snapshot().measured_false_positive_rate, None);
}
