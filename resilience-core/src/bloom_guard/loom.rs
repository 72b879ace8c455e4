//! Every interleaving of one who asks with those who change the filter.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use loom::thread;

use super::{BloomGuard, Policy, Presence};
use crate::{Environment, Event, ManualClock, Outcome, Settle as _};

fn check(test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(test);
}

/// One word of bits and two hashes, to keep the model small.
fn guard() -> BloomGuard<u64> {
    let policy = Policy::new("loom")
        .expected_keys(8)
        .false_positive_rate(0.3)
        .seed(*b"thirty-two bytes that are secret")
        .overload_factor(f64::INFINITY)
        .remember(1, std::time::Duration::from_secs(60));
    let environment = Environment::new()
        .clock(ManualClock::new())
        .observer(|_: &Event<'_>| {});
    BloomGuard::new_in(policy, &environment).unwrap()
}

#[test]
fn loom_a_check_during_two_rebuilds_never_misses_a_key_that_is_in_all_of_them() {
    check(|| {
        let guard = guard();
        guard.rebuild_from(|| [1]).unwrap();
        let other = guard.clone();
        let rebuilds = thread::spawn(move || {
            other.rebuild_from(|| [1]).unwrap();
            other.rebuild_from(|| [1]).unwrap();
        });
        assert_eq!(guard.check(&1), Presence::Maybe);
        rebuilds.join().unwrap();
    });
}

#[test]
fn loom_a_key_inserted_while_a_rebuild_begins_or_ends_is_there() {
    check(|| {
        let guard = guard();
        guard.rebuild_from(|| [1]).unwrap();
        let other = guard.clone();
        let inserts = thread::spawn(move || {
            other.insert(&2);
            assert_eq!(other.check(&2), Presence::Maybe);
        });
        guard.rebuild_from(|| [1]).unwrap();
        inserts.join().unwrap();
        assert_eq!(guard.check(&2), Presence::Maybe);
    });
}

#[test]
fn loom_a_not_found_under_way_never_hides_a_key_that_was_inserted() {
    check(|| {
        let guard = guard();
        guard.rebuild_from(|| [1]).unwrap();
        let mut permit = guard.try_acquire(&1).unwrap();
        permit.not_found();
        let other = guard.clone();
        let inserts = thread::spawn(move || {
            other.insert(&1);
            assert_eq!(other.check(&1), Presence::Maybe);
        });
        permit.settle(Outcome::Success);
        inserts.join().unwrap();
        assert_eq!(guard.check(&1), Presence::Maybe);
    });
}
