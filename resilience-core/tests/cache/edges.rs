//! Settings at their ends, keys and values that misbehave.

use resilience_core::{ManualClock, Timestamp};

use super::*;

#[test]
fn what_cannot_work_is_an_invalid_policy() {
    let refused = |policy: Policy| {
        Cache::<u32, u32>::new(policy)
            .err()
            .map(|error| error.field())
    };
    assert_eq!(refused(Policy::new("", SECOND)), Some("name"));
    for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(policy().jitter(share)), Some("jitter"));
        assert_eq!(
            refused(policy().negative_jitter(share)),
            Some("negative_jitter")
        );
    }
    for early in [
        EarlyRefresh::AtAge(0.0),
        EarlyRefresh::AtAge(1.1),
        EarlyRefresh::AtAge(f64::NAN),
        EarlyRefresh::Probabilistic { beta: -1.0 },
        EarlyRefresh::Probabilistic { beta: f64::NAN },
        EarlyRefresh::Probabilistic {
            beta: f64::INFINITY,
        },
    ] {
        assert_eq!(
            refused(policy().early_refresh(early)),
            Some("early_refresh")
        );
    }
    assert_eq!(refused(policy().capacity(0)), Some("capacity"));
    assert_eq!(refused(policy().capacity(u64::MAX)), Some("capacity"));
    assert_eq!(
        refused(policy().expected_entries(0)),
        Some("expected_entries")
    );
    assert_eq!(
        refused(policy().hard_timeout(Duration::ZERO)),
        Some("hard_timeout")
    );
}

#[tokio::test(start_paused = true)]
async fn every_duration_works_at_both_ends() {
    for edge in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let policy = Policy::new("edges", edge)
            .negative_ttl(edge)
            .failure_ttl(edge)
            .stale_while_revalidate(edge)
            .stale_if_error(edge)
            .soft_timeout(edge)
            .hard_timeout(edge.max(SECOND))
            .failure_throttle(edge)
            .jitter(1.0)
            .negative_jitter(1.0)
            .early_refresh(EarlyRefresh::Probabilistic { beta: 1e300 });
        let (cache, source) = (cache(policy), Source::default());
        for _ in 0..3 {
            drop(cache.get_or_load(&7, source.gives()).await);
            drop(cache.get_or_load(&7, source.fails()).await);
            drop(
                cache
                    .get_or_find(&7, async || Ok::<Option<u64>, Infallible>(None))
                    .await,
            );
            settle().await;
            advance(SECOND).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_to_live_of_zero_is_not_stored() {
    let cache = cache(Policy::new("none", Duration::ZERO).negative_ttl(Duration::ZERO));
    let source = Source::default();
    for number in 1..4 {
        assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(number));
        let none = cache
            .get_or_find(&8, async || Ok::<Option<u64>, Infallible>(None))
            .await;
        assert_eq!(none, Ok(None));
    }
    cache.insert(9, 9);
    assert_eq!(cache.snapshot().entries, 0);
}

#[test]
fn what_weighs_nothing_or_too_much_is_not_stored() {
    let policy = policy().capacity(1000).expected_entries(10);
    let cache: Cache<u32, u32> = Cache::new(policy).unwrap();
    for weight in [0, 1001, u64::MAX] {
        cache.insert(7, Loaded::new(7).weight(weight));
        assert_eq!(cache.get(&7), None, "{weight}");
    }
    cache.insert(7, Loaded::new(7).weight(500));
    assert_eq!(cache.get(&7), Some(7));
    // What was there is not served in place of what could not be stored.
    cache.insert(7, Loaded::new(8).weight(1001));
    assert_eq!(cache.get(&7), None);
}

#[test]
fn it_never_holds_more_than_its_capacity() {
    for capacity in [1, 7, 31, 1001, 10_007] {
        let cache: Cache<u32, u32> = Cache::new(policy().capacity(capacity)).unwrap();
        for key in 0..20_000 {
            cache.insert(key, key);
        }
        let snapshot = cache.snapshot();
        assert!(
            snapshot.weight <= capacity,
            "{} of {capacity}",
            snapshot.weight
        );
        assert!(snapshot.entries > 0);
        assert_eq!(snapshot.evictions + snapshot.entries as u64, 20_000);
    }
}

#[test]
fn a_clock_that_jumps_harms_nobody() {
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    let cache: Cache<u32, u32> = Cache::new_in(policy(), &environment).unwrap();
    clock.set(Timestamp::from_nanos(1 << 60));
    cache.insert(7, 7);
    clock.set(Timestamp::ZERO);
    assert_eq!(cache.get(&7), Some(7));
    clock.set(Timestamp::MAX);
    assert_eq!(cache.get(&7), None);
    cache.insert(7, 8);
    assert_eq!(cache.get(&7), None, "time is over");
    clock.set(Timestamp::from_nanos(5));
    cache.insert(7, 9);
    assert_eq!(cache.get(&7), Some(9));
}

/// A key whose hash is the same as all others', and which panics when it is told to.
#[derive(Clone, Debug)]
struct Odd(u32, bool);

impl std::hash::Hash for Odd {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        assert!(!(self.1 && self.0 == 0), "no hash");
        state.write_u8(0);
    }
}

