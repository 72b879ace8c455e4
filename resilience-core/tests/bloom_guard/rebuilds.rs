//! Filters that are built anew, and those that are too full.

use std::sync::{Arc, Mutex};

use resilience_core::{
    BloomGuard, Environment, Event,
    bloom_guard::{Presence, RebuildError, RebuildUnderWay, SnapshotError, Standing},
};

use super::{guard, policy};

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
