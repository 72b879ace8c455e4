//! What engines are told whose counts stand elsewhere.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::time::Duration;

use resilience_core::rate_limit::{Algorithm, Charge, MissingKey, Mode, Policy, Quota};

fn paced() -> Policy {
    let paced = Quota::per_minute(100).algorithm(Algorithm::Gcra).burst(9);
    Policy::new("a", Quota::per_second(10)).and(paced.named("b"))
}

#[test]
fn a_store_is_told_every_quota_and_what_holds_for_all() {
    let policy = paced().capacity(7).mode(Mode::Shadow);
    let policy = policy.max_wait(Duration::from_secs(3));
    let policy = policy.missing_key(MissingKey::Admit);
    let terms = policy.charge(Charge::Failures).terms().unwrap();
    let quotas: Vec<_> = terms
        .quotas
        .iter()
        .map(|it| (it.name, it.limit, it.window, it.burst, it.algorithm))
        .collect();
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    assert_eq!(
        quotas,
        [
            ("a", 10, second, 10, Algorithm::SlidingWindow),
            ("b", 100, minute, 9, Algorithm::Gcra),
        ]
    );
    assert_eq!(terms.max_wait, Duration::from_secs(3));
    assert_eq!(
        (terms.capacity, terms.mode, terms.missing_key, terms.charge),
        (7, Mode::Shadow, MissingKey::Admit, Charge::Failures)
    );
}

#[test]
fn a_store_is_told_what_keys_of_each_tier_have_in_place_of_the_first_quota() {
    let gold = Quota::per_second(20).named("gold-second");
    let policy = paced().tier("gold", gold).tier("", Quota::per_hour(1));
    assert_eq!(policy.terms().unwrap_err().field(), "name");
    let terms = paced().tier("gold", gold).terms().unwrap();
    let [(name, tier)] = terms.tiers[..] else {
        panic!("{terms:?}")
    };
    assert_eq!((name, tier.name, tier.limit), ("gold", "gold-second", 20));
    assert_eq!(terms.quotas, paced().terms().unwrap().quotas);
}

#[test]
fn a_store_is_told_of_the_quota_that_all_keys_share() {
    assert_eq!(paced().terms().unwrap().global, None);
    let all = paced().global(Quota::per_second(20).named("all"));
    let global = all.terms().unwrap().global.unwrap();
    assert_eq!((global.name, global.limit), ("all", 20));
}

#[test]
fn what_is_wrong_with_a_policy_no_store_is_told() {
    let nothing = Policy::new("a", Quota::per_second(0));
    assert_eq!(nothing.terms().unwrap_err().field(), "limit");
}

#[test]
fn shares_never_come_to_more_than_the_whole_or_a_unit_each() {
    for (shares, limits, bursts) in [
        (0, [10, 100], [10, 9]),
        (1, [10, 100], [10, 9]),
        (3, [3, 33], [3, 3]),
        (10, [1, 10], [1, 1]),
        (u64::MAX, [1, 1], [1, 1]),
    ] {
        let terms = paced().share(shares).terms().unwrap();
        let limit = |index: usize| terms.quotas[index].limit;
        let burst = |index: usize| terms.quotas[index].burst;
        assert_eq!([limit(0), limit(1)], limits);
        assert_eq!([burst(0), burst(1)], bursts);
    }
    let nothing = Policy::new("a", Quota::per_second(0)).share(3);
    assert_eq!(nothing.terms().unwrap_err().field(), "limit");
}
