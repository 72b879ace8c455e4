//! The guard against requests for what does not exist.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    cell::RefCell,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bloomfilter::Bloom as Reference;
use resilience_core::{
    BloomGuard, BoxError, Environment, Error, Event, ManualClock, Outcome, Reason, Rejectable as _,
    Settle as _,
    bloom_guard::{
        NotFound, Policy, Presence, RebuildError, RebuildUnderWay, SnapshotError, Standing,
    },
};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

const SEED: [u8; 32] = *b"thirty-two bytes that are secret";
const OTHER_SEED: [u8; 32] = *b"thirty-two bytes that are hidden";

fn policy() -> Policy {
    Policy::new("dishes").expected_keys(1000).seed(SEED)
}

fn guard(policy: Policy, keys: std::ops::Range<u64>) -> BloomGuard<u64> {
    let guard = BloomGuard::new(policy).unwrap();
    guard.rebuild_from(|| keys).unwrap();
    guard
}

/// Keys that are not there and pass all the same.
fn false_positives(guard: &BloomGuard<u64>) -> impl Iterator<Item = u64> {
    (1_000_000..).filter(|key| guard.check(key) == Presence::Maybe)
}

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
fn a_snapshot_is_what_the_crate_writes_and_reads() {
    for (keys, rate) in [(1, 0.5), (10, 0.3), (1000, 0.01), (777, 1e-9)] {
        let policy = Policy::new("crate")
            .expected_keys(keys)
            .false_positive_rate(rate)
            .seed(SEED);
        let guard = guard(policy, 0..keys);
        let size = usize::try_from(keys).unwrap();
        let mut reference = Reference::new_for_fp_rate_with_seed(size, rate, &SEED).unwrap();
        (0..keys).for_each(|key| reference.set(&key));
        assert!(guard.save().unwrap() == reference.to_bytes());

        let read = Reference::<u64>::from_bytes(guard.save().unwrap()).unwrap();
        let loaded = BloomGuard::<u64>::new(policy).unwrap();
        loaded.load(reference.as_slice()).unwrap();
        for key in 0..20_000 {
            let maybe = guard.check(&key) == Presence::Maybe;
            assert_eq!(maybe, read.check(&key), "{key}");
            assert_eq!(maybe, loaded.check(&key) == Presence::Maybe, "{key}");
        }
    }
}

#[test]
fn a_snapshot_that_is_no_good_is_an_error_and_everything_passes() {
    let good = guard(policy(), 0..1000).save().unwrap();
    let changed = |range: std::ops::Range<usize>, value: u8| {
        let mut bytes = good.clone();
        bytes[range].fill(value);
        bytes
    };
    let cases = [
        (Vec::new(), SnapshotError::Truncated),
        (good[..44].to_vec(), SnapshotError::Truncated),
        (good[..good.len() - 1].to_vec(), SnapshotError::Truncated),
        ([&good[..], &[0]].concat(), SnapshotError::Truncated),
        (good[..45].to_vec(), SnapshotError::Truncated),
        (changed(0..1, 2), SnapshotError::Version),
        (changed(1..9, 0), SnapshotError::Geometry),
        (changed(1..9, 255), SnapshotError::Geometry),
        (changed(9..13, 0), SnapshotError::Geometry),
        (changed(9..13, 255), SnapshotError::Geometry),
        (changed(13..45, 0), SnapshotError::Seed),
        (vec![b'{'; 4096], SnapshotError::Version),
    ];
    for (bytes, error) in cases {
        let guard = guard(policy(), 0..1000);
        assert_eq!(guard.check(&5000), Presence::Absent);
        assert_eq!(guard.load(&bytes), Err(error));
        assert_eq!(guard.check(&5000), Presence::Maybe);
        assert_eq!(guard.snapshot().standing, Standing::Empty);
        guard.load(&good).unwrap();
        assert_eq!(guard.check(&5000), Presence::Absent);
    }
}

#[test]
fn keys_inserted_before_a_snapshot_is_loaded_are_not_lost() {
    let small = guard(policy(), 0..1000).save().unwrap();
    let large = guard(policy().expected_keys(10_000), 0..1000)
        .save()
        .unwrap();
    for (snapshot, inserted, loads) in [
        (&small, 10, true),
        (&small, 20_000, true),
        (&large, 10, true),
        (&large, 20_000, false),
    ] {
        let guard = BloomGuard::<u64>::new(policy().overload_factor(f64::INFINITY)).unwrap();
        (10_000..10_000 + inserted).for_each(|key| guard.insert(&key));
        let result = guard.load(snapshot);
        assert_eq!(result.err(), (!loads).then_some(SnapshotError::Resized));
        let mut all = (0..1000).chain(10_000..10_000 + inserted);
        assert!(all.all(|key| guard.check(&key) == Presence::Maybe));
    }
}

