//! What can be set, and what cannot.

use std::time::Duration;

use resilience_core::{
    BloomGuard,
    bloom_guard::{Policy, Presence},
};

use super::{guard, policy};

#[test]
fn settings_that_cannot_work_are_found_at_construction() {
    let field = |policy| BloomGuard::<u64>::new(policy).unwrap_err().field();
    assert_eq!(field(Policy::new("")), "name");
    for keys in [0, u64::MAX, 1 << 60, 1 << 40] {
        assert_eq!(field(policy().expected_keys(keys)), "expected_keys");
    }
    for rate in [
        0.0,
        1.0,
        -0.5,
        2.0,
        1e-13,
        f64::NAN,
        f64::INFINITY,
        f64::MIN_POSITIVE,
    ] {
        let policy = policy().false_positive_rate(rate);
        assert_eq!(field(policy), "false_positive_rate", "{rate}");
    }
    for factor in [0.0, 0.99, -1.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(field(policy().overload_factor(factor)), "overload_factor");
    }
    assert_eq!(field(policy().seed([7; 32])), "seed", "one hash twice");
    let second = Duration::from_secs(1);
    for (capacity, ttl) in [(0, second), (usize::MAX, second), (1, Duration::ZERO)] {
        assert_eq!(field(policy().remember(capacity, ttl)), "remember");
    }
}

#[test]
fn the_extremes_of_what_is_allowed_work() {
    for rate in [1e-12, 0.5, 0.999_999] {
        for keys in [1, 2, 100] {
            let policy = policy()
                .expected_keys(keys)
                .false_positive_rate(rate)
                .overload_factor(f64::INFINITY)
                .remember(1, Duration::MAX);
            let guard = guard(policy, 0..keys);
            assert!((0..keys).all(|key| guard.check(&key) == Presence::Maybe));
        }
    }
}

#[test]
fn the_seed_is_never_printed() {
    let policy = policy();
    let guard = guard(policy, 0..1);
    let printed = format!(
        "{policy:?} {guard:?} {:?} {:?}",
        guard.rebuild(),
        guard.try_acquire(&0)
    );
    for secret in ["116, 104", "thirty", "7468", "74, 68", "0x74"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn a_guard_says_which_rate_it_was_built_for() {
    let policy = Policy::new("guard").false_positive_rate(0.02);
    let bits = BloomGuard::<u64>::new(policy).unwrap();
    assert_eq!(
        bits.snapshot().stated_false_positive_rate.to_bits(),
        0.02_f64.to_bits()
    );
    let exact = BloomGuard::<u64, _>::exact(policy).unwrap();
    assert_eq!(exact.snapshot().stated_false_positive_rate.to_bits(), 0);
}