impl PartialEq for Odd {
    fn eq(&self, other: &Self) -> bool {
        assert!(!(self.1 || other.1), "not comparable");
        self.0 == other.0
    }
}

impl Eq for Odd {}

#[test]
fn keys_of_the_same_hash_are_told_apart() {
    let cache: Cache<Odd, u32> = Cache::new(policy()).unwrap();
    for number in 0..20 {
        cache.insert(Odd(number, false), number);
    }
    for number in 0..20 {
        assert_eq!(cache.get(&Odd(number, false)), Some(number));
    }
}

#[test]
fn a_key_that_panics_harms_only_its_caller() {
    let cache: Cache<Odd, u32> = Cache::new(policy()).unwrap();
    cache.insert(Odd(1, false), 1);
    for number in [0, 2] {
        for act in [
            |cache: &Cache<Odd, u32>, key: Odd| assert_eq!(cache.get(&key), None),
            |cache: &Cache<Odd, u32>, key: Odd| cache.insert(key, 7),
            |cache: &Cache<Odd, u32>, key: Odd| cache.invalidate(&key),
        ] {
            let act = std::panic::AssertUnwindSafe(|| act(&cache, Odd(number, true)));
            assert!(std::panic::catch_unwind(act).is_err());
        }
    }
    assert_eq!(cache.get(&Odd(1, false)), Some(1));
    cache.insert(Odd(2, false), 2);
    assert_eq!(cache.get(&Odd(2, false)), Some(2));
}

#[test]
fn values_are_dropped_with_no_lock_held() {
    #[derive(Clone)]
    struct Nosy(Option<Cache<u32, Self>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            if let Some(cache) = &self.0 {
                // Would deadlock where the table or the load's shard were still locked.
                cache.invalidate(&1);
                cache.insert(2, Self(None));
            }
        }
    }
    let cache: Cache<u32, Nosy> = Cache::new(policy().capacity(3)).unwrap();
    for key in 0..50 {
        cache.insert(key % 7, Nosy(Some(cache.clone())));
        cache.invalidate(&(key % 3));
    }
    cache.invalidate_all();
}

#[tokio::test(start_paused = true)]
async fn a_value_whose_drop_panics_leaves_nobody_waiting() {
    #[derive(Clone)]
    struct Fragile(Arc<AtomicU64>);
    impl Drop for Fragile {
        fn drop(&mut self) {
            let armed = self.0.swap(0, Ordering::Relaxed) > 0;
            assert!(!armed || std::thread::panicking(), "no drop");
        }
    }
    let policy = policy().hard_timeout(Duration::MAX);
    let environment = Environment::new().clock(Clock::tokio());
    let cache: Cache<u32, Fragile> = Cache::new_in(policy, &environment).unwrap();
    let armed = Arc::new(AtomicU64::new(0));
    for overtaken in [false, true] {
        cache.insert(7, Fragile(armed.clone()));
        advance(11 * SECOND).await;
        let load = |cache: &Cache<u32, Fragile>| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let loader = || async {
                    sleep(SECOND).await;
                    Ok::<_, Infallible>(Fragile(Arc::default()))
                };
                cache.get_or_load(&7, loader).await.is_ok()
            })
        };
        let _leader = load(&cache);
        settle().await;
        let waiter = load(&cache);
        settle().await;
        armed.store(1, Ordering::Relaxed);
        if overtaken {
            let put = || cache.insert(7, Fragile(Arc::default()));
            let put = std::panic::AssertUnwindSafe(put);
            assert!(std::panic::catch_unwind(put).is_err());
        }
        let told = tokio::time::timeout(60 * SECOND, waiter).await;
        assert!(told.unwrap().unwrap(), "overtaken: {overtaken}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_clone_panics_leaves_nobody_waiting() {
    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Fragile;
    static ARMED: AtomicU64 = AtomicU64::new(0);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            assert_eq!(ARMED.swap(0, Ordering::Relaxed), 0, "no clone");
            Self
        }
    }
    let policy = policy().hard_timeout(Duration::MAX);
    let environment = Environment::new().clock(Clock::tokio());
    let cache: Cache<Fragile, u64> = Cache::new_in(policy, &environment).unwrap();
    let source = Source::default();
    let load = || {
        let (cache, loader) = (cache.clone(), source.takes(SECOND));
        tokio::spawn(async move { cache.get_or_load(&Fragile, loader).await })
    };
    let leader = load();
    settle().await;
    let waiter = load();
    settle().await;
    ARMED.store(1, Ordering::Relaxed);
    let told = tokio::time::timeout(60 * SECOND, async { (leader.await, waiter.await) }).await;
    let (leader, waiter) = told.unwrap();
    assert_eq!(reason(leader.unwrap()), Some(Reason::Panicked));
    assert!(reason(waiter.unwrap()).is_some());
    assert_eq!(load().await.unwrap(), Ok(2));
}

