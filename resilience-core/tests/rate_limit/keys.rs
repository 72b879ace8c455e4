use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

use resilience_core::{
    Environment, ManualClock,
    rate_limit::{Quota, RateLimiter},
};

use crate::{MINUTE, SECOND, log, manual, policy};

#[test]
fn every_key_has_its_own_quota() {
    let (limiter, _) = manual::<String>(policy(log(1, SECOND)));
    let long = "x".repeat(1 << 20);
    // Latin and Cyrillic letters that look alike.
    let keys = [
        "",
        " ",
        "paypal",
        "p\u{430}ypal",
        "a\u{301}",
        "\u{e1}",
        &long,
        &long[1..],
    ];
    for key in keys {
        assert!(limiter.try_take(key).is_ok());
        assert!(limiter.try_take(key).is_err());
    }
    let (limiter, _) = manual::<Vec<u8>>(policy(log(1, SECOND)));
    assert!(limiter.try_take(&b"\xff"[..]).is_ok());
    assert!(limiter.try_take(&b"\xfe"[..]).is_ok());
}

#[test]
fn a_million_new_keys_free_no_one_who_is_at_the_limit_and_starve_no_one() {
    let (limiter, _) = manual::<u64>(policy(log(3, MINUTE)).capacity(1000));
    for _ in 0..3 {
        limiter.try_take(&0).unwrap();
    }
    for key in 1..1_000_000 {
        let _ = limiter.try_take(&key);
    }
    assert!(limiter.try_take(&0).is_err());
    assert!(limiter.try_take(&u64::MAX).is_ok());
    assert!(limiter.len() <= 1000);
}

#[test]
fn what_a_key_gives_back_is_no_gift_to_those_who_share() {
    let (limiter, _clock) = manual::<u64>(policy(log(1, MINUTE)).capacity(1));
    // One key has the only place, and as many keys as share share what is left.
    let refused = (0..1000)
        .filter(|key| limiter.try_take(key).is_err())
        .count();
    assert!(refused > 900);
    for key in 0..1000 {
        limiter.refund(&(1_000_000 + key), 1);
    }
    let admitted = (2000..3000)
        .filter(|key| limiter.try_take(key).is_ok())
        .count();
    assert_eq!(admitted, 0);
}

#[test]
fn new_keys_share_where_everybody_is_at_the_limit() {
    let (limiter, clock) = manual::<u64>(policy(log(1, MINUTE)).capacity(8));
    for key in 0..8 {
        limiter.try_take(&key).unwrap();
    }
    let allowed = (100..1100)
        .filter(|key| limiter.try_take(key).is_ok())
        .count();
    assert!((1..=8).contains(&allowed), "{allowed}");
    assert!((0..8).all(|key| limiter.try_take(&key).is_err()));
    clock.advance(MINUTE);
    assert!((100..108).all(|key| limiter.try_take(&key).is_ok()));
}

#[test]
fn a_key_that_moves_to_another_tier_keeps_what_it_has_used() {
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock);
    let plan = Arc::new(Mutex::new(""));
    let tiers = policy(Quota::per_minute(10)).tier("premium", Quota::per_minute(100));
    let limiter = RateLimiter::<String>::with_tiers(tiers.clone(), &environment, {
        let plan = Arc::clone(&plan);
        move |_| *plan.lock().unwrap()
    })
    .unwrap();
    limiter.try_take_n("alice", 8).unwrap();
    assert_eq!(limiter.peek("alice").remaining, 2);
    *plan.lock().unwrap() = "premium";
    assert_eq!(limiter.peek("alice").remaining, 92);
    limiter.try_take_n("alice", 90).unwrap();
    *plan.lock().unwrap() = "unheard of";
    assert_eq!(limiter.peek("alice").remaining, 0);
    *plan.lock().unwrap() = "premium";
    let tiers = policy(Quota::per_minute(10)).tier("premium", Quota::per_minute(200));
    limiter.reconfigure(tiers).unwrap();
    assert_eq!(limiter.peek("alice").remaining, 102);
}

#[test]
fn a_panic_in_a_key_or_a_tier_leaves_the_limiter_usable() {
    let environment = Environment::new();
    let tier_of = |key: &u8| if *key == 0 { panic!("no plan") } else { "" };
    let limiter = RateLimiter::with_tiers(policy(log(1, MINUTE)), &environment, tier_of).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| limiter.try_take(&0))).is_err());
    assert!(limiter.try_take(&1).is_ok());

    #[derive(Clone, PartialEq, Eq)]
    struct Key(u8);
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            assert_ne!(self.0, 0, "cannot be hashed");
            state.write_u8(self.0);
        }
    }
    let (limiter, _) = manual::<Key>(policy(log(1, MINUTE)).capacity(1));
    assert!(catch_unwind(AssertUnwindSafe(|| limiter.try_take(&Key(0)))).is_err());
    assert!(limiter.try_take(&Key(1)).is_ok());
    assert!(limiter.try_take(&Key(1)).is_err());
}
