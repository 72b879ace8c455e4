use std::time::Duration;

use resilience_core::{
    InvalidPolicy, Timestamp,
    rate_limit::{Algorithm, Policy, Quota, RateLimiter, Reservation},
};

use crate::{ALL, NANO, SECOND, invalid, policy, unkeyed};

#[test]
fn what_cannot_work_is_an_invalid_policy() {
    assert_eq!(invalid(policy(Quota::per_second(0))), "limit");
    assert_eq!(invalid(policy(Quota::new(1, Duration::ZERO))), "per");
    let gcra = Quota::per_second(1).algorithm(Algorithm::Gcra);
    assert_eq!(invalid(policy(gcra.burst(0))), "burst");
    assert_eq!(invalid(policy(Quota::per_second(1).burst(2))), "burst");
    let quota = Quota::per_second(1);
    assert_eq!(invalid(policy(quota).capacity(0)), "capacity");
    assert_eq!(invalid(policy(quota).global(Quota::per_second(0))), "limit");
    assert_eq!(
        invalid(policy(quota).and(quota).and(quota).and(quota).and(quota)),
        "and"
    );
    assert_eq!(
        invalid(policy(quota).tier("a", quota).tier("a", quota)),
        "tier"
    );
    assert_eq!(invalid(policy(quota.named("two\nlines"))), "name");
    assert_eq!(invalid(Policy::new("", quota)), "name");
}

#[test]
fn every_other_number_works() {
    for algorithm in ALL {
        for limit in [1, 2, 3, u64::MAX - 1, u64::MAX] {
            for per in [NANO, Duration::from_nanos(9), SECOND, Duration::MAX] {
                let quota = Quota::new(limit, per).algorithm(algorithm);
                let (limiter, clock) = unkeyed(policy(quota).max_wait(Duration::MAX));
                for now in [0, 1, 1 << 40, u64::MAX - 1, u64::MAX, 5] {
                    clock.set(Timestamp::from_nanos(now));
                    for cost in [0, 1, limit - 1, limit, limit.saturating_add(1), u64::MAX] {
                        let _ = limiter.try_take_n(&(), cost);
                        let _ = limiter.peek(&());
                        let _ = limiter.reserve(&(), cost).map(Reservation::cancel);
                        limiter.refund(&(), cost);
                    }
                }
            }
        }
    }
}

#[test]
fn the_error_says_what_to_change() -> Result<(), InvalidPolicy> {
    let error = RateLimiter::<()>::new(policy(Quota::per_second(0))).unwrap_err();
    assert!(error.to_string().contains("`limit` must not be zero"));
    RateLimiter::<()>::new(policy(Quota::per_second(1))).map(drop)
}