/// A key that panics when it is compared, once it is told to.
#[derive(Clone, Debug)]
struct Touchy(u32);

static TOUCHED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

impl std::hash::Hash for Touchy {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u32(self.0);
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        assert!(!TOUCHED.load(Ordering::Relaxed), "not comparable");
        self.0 == other.0
    }
}

impl Eq for Touchy {}

#[tokio::test(start_paused = true)]
async fn a_key_whose_comparison_panics_leaves_nobody_waiting() {
    for then in [OnLeaderGone::KeepLoading, OnLeaderGone::HandOver] {
        let policy = policy().hard_timeout(Duration::MAX).on_leader_gone(then);
        let environment = Environment::new().clock(Clock::tokio());
        let cache: Cache<Touchy, u64> = Cache::new_in(policy, &environment).unwrap();
        cache.insert(Touchy(7), 0);
        advance(11 * SECOND).await;
        let source = Source::default();
        let load = || {
            let (cache, loader) = (cache.clone(), source.takes(SECOND));
            tokio::spawn(async move { cache.get_or_load(&Touchy(7), loader).await })
        };
        let leader = load();
        settle().await;
        let (waiter, quitter) = (load(), load());
        settle().await;
        TOUCHED.store(true, Ordering::Relaxed);
        quitter.abort();
        let told = tokio::time::timeout(60 * SECOND, async { (leader.await, waiter.await) }).await;
        let (leader, waiter) = told.unwrap();
        TOUCHED.store(false, Ordering::Relaxed);
        assert_eq!((leader.unwrap(), waiter.unwrap()), (Ok(1), Ok(1)));
        assert_eq!(cache.snapshot().loading, 0);
        assert_eq!(load().await.unwrap(), Ok(2));
    }
}

#[test]
fn a_refresh_on_a_runtime_that_stands_still_does_not_keep_others_from_it() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap()
    };
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    let policy = policy().never_expire().hard_timeout(SECOND);
    let cache: Cache<u32, u64> = Cache::new_in(policy, &environment).unwrap();
    let loader = || async { Ok::<_, Infallible>(1) };
    cache.insert(7, 0);
    clock.advance(11 * SECOND);
    let still = runtime();
    let stale = still.block_on(cache.get_or_load(&7, loader));
    assert_eq!(stale, Ok(0));
    clock.advance(2 * SECOND);
    runtime().block_on(async {
        assert_eq!(cache.get_or_load(&7, loader).await, Ok(0));
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(cache.get(&7), Some(1));
    drop(still);
}

#[test]
fn an_engine_can_be_shared_and_its_futures_sent() {
    fn shared<T: Send + Sync + Clone + std::fmt::Debug>(_: &T) {}
    fn sent<T: Send>(_: &T) {}
    let cache = cache_for_types();
    shared(&cache);
    sent(&cache.get_or_load("soup", || async { Ok::<u64, Infallible>(1) }));
}

fn cache_for_types() -> Cache<String, u64> {
    Cache::new(policy()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_load_that_is_over_is_nobodys_ancestor() {
    let cache = cache(policy().hard_timeout(SECOND));
    let refused = Arc::new(AtomicU64::new(0));
    let (inner, count) = (cache.clone(), refused.clone());
    let nested = move || async move {
        sleep(900 * MILLISECOND).await;
        let (asking, count) = (inner.clone(), count.clone());
        let load = move || async move {
            // The outer load is over at 1 s; those asked for are under way since 1.2 s.
            sleep(600 * MILLISECOND).await;
            for key in 10..200 {
                let never = || async { Ok::<u64, &'static str>(0) };
                let asked = asking.get_or_load(&key, never);
                let answer = tokio::time::timeout(MILLISECOND / 10, asked).await;
                let refused = answer.ok().and_then(reason) == Some(Reason::Reentrant);
                count.fetch_add(u64::from(refused), Ordering::Relaxed);
            }
            Ok::<u64, &'static str>(1)
        };
        inner.get_or_load(&2, load).await.map_err(|_| "nested")
    };
    let outer = cache.get_or_load(&1, nested).await;
    assert_eq!(reason(outer), Some(Reason::LoadTimeout));
    sleep(200 * MILLISECOND).await;
    let source = Source::default();
    for key in 10..200 {
        let (cache, load) = (cache.clone(), source.takes(800 * MILLISECOND));
        tokio::spawn(async move { cache.get_or_load(&key, load).await });
    }
    sleep(SECOND).await;
    assert_eq!(refused.load(Ordering::Relaxed), 0);
}
