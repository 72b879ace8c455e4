use std::{thread, time::Duration};

use resilience_core::{Reason, rate_limit::Quota};

use crate::{ALL, MINUTE, NANO, SECOND, count, log, manual, policy, retry_after, unkeyed};

#[test]
fn a_unit_is_free_again_exactly_one_window_later() {
    for (at, allowed) in [
        (SECOND - NANO, false),
        (SECOND, true),
        (SECOND + NANO, true),
    ] {
        let (limiter, clock) = unkeyed(policy(log(1, SECOND)));
        limiter.try_take(&()).unwrap();
        clock.advance(at);
        assert_eq!(limiter.try_take(&()).is_ok(), allowed, "{at:?}");
    }
}

#[test]
fn the_limit_passes_and_the_next_is_refused() {
    for algorithm in ALL {
        let quota = Quota::new(5, SECOND).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota));
        assert_eq!(count(&limiter, 9), 5, "{algorithm:?}");
        clock.advance(Duration::from_millis(1 << 33));
        assert_eq!(count(&limiter, 9), 5, "{algorithm:?}, after idling");
    }
}

#[test]
fn a_window_of_one_nanosecond_works() {
    for algorithm in ALL {
        let quota = Quota::new(2, NANO).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota));
        assert_eq!(count(&limiter, 5), 2);
        clock.advance(NANO);
        assert_eq!(count(&limiter, 5), 2);
    }
}

#[test]
fn nothing_can_always_be_taken() {
    for algorithm in ALL {
        let quota = Quota::new(1, SECOND).algorithm(algorithm);
        let (limiter, _) = unkeyed(policy(quota));
        for remaining in [1, 0] {
            assert_eq!(limiter.try_take_n(&(), 0).unwrap().remaining, remaining);
            assert_eq!(limiter.peek(&()).remaining, remaining);
            let _ = limiter.try_take(&());
        }
    }
}

#[test]
fn a_cost_that_no_wait_could_meet_is_told_apart() {
    for algorithm in ALL {
        let quota = Quota::new(3, SECOND).algorithm(algorithm);
        let (limiter, _) = unkeyed(policy(quota).max_wait(Duration::MAX));
        for cost in [4, u64::MAX] {
            let rejected = limiter.try_take_n(&(), cost).unwrap_err();
            assert_eq!(rejected.reason(), Reason::CostExceedsQuota);
            assert_eq!(rejected.retry_after(), None);
            assert!(limiter.reserve(&(), cost).is_err());
        }
        assert_eq!(limiter.peek(&()).remaining, 3);
    }
}

#[test]
fn a_refused_call_takes_nothing() {
    for algorithm in ALL {
        let quota = Quota::new(2, SECOND).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota));
        assert_eq!(count(&limiter, 1000), 2);
        let wait = limiter.peek(&()).retry_after;
        clock.advance(wait - NANO);
        assert_eq!(count(&limiter, 1000), 0);
        clock.advance(NANO);
        assert!(limiter.try_take(&()).is_ok());
    }
}

#[test]
fn threads_at_one_instant_get_the_limit_together() {
    for algorithm in ALL {
        let quota = Quota::new(500, SECOND).algorithm(algorithm);
        let (limiter, _) = manual::<u64>(policy(quota).global(log(1200, SECOND)));
        let allowed: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..8_u64)
                .map(|thread| {
                    let limiter = limiter.clone();
                    let key = thread % 4;
                    scope.spawn(move || (0..300).filter(|_| limiter.try_take(&key).is_ok()).count())
                })
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert_eq!(allowed, 1200);
        let snapshot = limiter.snapshot();
        assert_eq!((snapshot.allowed, snapshot.denied), (1200, 1200));
    }
}

#[test]
fn a_call_takes_from_all_quotas_or_from_none() {
    let burst = Quota::per_second(2).named("burst");
    let (limiter, clock) =
        manual::<String>(policy(log(3, MINUTE)).and(burst).global(log(4, MINUTE)));
    assert!(limiter.try_take("a").is_ok());
    assert!(limiter.try_take("a").is_ok());
    let rejected = limiter.try_take("a").unwrap_err();
    assert_eq!(rejected.policy(), "burst");
    assert_eq!(
        rejected.retry_after(),
        Some(Duration::from_millis(1100) - NANO)
    );
    clock.advance(Duration::from_secs(2));
    // The refusal took nothing from the others: one of three is left, then one of the four.
    assert_eq!(limiter.try_take("a").unwrap().remaining, 0);
    assert_eq!(retry_after(limiter.try_take("a")), Duration::from_secs(58));
    assert_eq!(limiter.try_take("b").unwrap().remaining, 0);
    assert_eq!(retry_after(limiter.try_take("b")), Duration::from_secs(58));
    limiter.refund("b", 1);
    assert_eq!(limiter.try_take_n("c", 1).unwrap().remaining, 0);
}

#[test]
fn clones_share_one_limiter() {
    let (limiter, _) = unkeyed(policy(log(3, SECOND)));
    let clones = [limiter.clone(), limiter.clone(), limiter.clone()];
    assert_eq!(clones.iter().map(|it| count(it, 3)).sum::<usize>(), 3);
}

#[test]
fn a_refund_gives_units_back_from_every_quota() {
    for algorithm in ALL {
        let quota = Quota::new(5, MINUTE).algorithm(algorithm);
        let (limiter, _) = manual::<u8>(policy(quota).global(quota));
        limiter.try_take_n(&1, 5).unwrap();
        limiter.refund(&1, 2);
        assert_eq!(limiter.peek(&1).remaining, 2);
        assert_eq!(limiter.peek(&2).remaining, 2);
        limiter.refund(&1, u64::MAX);
        limiter.refund(&7, u64::MAX);
        assert_eq!(limiter.peek(&1).remaining, 5);
    }
}

#[test]
fn a_refund_gives_back_the_oldest_units() {
    let (limiter, clock) = unkeyed(policy(log(2, MINUTE)));
    limiter.try_take(&()).unwrap();
    clock.advance(SECOND * 10);
    limiter.try_take(&()).unwrap();
    limiter.refund(&(), 1);
    clock.advance(SECOND * 50);
    assert_eq!(limiter.peek(&()).remaining, 1);
}