#[test]
fn a_snapshot_is_as_old_as_it_is_said_to_be() {
    const DAY: Duration = Duration::from_secs(86_400);
    let saved = guard(policy(), 0..10).save().unwrap();
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    let guard = BloomGuard::<u64>::new_in(policy(), &environment).unwrap();
    let age = || guard.snapshot().age;
    assert_eq!(age(), None);
    guard.load_aged(&saved, 3 * DAY).unwrap();
    clock.advance(DAY);
    assert_eq!(age(), Some(4 * DAY));
    guard.load(&saved).unwrap();
    assert_eq!(age(), Some(Duration::ZERO));
    guard.load_aged(&saved, Duration::MAX).unwrap();
    clock.advance(DAY);
    assert_eq!(age(), Some(Duration::MAX));
    assert!(guard.load_aged(&saved[1..], DAY).is_err());
    guard.rebuild_from(|| [7]).unwrap();
    clock.advance(DAY);
    assert_eq!(age(), Some(DAY));
}

#[test]
fn no_key_is_lost_however_often_an_old_snapshot_is_loaded() {
    let large = || policy().expected_keys(100_000);
    let old = guard(large(), 0..10).save().unwrap();
    let guard = guard(large(), 0..0);
    (1000..7000).for_each(|key| guard.insert(&key));
    for _ in 0..3 {
        guard.load(&old).unwrap();
        let lost = (1000..7000).filter(|key| guard.check(key) == Presence::Absent);
        assert_eq!(lost.count(), 0);
    }
}

#[test]
fn keys_that_a_snapshot_is_merged_with_are_counted() {
    let policy = policy().expected_keys(100_000);
    let snapshot = guard(policy, 0..1000).save().unwrap();
    let guard = BloomGuard::<u64>::new(policy).unwrap();
    (10_000..40_000).for_each(|key| guard.insert(&key));
    guard.load(&snapshot).unwrap();
    let keys = guard.snapshot().keys;
    assert!((30_500..31_500).contains(&keys), "{keys}");
}

#[test]
fn a_rebuild_forgets_what_its_source_no_longer_has() {
    let guard = guard(policy(), 0..500);
    guard.rebuild_from(|| 500..1000_u64).unwrap();
    assert!((500..1000).all(|key| guard.check(&key) == Presence::Maybe));
    let kept = (0..500).filter(|key| guard.check(key) == Presence::Maybe);
    assert!(kept.count() < 25);
}

#[test]
fn a_rebuild_that_is_dropped_fails_or_panics_leaves_the_old_filter() {
    let guard = guard(policy(), 0..500);
    let mut rebuild = guard.rebuild().unwrap();
    rebuild.insert(&1000);
    guard.insert(&600);
    assert_eq!(guard.rebuild().err(), Some(RebuildUnderWay));
    assert_eq!(guard.load(&[]), Err(SnapshotError::Truncated));
    guard.rebuild_from(|| [0]).unwrap_err();
    drop(rebuild);

    let panics = || (0..10).inspect(|key| assert!(*key < 5));
    let caught =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| guard.rebuild_from(panics)));
    caught.unwrap_err();
    guard.rebuild_from(|| (0..500).chain([600])).unwrap();
    assert!(
        (0..500)
            .chain([600])
            .all(|key| guard.check(&key) == Presence::Maybe)
    );
    assert_eq!(guard.check(&1000), Presence::Absent);
}

struct Keys(std::vec::IntoIter<Result<u64, &'static str>>);

impl futures_core::Stream for Keys {
    type Item = Result<u64, &'static str>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[tokio::test]
async fn a_stream_fills_a_filter_or_leaves_the_old_one_when_it_fails() {
    let guard = BloomGuard::<u64>::new(policy()).unwrap();
    let stream = |keys: Vec<_>| move || Keys(keys.into_iter());
    guard
        .rebuild_from_stream(stream(vec![Ok(1), Ok(2)]))
        .await
        .unwrap();
    let failed = guard
        .rebuild_from_stream(stream(vec![Ok(3), Err("gone")]))
        .await;
    assert_eq!(failed, Err(RebuildError::Source("gone")));
    let answers = [1, 2, 3].map(|key| guard.check(&key));
    assert_eq!(
        answers,
        [Presence::Maybe, Presence::Maybe, Presence::Absent]
    );
    let _other = guard.rebuild().unwrap();
    let refused = guard.rebuild_from_stream(stream(Vec::new())).await;
    assert_eq!(refused, Err(RebuildError::UnderWay));
}

#[test]
fn a_filter_that_is_full_says_so_once_and_the_next_is_sized_for_its_keys() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = events.clone();
    let environment = Environment::new().observer(move |event: &Event<'_>| {
        heard.lock().unwrap().push(match *event {
            Event::FilterFull {
                policy, capacity, ..
            } => ("full", policy, capacity),
            Event::FilterOverloaded {
                policy, capacity, ..
            } => ("overloaded", policy, capacity),
            _ => ("other", "", 0),
        });
    });
    let guard = BloomGuard::<u64>::new_in(policy(), &environment).unwrap();
    guard.rebuild_from(|| 0..1000_u64).unwrap();
    (0..1000).for_each(|key| guard.insert(&key));
    assert_eq!(*events.lock().unwrap(), []);
    (1000..1900).for_each(|key| guard.insert(&key));
    assert_eq!(*events.lock().unwrap(), [("full", "dishes", 1000)]);
    assert_eq!(guard.snapshot().standing, Standing::Answering);
    (1900..3000).for_each(|key| guard.insert(&key));
    assert_eq!(
        events.lock().unwrap()[1..],
        [("overloaded", "dishes", 1000)]
    );
    assert_eq!(guard.snapshot().standing, Standing::Overloaded);
    assert!((5000..6000).all(|key| guard.check(&key) == Presence::Maybe));

    guard.rebuild_from(|| 0..3000_u64).unwrap();
    let after = guard.snapshot();
    assert_eq!(
        (after.standing, after.capacity),
        (Standing::Answering, 4000)
    );
    assert!(after.estimated_false_positive_rate < 0.01);
    assert!((0..3000).all(|key| guard.check(&key) == Presence::Maybe));
    assert_eq!(events.lock().unwrap().len(), 2);
    guard.rebuild_from(|| 0..100_u64).unwrap();
    guard.rebuild_from(|| 0..100_u64).unwrap();
    assert!(
        guard.snapshot().keys > 2900,
        "the last 4096 inserted are taken along"
    );
}

