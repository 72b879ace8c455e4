//! One load of a key at a time, and nobody is failed by somebody else going away.

use std::{
    panic::AssertUnwindSafe,
    task::{Context, Poll, Waker},
};

use resilience_core::ManualClock;

use super::*;

#[tokio::test(start_paused = true)]
async fn ten_thousand_concurrent_misses_make_one_load() {
    let (cache, source) = (cache(policy()), Source::default());
    let callers = crowd(10_000, &cache, || source.takes(SECOND));
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(1));
    }
    assert_eq!(source.loads(), 1);
    let snapshot = cache.snapshot();
    assert_eq!((snapshot.misses, snapshot.coalesced), (1, 9999));
    assert_eq!(snapshot.loading, 0);
}

#[test]
fn threads_that_miss_at_the_same_time_make_one_load() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        for round in 0..200 {
            let cache: Cache<u32, u64> = Cache::new(policy()).unwrap();
            let source = Source::default();
            let callers: Vec<_> = (0..64)
                .map(|_| {
                    let (cache, source) = (cache.clone(), source.clone());
                    tokio::spawn(async move {
                        let load = move || async move {
                            tokio::task::yield_now().await;
                            Ok::<_, Infallible>(source.0.fetch_add(1, Ordering::Relaxed))
                        };
                        cache.get_or_load(&round, load).await
                    })
                })
                .collect();
            for caller in callers {
                assert_eq!(caller.await.unwrap(), Ok(0));
            }
            assert_eq!(source.loads(), 1);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_load_goes_on_when_its_caller_goes_away() {
    let (cache, source) = (cache(policy()), Source::default());
    let leader = ask(&cache, source.takes(2 * SECOND));
    settle().await;
    let waiting = ask(&cache, source.takes(2 * SECOND));
    settle().await;
    leader.abort();
    assert_eq!(waiting.await.unwrap(), Ok(1));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_whose_leader_goes_away_is_handed_over() {
    let cache = cache(policy().on_leader_gone(OnLeaderGone::HandOver));
    let source = Source::default();
    let mut callers = crowd(4, &cache, || source.takes(2 * SECOND));
    settle().await;
    callers.remove(0).abort();
    // One that waits goes away as well, at the very moment it is to follow.
    settle().await;
    callers.remove(0).abort();
    for caller in callers {
        let value = caller.await.unwrap().unwrap();
        assert_eq!(value, source.loads());
    }
    assert!(source.loads() <= 3);
    assert_eq!(cache.snapshot().loading, 0);
}

#[tokio::test(start_paused = true)]
async fn one_who_is_dropped_when_it_is_to_lead_passes_that_on() {
    let cache = cache(policy().on_leader_gone(OnLeaderGone::HandOver));
    let source = Source::default();
    let mut context = Context::from_waker(Waker::noop());
    let mut begin = || {
        let mut future = Box::pin(cache.get_or_load(&7, source.takes(SECOND)));
        assert!(future.as_mut().poll(&mut context).is_pending());
        future
    };
    let (leader, next, last) = (begin(), begin(), begin());
    drop(leader);
    drop(next);
    assert_eq!(last.await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_everybody_has_left_leaves_nothing_behind() {
    let cache = cache(policy().on_leader_gone(OnLeaderGone::HandOver));
    let source = Source::default();
    for polls in 0..3 {
        let mut context = Context::from_waker(Waker::noop());
        let mut callers: Vec<_> = (0..3)
            .map(|_| Box::pin(cache.get_or_load(&7, source.takes(SECOND))))
            .collect();
        for _ in 0..polls {
            for caller in &mut callers {
                assert!(caller.as_mut().poll(&mut context).is_pending());
            }
        }
        drop(callers);
        assert_eq!(cache.snapshot().loading, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_loader_fails_those_who_wait_and_the_next_caller_tries_again() {
    let (cache, source) = (cache(policy()), Source::default());
    let (leader, waiting) = tokio::join!(
        cache.get_or_load(&7, source.fails()),
        cache.get_or_load(&7, source.fails()),
    );
    assert_eq!(leader, Err(Error::Inner("down")));
    assert_eq!(reason(waiting), Some(Reason::LoadFailed));
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(2));
    assert_eq!(cache.snapshot().load_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_loader_fails_those_who_wait_and_the_key_stays_usable() {
    for then in [OnLeaderGone::KeepLoading, OnLeaderGone::HandOver] {
        let (cache, source) = (cache(policy().on_leader_gone(then)), Source::default());
        let panics = || async {
            sleep(MILLISECOND).await;
            panic!("no pans");
            #[allow(unreachable_code, reason = "says of which type the value would be")]
            Ok::<u64, &'static str>(0)
        };
        let (leader, waiting) = tokio::join!(
            cache.get_or_load(&7, panics),
            cache.get_or_load(&7, source.gives()),
        );
        assert_eq!(reason(leader), Some(Reason::Panicked));
        assert_eq!(reason(waiting), Some(Reason::Panicked));
        assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(1));
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_leader_that_is_not_polled_have_their_own_deadline() {
    let cache = cache(policy().on_leader_gone(OnLeaderGone::HandOver));
    let source = Source::default();
    let mut leader = Box::pin(cache.get_or_load(&7, source.takes(SECOND)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(leader.as_mut().poll(&mut context).is_pending());
    let waited = cache.get_or_load(&7, source.gives()).await;
    assert_eq!(reason(waited), Some(Reason::LoadTimeout));
    assert_eq!(cache.get_or_load(&7, source.gives()).await, Ok(2));
    drop(leader);
    assert_eq!(cache.get(&7), Some(2));
}

#[test]
fn a_runtime_that_is_shut_down_leaves_nobody_waiting() {
    let build = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap()
    };
    let (dying, living) = (build(), build());
    let cache: Cache<u32, u64> = Cache::new(policy()).unwrap();
    let (began, begun) = tokio::sync::oneshot::channel();
    let leader = dying.spawn({
        let cache = cache.clone();
        async move {
            let load = || async {
                began.send(()).unwrap();
                std::future::pending::<Result<u64, Infallible>>().await
            };
            cache.get_or_load(&7, load).await
        }
    });
    living.block_on(begun).unwrap();
    let waiting = living.spawn({
        let cache = cache.clone();
        async move { cache.get_or_load(&7, Source::default().gives()).await }
    });
    while cache.snapshot().coalesced == 0 {
        std::thread::yield_now();
    }
    dying.shutdown_timeout(SECOND);
    drop(leader);
    let refused = living.block_on(waiting).unwrap();
    assert_eq!(reason(refused), Some(Reason::Closed));
    let again = living.block_on(cache.get_or_load(&7, Source::default().gives()));
    assert_eq!(again, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_asks_for_its_own_key_is_refused() {
    for then in [OnLeaderGone::KeepLoading, OnLeaderGone::HandOver] {
        let cache = cache(policy().on_leader_gone(then));
        let inner = cache.clone();
        let load = || async move {
            let again = inner.get_or_load(&7, Source::default().gives()).await;
            Ok::<u64, Infallible>(u64::from(reason(again) == Some(Reason::Reentrant)))
        };
        let answer = timed(cache.get_or_load(&7, load)).await;
        assert_eq!(answer, (Ok(1), Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_asks_for_its_own_key_through_another_is_refused() {
    let cache = cache(policy());
    let (outer, inner) = (cache.clone(), cache.clone());
    let load = || async move {
        let other = || async move {
            let again = inner.get_or_load(&7, Source::default().gives()).await;
            Ok::<u64, Infallible>(u64::from(reason(again) == Some(Reason::Reentrant)))
        };
        outer.get_or_load(&8, other).await
    };
    assert_eq!(cache.get_or_load(&7, load).await, Ok(1));
}

#[test]
fn without_a_runtime_a_load_runs_where_it_is_asked_for() {
    let cache: Cache<u32, u64> = Cache::new(policy()).unwrap();
    let load = || async { Ok::<_, Infallible>(5) };
    let mut context = Context::from_waker(Waker::noop());
    let mut future = Box::pin(cache.get_or_load(&7, load));
    assert_eq!(future.as_mut().poll(&mut context), Poll::Ready(Ok(5)));
}

#[test]
fn without_a_runtime_a_stale_value_is_loaded_again_where_it_is_asked_for() {
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    let cache: Cache<u32, u64> = Cache::new_in(policy().never_expire(), &environment).unwrap();
    cache.insert(7, 0);
    clock.advance(11 * SECOND);
    let mut context = Context::from_waker(Waker::noop());
    let load = || async { Ok::<_, Infallible>(5) };
    let mut asked = Box::pin(cache.get_or_load(&7, load));
    assert_eq!(asked.as_mut().poll(&mut context), Poll::Ready(Ok(5)));
    clock.advance(11 * SECOND);
    let fails = || async { Err::<u64, _>("down") };
    let mut asked = Box::pin(cache.get_or_load(&7, fails));
    assert_eq!(asked.as_mut().poll(&mut context), Poll::Ready(Ok(5)));
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_panics_before_its_future_is_caught_too() {
    let cache = cache(policy());
    let load = || -> Later<Result<u64, Infallible>> { panic!("at once") };
    let result = cache.get_or_load(&7, load).await;
    assert_eq!(reason(result), Some(Reason::Panicked));
    assert_eq!(cache.snapshot().loading, 0);
}

#[tokio::test(start_paused = true)]
async fn a_value_whose_clone_panics_harms_only_its_caller() {
    #[derive(Debug)]
    struct Grudge;
    impl Clone for Grudge {
        fn clone(&self) -> Self {
            panic!("no copies")
        }
    }
    let cache: Cache<u32, Grudge> = Cache::new(policy()).unwrap();
    cache.insert(7, Grudge);
    for _ in 0..3 {
        let get = AssertUnwindSafe(|| cache.get(&7));
        assert!(std::panic::catch_unwind(get).is_err());
    }
    cache.invalidate(&7);
    assert!(cache.get(&7).is_none());
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_takes_less_than_half_a_kibibyte() {
    let (cache, source) = (cache(policy()), Source::default());
    let mut context = Context::from_waker(Waker::noop());
    let mut callers = Vec::with_capacity(10_000);
    let mut first = Box::pin(cache.get_or_load(&7, source.takes(SECOND)));
    assert!(first.as_mut().poll(&mut context).is_pending());
    let cost = allocation_counter::measure(|| {
        for _ in 0..10_000 {
            let mut caller = Box::pin(cache.get_or_load(&7, source.takes(SECOND)));
            assert!(caller.as_mut().poll(&mut context).is_pending());
            callers.push(caller);
        }
    });
    let each = cost.bytes_current / 10_000;
    assert!(each < 448, "{each}");
    drop(first);
    for caller in callers {
        assert_eq!(caller.await, Ok(1));
    }
}

/// Each waiter is woken once, and polls no more than it must.
#[tokio::test(start_paused = true)]
async fn those_who_wait_are_woken_once_and_do_not_spin() {
    let (cache, source) = (cache(policy()), Source::default());
    let leader = ask(&cache, source.takes(SECOND));
    settle().await;
    let mut waiting = tokio_test::task::spawn(cache.get_or_load(&7, source.gives()));
    assert!(waiting.poll().is_pending());
    sleep(999 * MILLISECOND).await;
    assert!(!waiting.is_woken());
    leader.await.unwrap().unwrap();
    assert!(waiting.is_woken());
    assert_eq!(waiting.poll(), Poll::Ready(Ok(1)));
}

#[tokio::test(start_paused = true)]
async fn a_value_says_where_it_came_from() {
    let policy = policy().stale_while_revalidate(60 * SECOND);
    let (cache, source) = (cache(policy), Source::default());
    let ask = || {
        let load = source.gives();
        let loader = || async { load().await.map(Some) };
        let (cache, key) = (cache.clone(), 7);
        async move {
            let found = cache.get_or_find_with_origin(&key, loader).await;
            found.unwrap().unwrap().1
        }
    };
    let (leader, waiting) = tokio::join!(ask(), ask());
    assert_eq!((leader, waiting), (Origin::Loaded, Origin::Coalesced));
    assert_eq!(ask().await, Origin::Stored);
    let there = cache.get_or_load_with_origin(&7, source.gives()).await;
    assert_eq!(there, Ok((1, Origin::Stored)));
    advance(11 * SECOND).await;
    assert_eq!(ask().await, Origin::Stale);
}

#[tokio::test(start_paused = true)]
async fn a_value_says_whether_a_load_was_for_a_stale_one() {
    let (cache, source) = (
        cache(policy().stale_if_error(60 * SECOND)),
        Source::default(),
    );
    let ask = async |fails| {
        type Loader = Box<dyn FnOnce() -> Later<Result<u64, &'static str>> + Send>;
        let loader: Loader = match fails {
            true => Box::new(source.fails()),
            false => Box::new(source.gives()),
        };
        cache.get_or_load_with_origin(&7, loader).await.unwrap().1
    };
    assert_eq!(ask(false).await, Origin::Loaded);
    advance(11 * SECOND).await;
    assert_eq!(ask(true).await, Origin::Fallback);
    // No other load is made for a second.
    assert_eq!(ask(false).await, Origin::Stale);
    advance(2 * SECOND).await;
    let both = tokio::join!(ask(false), ask(false));
    assert_eq!(both, (Origin::Reloaded, Origin::CoalescedReload));
    for origin in [Origin::Fallback, both.0, both.1] {
        assert!(origin.cache_status().starts_with("fwd=stale"), "{origin:?}");
    }
    assert_eq!(ask(false).await.cache_status(), "hit");
}
