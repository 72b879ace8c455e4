use resilience_core::{Timestamp, rate_limit::Quota};

use crate::{ALL, SECOND, count, log, policy, unkeyed};

#[test]
fn a_clock_that_falls_back_gives_nothing_away_and_blocks_nobody_for_long() {
    for algorithm in ALL {
        let quota = Quota::new(2, SECOND).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota));
        let century = SECOND * 3_000_000_000;
        clock.advance(century);
        assert_eq!(count(&limiter, 5), 2);
        clock.set(Timestamp::ZERO);
        assert_eq!(count(&limiter, 5), 0, "{algorithm:?}");
        clock.advance(SECOND * 2);
        assert_eq!(count(&limiter, 5), 2, "{algorithm:?}");
        clock.set(Timestamp::from_nanos(u64::MAX));
        assert!(count(&limiter, 5) <= 2);
        clock.set(Timestamp::ZERO);
        assert_eq!(count(&limiter, 5), 0);
    }
}

#[test]
fn callers_that_read_the_clock_in_disorder_gain_nothing() {
    let (limiter, clock) = unkeyed(policy(log(1, SECOND)));
    clock.advance(SECOND);
    limiter.try_take(&()).unwrap();
    for _ in 0..1000 {
        clock.set(Timestamp::from_nanos(999_000_000));
        assert!(limiter.try_take(&()).is_err());
        clock.set(Timestamp::from_nanos(1_000_000_000));
        assert!(limiter.try_take(&()).is_err());
    }
    clock.advance(SECOND);
    assert!(limiter.try_take(&()).is_ok());
}