#[test]
fn a_filter_that_is_far_too_small_is_as_large_as_it_must_be_after_the_next_rebuild() {
    for keys in [2100, 5000, 50_000, 500_000] {
        let guard = guard(policy(), 0..keys);
        assert_eq!(guard.snapshot().standing, Standing::Overloaded, "{keys}");
        guard.rebuild_from(|| 0..keys).unwrap();
        let after = guard.snapshot();
        assert_eq!(after.standing, Standing::Answering, "{keys}");
        assert!((keys..keys * 2).contains(&after.capacity), "{after:?}");
    }
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

/// A guard that remembers for a minute, and the clock it goes by.
fn forgetful(capacity: usize) -> (BloomGuard<u64>, ManualClock) {
    let clock = ManualClock::new();
    let policy = policy().remember(capacity, Duration::from_secs(60));
    let guard = BloomGuard::new_in(policy, &Environment::new().clock(clock.clone())).unwrap();
    guard.rebuild_from(|| 0..1000_u64).unwrap();
    (guard, clock)
}

fn miss(guard: &BloomGuard<u64>, key: u64) {
    let mut permit = guard.try_acquire(&key).unwrap();
    permit.not_found();
    permit.settle(Outcome::Success);
}

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

#[tokio::test]
async fn find_answers_none_for_what_is_absent_and_learns_what_is_not_found() {
    let (guard, _clock) = forgetful(100);
    let ghost = false_positives(&guard).next().unwrap();
    let calls = RefCell::new(0);
    let look = async |key: u64| {
        let load = async || {
            *calls.borrow_mut() += 1;
            Ok::<_, Infallible>((key < 1000).then_some("soup"))
        };
        guard.find(&key, load).await.unwrap()
    };
    assert_eq!(look(5).await, Some("soup"));
    assert_eq!(look(ghost).await, None);
    assert_eq!(look(ghost).await, None);
    assert_eq!(*calls.borrow(), 2);
    let failed = guard.find(&5, async || Err::<Option<()>, _>("gone")).await;
    assert_eq!(failed, Err("gone"));
    let absent = guard.call(&ghost, async || Ok::<_, &str>(())).await;
    assert!(matches!(absent, Err(Error::Rejected(it)) if it.reason() == Reason::Absent));
    assert_eq!(guard.call(&5, async || Ok::<_, &str>(7)).await, Ok(7));
}

#[tokio::test]
async fn a_typed_service_is_guarded_and_tells_what_was_not_found() {
    let (guard, _clock) = forgetful(100);
    let ghost = false_positives(&guard).next().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let service = service_fn(move |key: u64| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, BoxError>((key < 1000).then_some("soup")) }
    });
    let missing = NotFound::when(|result: &Result<Option<_>, BoxError>| matches!(result, Ok(None)));
    let key = |key: &u64| (*key != 77).then_some(*key);
    let mut service = guard.layer_with(key, missing).layer(service);
    let mut call = async |key| service.ready().await.unwrap().call(key).await;
    assert_eq!(call(5).await.unwrap(), Some("soup"));
    assert_eq!(call(ghost).await.unwrap(), None);
    assert_eq!(
        call(77).await.unwrap(),
        Some("soup"),
        "without a key it passes"
    );
    let before = calls.load(Ordering::Relaxed);
    let refused = call(ghost).await.unwrap_err();
    assert_eq!(refused.as_rejected().unwrap().reason(), Reason::Absent);
    assert_eq!(calls.load(Ordering::Relaxed), before);
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
