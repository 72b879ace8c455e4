//! What happens to a value as it grows old.

use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_value_is_loaded_once_and_served_until_its_end() {
    let (cache, source) = (cache(policy()), Source::default());
    for _ in 0..3 {
        assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(1));
    }
    advance(10 * SECOND - Duration::from_nanos(1)).await;
    assert_eq!(cache.get(&7), Some(1));
    advance(Duration::from_nanos(1)).await;
    assert_eq!(cache.get(&7), None);
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(2));
    let snapshot = cache.snapshot();
    assert_eq!((snapshot.hits, snapshot.misses, snapshot.loads), (3, 3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_when_a_load_takes_longer_than_the_soft_timeout() {
    let policy = policy().stale_if_error(60 * SECOND);
    let cache = cache(policy.soft_timeout(100 * MILLISECOND));
    let source = Source::default();
    cache.insert(7, 0);
    advance(11 * SECOND).await;
    let answer = timed(cache.get_or_load(&7, source.takes(SECOND))).await;
    assert_eq!(answer, (Ok(0), 100 * MILLISECOND));
    sleep(SECOND).await;
    assert_eq!(cache.get_or_load(&7, source.takes(SECOND)).await, Ok(1));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_stale_value_a_caller_waits_beyond_the_soft_timeout() {
    let cache = cache(policy().soft_timeout(100 * MILLISECOND));
    let source = Source::default();
    assert_eq!(cache.get_or_load(&7, source.takes(SECOND)).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_load_longer_than_the_hard_timeout_is_an_error() {
    let cache = cache(policy().hard_timeout(SECOND));
    let source = Source::default();
    let (first, second) = tokio::join!(
        cache.get_or_load(&7, source.takes(60 * SECOND)),
        cache.get_or_load(&7, source.gives()),
    );
    assert_eq!(reason(first), Some(Reason::LoadTimeout));
    assert_eq!(reason(second), Some(Reason::LoadTimeout));
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_serves_the_stale_value_and_makes_no_other_within_the_throttle() {
    let policy = policy().stale_if_error(60 * SECOND);
    let cache = cache(policy.failure_throttle(5 * SECOND));
    let source = Source::default();
    cache.insert(7, 0);
    advance(11 * SECOND).await;
    assert_eq!(cache.get_or_load(&7, source.fails()).await, Ok(0));
    for _ in 0..10 {
        assert_eq!(cache.get_or_load(&7, source.fails()).await, Ok(0));
    }
    assert_eq!(source.loads(), 1);
    advance(5 * SECOND).await;
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(2));
    assert_eq!(cache.snapshot().stale_hits, 11);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_at_once_while_one_load_runs_in_the_background() {
    let cache = cache(policy().stale_while_revalidate(30 * SECOND));
    let source = Source::default();
    cache.insert(7, 0);
    advance(11 * SECOND).await;
    for _ in 0..100 {
        let answer = timed(cache.get_or_load(&7, source.takes(SECOND))).await;
        assert_eq!(answer, (Ok(0), Duration::ZERO));
    }
    sleep(2 * SECOND).await;
    assert_eq!(cache.get(&7), Some(1));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_to_the_nanosecond_and_no_longer() {
    let cache = cache(
        policy()
            .stale_if_error(30 * SECOND)
            .failure_throttle(Duration::ZERO),
    );
    let source = Source::default();
    cache.insert(7, 0);
    // Tokio's timers, which a load needs, are as coarse as a millisecond.
    advance(40 * SECOND - MILLISECOND * 2).await;
    assert_eq!(cache.get_or_load(&7, source.fails()).await, Ok(0));
    advance(MILLISECOND * 2).await;
    let late = cache.get_or_load(&7, source.fails()).await;
    assert_eq!(late, Err(Error::Inner("down")));
}

#[tokio::test(start_paused = true)]
async fn an_early_refresh_at_80_percent_is_one_load_for_which_nobody_waits() {
    let early = EarlyRefresh::AtAge(0.8);
    let cache = cache(policy().early_refresh(early));
    let source = Source::default();
    cache.insert(7, 0);
    advance(7 * SECOND).await;
    assert_eq!(cache.get_or_load(&7, source.takes(SECOND)).await, Ok(0));
    settle().await;
    assert_eq!(source.loads(), 0, "at 70 % of its age");

    advance(1500 * MILLISECOND).await;
    for _ in 0..100 {
        let answer = timed(cache.get_or_load(&7, source.takes(SECOND))).await;
        assert_eq!(answer, (Ok(0), Duration::ZERO));
    }
    sleep(SECOND + MILLISECOND).await;
    assert_eq!(source.loads(), 1, "at 85 % of its age");
    assert_eq!(cache.get(&7), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_value_is_loaded_again_the_sooner_the_longer_its_load_took() {
    // Any draw but zero reaches over the whole life of what took a second.
    let early = EarlyRefresh::Probabilistic { beta: 1e15 };
    let cache = cache(policy().early_refresh(early));
    let source = Source::default();
    cache.insert(7, 0);
    advance(9 * SECOND).await;
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(0));
    settle().await;
    assert_eq!(source.loads(), 0, "what took no time is never early");

    advance(SECOND).await;
    assert_eq!(cache.get_or_load(&7, source.takes(SECOND)).await, Ok(1));
    advance(SECOND).await;
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(1));
    settle().await;
    assert_eq!(source.loads(), 2);
    assert_eq!(cache.get(&7), Some(2));
}

#[tokio::test(start_paused = true)]
async fn callers_who_miss_while_an_early_refresh_runs_join_it() {
    let early = EarlyRefresh::AtAge(0.8);
    let cache = cache(policy().early_refresh(early));
    let source = Source::default();
    cache.insert(7, 0);
    advance(9 * SECOND).await;
    assert_eq!(cache.get_or_load(&7, source.takes(3 * SECOND)).await, Ok(0));
    settle().await;
    advance(SECOND).await;
    let callers = crowd(1000, &cache, || source.takes(SECOND));
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(1));
    }
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_never_expires_is_loaded_again_while_it_is_read() {
    let cache = cache(policy().never_expire());
    let source = Source::default();
    cache.insert(7, 0);
    advance(3_000_000 * SECOND).await;
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(0));
    settle().await;
    sleep(MILLISECOND).await;
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(1));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_without_a_value_is_not_loaded_again_for_its_negative_time_to_live() {
    let cache = cache(policy().negative_ttl(2 * SECOND));
    let loads = Arc::new(AtomicU64::new(0));
    let find = || {
        let loads = loads.clone();
        async move || {
            loads.fetch_add(1, Ordering::Relaxed);
            Ok::<Option<u64>, Infallible>(None)
        }
    };
    for _ in 0..5 {
        assert_eq!(cache.get_or_find(&7, find()).await, Ok(None));
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    assert_eq!(cache.snapshot().negative_hits, 4);
    advance(2 * SECOND).await;
    assert_eq!(cache.get_or_find(&7, find()).await, Ok(None));
    assert_eq!(loads.load(Ordering::Relaxed), 2);
    // What is created is seen at once.
    cache.insert(7, 5);
    assert_eq!(cache.get_or_find(&7, find()).await, Ok(Some(5)));
}

#[tokio::test(start_paused = true)]
async fn get_or_load_refuses_a_key_that_is_known_to_have_no_value() {
    let cache = cache(policy());
    let find = async || Ok::<Option<u64>, &'static str>(None);
    assert_eq!(cache.get_or_find(&7, find).await, Ok(None));
    let refused = cache.get_or_load(&7, Source::default().gives()).await;
    assert_eq!(reason(refused), Some(Reason::Absent));
}

#[tokio::test(start_paused = true)]
async fn errors_are_not_cached_unless_the_policy_asks_for_it() {
    let source = Source::default();
    let plain = cache(policy());
    for _ in 0..3 {
        let failed = plain.get_or_load(&7, source.fails()).await;
        assert_eq!(failed, Err(Error::Inner("down")));
    }
    assert_eq!(source.loads(), 3);

    let asked = cache(policy().failure_ttl(SECOND));
    let failed = asked.get_or_load(&7, source.fails()).await;
    assert_eq!(failed, Err(Error::Inner("down")));
    for _ in 0..3 {
        let refused = asked.get_or_load(&7, source.fails()).await;
        assert_eq!(reason(refused), Some(Reason::LoadFailed));
    }
    assert_eq!(source.loads(), 4);
    advance(SECOND).await;
    assert_eq!(asked.get_or_load(&7, source.gives()).await, Ok(5));
}

/// The spread of 10 000 lives that began together, in slots of a hundredth of the window.
fn spread(share: f64, seed: u64) -> Vec<usize> {
    let clock = resilience_core::ManualClock::new();
    let environment = Environment::new()
        .clock(clock.clone())
        .random(Random::seeded(seed));
    let policy = Policy::new("spread", 100 * SECOND)
        .jitter(share)
        .capacity(100_000);
    let cache: Cache<u32, u32> = Cache::new_in(policy, &environment).unwrap();
    for key in 0..10_000 {
        cache.insert(key, key);
    }
    let first = 100.0 * (1.0 - share);
    let slot = 2.0 * share;
    let mut alive = 10_000;
    let mut slots = Vec::new();
    for number in 0..=100 {
        let at = Duration::from_secs_f64(slot.mul_add(f64::from(number), first));
        clock.set(resilience_core::Timestamp::ZERO.saturating_add(at));
        let left = (0..10_000).filter(|key| cache.get(key).is_some()).count();
        slots.push(alive - left);
        alive = left;
    }
    assert_eq!(alive, 0, "none lives longer");
    slots
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn lives_that_begin_together_end_spread_over_their_share(
        share in 0.05..1.0_f64,
        seed in any::<u64>(),
    ) {
        let slots = spread(share, seed);
        prop_assert!(slots[0] <= 1, "none lives shorter");
        let largest = slots.iter().max().unwrap();
        prop_assert!(*largest <= 200, "{} of 10 000 in one slot", largest);
    }
}

#[tokio::test(start_paused = true)]
async fn that_keys_have_no_value_is_forgotten_over_a_share_of_its_own() {
    let policy = policy().negative_ttl(10 * SECOND).negative_jitter(0.5);
    let cache = cache(policy.jitter(0.0));
    for key in 0..1000 {
        let none = cache.get_or_find(&key, async || Ok::<Option<u64>, Infallible>(None));
        assert_eq!(none.await, Ok(None));
    }
    let known = || {
        let before = cache.snapshot().negative_hits;
        assert!((0..1000).all(|key| cache.get(&key).is_none()));
        cache.snapshot().negative_hits - before
    };
    advance(4990 * MILLISECOND).await;
    assert_eq!(known(), 1000, "none is forgotten sooner");
    let mut left = 1000;
    for _ in 0..10 {
        advance(SECOND).await;
        let now = known();
        assert!((50..=150).contains(&(left - now)), "{left} {now}");
        left = now;
    }
    advance(20 * MILLISECOND).await;
    assert_eq!(known(), 0, "none is known longer");
}
