//! What is invalidated is not served any more, whatever is under way.

use super::*;

fn tagged(
    source: &Source,
    time: Duration,
    tag: &'static str,
) -> impl FnOnce() -> Later<Result<Loaded<u64>, &'static str>> + Send + 'static {
    let load = source.takes(time);
    move || Box::pin(async move { Ok(Loaded::new(load().await?).tag(tag)) })
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_during_a_load_wins_over_that_load() {
    type Invalidate = fn(&Cache<u32, u64>);
    let invalidations: [Invalidate; 3] = [
        |cache| cache.invalidate(&7),
        |cache| cache.invalidate_tag("menu"),
        Cache::invalidate_all,
    ];
    for invalidate in invalidations {
        let (cache, source) = (cache(policy()), Source::default());
        let early = ask(&cache, tagged(&source, SECOND, "menu"));
        settle().await;
        invalidate(&cache);
        // Who asks from now on gets nothing that was loaded before.
        let late = cache.get_or_load(&7, tagged(&source, SECOND, "menu")).await;
        assert_eq!(late, Ok(2));
        assert_eq!(early.await.unwrap(), Ok(1));
        assert_eq!(cache.get(&7), Some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_put_during_a_load_wins_over_that_load() {
    let (cache, source) = (cache(policy()), Source::default());
    let waiting = crowd(3, &cache, || source.takes(SECOND));
    settle().await;
    cache.insert(7, 99);
    for caller in waiting {
        assert_eq!(caller.await.unwrap(), Ok(99));
    }
    sleep(2 * SECOND).await;
    assert_eq!(cache.get(&7), Some(99));
}

#[tokio::test(start_paused = true)]
async fn one_whose_load_is_overtaken_takes_what_overtook_it_and_nothing_later() {
    let (cache, source) = (cache(policy()), Source::default());
    let loading = ask(&cache, source.takes(SECOND));
    settle().await;
    cache.insert(7, 99);
    cache.invalidate(&7);
    let none = async || Ok::<Option<u64>, Infallible>(None);
    assert_eq!(cache.get_or_find(&7, none).await, Ok(None));
    assert_eq!(loading.await.unwrap(), Ok(99));
}

#[tokio::test(start_paused = true)]
async fn one_whose_load_fails_takes_what_was_put_meanwhile() {
    let (cache, source) = (cache(policy()), Source::default());
    let load = source.takes(SECOND);
    let loading = ask(&cache, || async { load().await.and(Err::<u64, _>("down")) });
    settle().await;
    cache.insert(7, 99);
    assert_eq!(loading.await.unwrap(), Ok(99));
}

#[tokio::test(start_paused = true)]
async fn what_is_invalidated_is_not_served_in_place_of_a_load_that_fails() {
    let policy = policy().stale_if_error(60 * SECOND);
    for timeout in [policy, policy.soft_timeout(2 * SECOND)] {
        let (cache, source) = (cache(timeout), Source::default());
        cache.insert(7, 99);
        advance(11 * SECOND).await;
        let waiting = crowd(2, &cache, || {
            let load = source.takes(3 * SECOND);
            || async { load().await.and(Err("down")) }
        });
        settle().await;
        cache.invalidate(&7);
        for caller in waiting {
            assert!(caller.await.unwrap().is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_when_a_stale_value_is_invalidated_gets_what_it_waits_for() {
    let policy = policy()
        .stale_if_error(60 * SECOND)
        .hard_timeout(5 * SECOND);
    for takes in [SECOND, 60 * SECOND] {
        let (cache, source) = (
            cache(policy.soft_timeout(100 * MILLISECOND)),
            Source::default(),
        );
        cache.insert(7, 99);
        advance(11 * SECOND).await;
        let waiting = crowd(3, &cache, || source.takes(takes));
        settle().await;
        cache.invalidate(&7);
        for caller in waiting {
            let answer = caller.await.unwrap();
            if takes == SECOND {
                assert_eq!(answer, Ok(1));
            } else {
                assert_eq!(reason(answer), Some(Reason::LoadTimeout));
            }
        }
        assert_eq!(source.loads(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_of_a_million_entries_is_removed_at_the_cost_of_one() {
    let clock = resilience_core::ManualClock::new();
    let environment = Environment::new().clock(clock);
    let policy = policy().capacity(2_000_000).expected_entries(1_200_000);
    let cache: Cache<u32, u32> = Cache::new_in(policy, &environment).unwrap();
    for key in 0..1_000_000 {
        cache.insert(key, Loaded::new(key).tag("menu"));
    }
    cache.insert(1_000_000, Loaded::new(7).tag("other"));
    assert_eq!(cache.get(&0), Some(0));
    // One write: nothing is allocated, and no entry is touched.
    let cost = allocation_counter::measure(|| cache.invalidate_tag("menu"));
    assert_eq!(cost.count_total, 0);
    assert_eq!(cache.snapshot().entries, 1_000_001);
    assert!(
        (0..1_000_000)
            .step_by(997)
            .all(|key| cache.get(&key).is_none())
    );
    assert_eq!(cache.get(&1_000_000), Some(7));
}

#[test]
fn everything_is_gone_after_invalidate_all() {
    let cache: Cache<u32, u32> = Cache::new(policy()).unwrap();
    for key in 0..1000 {
        cache.insert(key, key);
    }
    cache.invalidate_all();
    assert!((0..1000).all(|key| cache.get(&key).is_none()));
    assert_eq!(cache.snapshot().entries, 0);
}
