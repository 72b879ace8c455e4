//! What passes and what does not.

use resilience_core::{
    BloomGuard,
    bloom_guard::{Policy, Presence, Standing},
};

use super::{SEED, false_positives, guard, policy};

#[test]
fn everything_passes_until_it_is_loaded() {
    let guard = BloomGuard::<u64>::new(policy()).unwrap();
    guard.insert(&1);
    assert_eq!(guard.check(&2), Presence::Maybe);
    assert_eq!(guard.save(), None);
    let before = guard.snapshot();
    assert_eq!(
        (before.standing, before.passed, before.age),
        (Standing::Empty, 1, None)
    );
    guard.rebuild_from(|| [3]).unwrap();
    assert_eq!(guard.check(&2), Presence::Absent);
    assert_eq!(
        guard.check(&1),
        Presence::Maybe,
        "inserted before the rebuild"
    );
    assert_eq!(guard.check(&3), Presence::Maybe);
    assert_eq!(guard.snapshot().standing, Standing::Answering);
}

#[test]
fn keys_may_be_empty_or_a_megabyte_long() {
    let guard = BloomGuard::<str>::new(policy()).unwrap();
    let long = "x".repeat(1 << 20);
    guard.rebuild_from(|| ["", &long]).unwrap();
    assert_eq!(guard.check(""), Presence::Maybe);
    assert_eq!(guard.check(&long), Presence::Maybe);
    assert_eq!(guard.check(&long[1..]), Presence::Absent);
    assert_eq!(guard.check("x"), Presence::Absent);
}

#[test]
fn at_its_capacity_it_is_wrong_as_often_as_the_policy_says() {
    for rate in [0.1, 0.01, 0.001] {
        let policy = Policy::new("rate")
            .expected_keys(20_000)
            .false_positive_rate(rate)
            .seed(SEED);
        let guard = guard(policy, 0..20_000);
        let asked = 200_000_u64;
        let passed = (0..asked)
            .filter(|key| guard.check(&(key + 1_000_000)) == Presence::Maybe)
            .count();
        let seen = passed as f64 / asked as f64;
        assert!(seen <= rate * 1.5, "{seen} of {rate}");
        let estimated = guard.snapshot().estimated_false_positive_rate;
        assert!(
            (estimated / rate - 1.0).abs() < 0.2,
            "{estimated} of {rate}"
        );
        let fill = guard.snapshot().fill;
        assert!((fill - 0.5).abs() < 0.05, "{fill}");
    }
}

const OTHER_SEED: [u8; 32] = *b"thirty-two bytes that are hidden";

#[test]
fn keys_chosen_for_one_seed_pass_no_more_often_under_another() {
    let known = guard(policy(), 0..1000);
    let crafted: Vec<u64> = false_positives(&known).take(2000).collect();
    let other = guard(policy().seed(OTHER_SEED), 0..1000);
    let passed = crafted
        .iter()
        .filter(|key| other.check(key) == Presence::Maybe);
    assert!(passed.count() <= 40, "twice the policy's rate");
    let random = guard(Policy::new("random").expected_keys(1000), 0..1000);
    let passed = crafted
        .iter()
        .filter(|key| random.check(key) == Presence::Maybe);
    assert!(passed.count() <= 60, "the default seed is not a fixed one");
}

#[test]
fn an_exact_set_is_never_wrong_and_removes() {
    let policy = Policy::new("small").expected_keys(10);
    let guard = BloomGuard::<str, _>::exact(policy).unwrap();
    assert_eq!(guard.check("soup"), Presence::Maybe);
    guard
        .rebuild_from(|| (0..100).map(|key| key.to_string()))
        .unwrap();
    assert!((0..100).all(|key| guard.check(&key.to_string()) == Presence::Maybe));
    assert!((100..10_000).all(|key| guard.check(&key.to_string()) == Presence::Absent));
    let rebuild = guard.rebuild().unwrap();
    guard.insert("soup");
    guard.insert("salad");
    assert!(guard.remove("salad"));
    assert!(!guard.remove("salad"));
    rebuild.finish();
    assert_eq!(guard.check("soup"), Presence::Maybe);
    assert_eq!(guard.check("salad"), Presence::Absent);
}
