use std::time::Duration;

use resilience_core::rate_limit::{Algorithm, Charge, MissingKey, Mode, Policy, Quota};

use crate::{ALL, MINUTE, SECOND, count, manual, policy, retry_after, unkeyed};

#[test]
fn a_limit_lowered_below_what_is_used_refuses_until_enough_has_come_back() {
    for algorithm in ALL {
        let quota = |limit| policy(Quota::new(limit, SECOND).algorithm(algorithm));
        let (limiter, clock) = unkeyed(quota(10));
        assert_eq!(count(&limiter, 10), 10);
        limiter.reconfigure(quota(4)).unwrap();
        let standing = limiter.peek(&());
        assert_eq!((standing.limit, standing.remaining), (4, 0));
        assert!(limiter.try_take(&()).is_err());
        clock.advance(standing.retry_after);
        assert!(limiter.try_take(&()).is_ok());
        limiter.reconfigure(quota(1000)).unwrap();
        assert!(limiter.peek(&()).remaining >= 990);
    }
}

#[test]
fn a_change_of_rate_keeps_fractions_of_units() {
    let quota = |limit| {
        Quota::new(limit, SECOND * 10)
            .algorithm(Algorithm::Gcra)
            .burst(10)
    };
    let (limiter, clock) = unkeyed(policy(quota(10)));
    limiter.try_take_n(&(), 6).unwrap();
    clock.advance(Duration::from_millis(2500));
    limiter.reconfigure(policy(quota(20))).unwrap();
    // Three and a half are out, and two drain a second.
    assert_eq!(limiter.peek(&()).remaining, 6);
    assert_eq!(
        retry_after(limiter.try_take_n(&(), 7)),
        Duration::from_millis(250)
    );
}

#[test]
fn what_was_used_stays_used_whatever_the_algorithm_becomes() {
    for old in ALL {
        for new in ALL {
            let quota = |algorithm| policy(Quota::new(10, SECOND).algorithm(algorithm));
            let (limiter, clock) = manual::<u8>(quota(old));
            limiter.try_take_n(&1, 7).unwrap();
            limiter.reconfigure(quota(new)).unwrap();
            assert_eq!(limiter.peek(&1).remaining, 3, "{old:?} to {new:?}");
            assert_eq!(limiter.peek(&2).remaining, 10);
            clock.advance(SECOND * 2);
            assert_eq!(limiter.peek(&1).remaining, 10);
        }
    }
}

#[test]
fn only_quotas_the_wait_and_the_mode_can_change() {
    let quota = Quota::per_second(1);
    let (limiter, _) = manual::<u8>(policy(quota));
    let field = |policy| limiter.reconfigure(policy).unwrap_err().field();
    assert_eq!(field(Policy::new("other", quota)), "name");
    assert_eq!(field(policy(quota).capacity(7)), "capacity");
    assert_eq!(field(policy(quota).charge(Charge::Failures)), "charge");
    assert_eq!(
        field(policy(quota).missing_key(MissingKey::Admit)),
        "missing_key"
    );
    assert_eq!(field(policy(quota).global(quota)), "quotas");
    assert_eq!(field(policy(quota).and(quota)), "quotas");
    assert_eq!(field(policy(Quota::per_second(0))), "limit");
    limiter.try_take(&1).unwrap();
    limiter.reconfigure(policy(quota).max_wait(MINUTE)).unwrap();
    assert!(limiter.reserve(&1, 1).is_ok());
    limiter
        .reconfigure(policy(quota).mode(Mode::Shadow))
        .unwrap();
    assert!(limiter.try_take(&1).is_ok());
}
