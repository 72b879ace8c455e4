//! Filters that are saved and loaded.

use std::time::Duration;

use bloomfilter::Bloom as Reference;
use resilience_core::{
    BloomGuard, Environment, ManualClock,
    bloom_guard::{Policy, Presence, SnapshotError, Standing},
};

use super::{SEED, guard, policy};

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
