//! What every layer must survive: crowds, foreign code that panics or comes back, clocks that
//! jump, runtimes that end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    convert::Infallible,
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use resilience_core::{
    Bulkhead, CircuitBreaker, Clock, Environment, Error, Event, ManualClock, Outcome, RateLimiter,
    Rejected, Results, Timestamp,
    circuit_breaker::{self, Phase, Window},
    concurrency,
    rate_limit::{self, Algorithm, Quota},
};
use tower::{Layer as _, ServiceExt as _, service_fn};

const SECOND: Duration = Duration::from_secs(1);

fn limiter(quota: Quota, environment: &Environment) -> RateLimiter {
    RateLimiter::new_in(rate_limit::Policy::new("limit", quota), environment).unwrap()
}

fn breaker(environment: &Environment) -> CircuitBreaker {
    let policy = circuit_breaker::Policy::new("breaker");
    let policy = policy.no_failure_rate().consecutive_failures(1);
    CircuitBreaker::new_in(policy, environment).unwrap()
}

fn bulkhead(policy: concurrency::Policy) -> Bulkhead {
    Bulkhead::new(policy).unwrap()
}

/// How many of the calls were under way at once, at most.
#[derive(Debug, Default)]
struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Crowd {
    async fn visit(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn a_thousand_clones_pass_ten_at_a_time() {
    let policy = concurrency::Policy::new("ten", 10).queue(1000);
    let bulkhead = bulkhead(policy.max_wait(3600 * SECOND));
    let crowd = Arc::new(Crowd::default());
    let visitors = Arc::clone(&crowd);
    let service = bulkhead.layer_with(Results).layer(service_fn(move |()| {
        let crowd = Arc::clone(&visitors);
        async move {
            crowd.visit().await;
            Ok::<_, Rejected>(())
        }
    }));
    let calls: Vec<_> = (0..1000)
        .map(|_| tokio::spawn(service.clone().oneshot(())))
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(crowd.most.load(Ordering::SeqCst) <= 10);
    assert_eq!(
        (bulkhead.snapshot().running, bulkhead.snapshot().queued),
        (0, 0)
    );
}

#[test]
fn no_wake_up_is_lost_whatever_the_runtime() {
    let current = || tokio::runtime::Builder::new_current_thread();
    let several = || tokio::runtime::Builder::new_multi_thread();
    for mut builder in [current(), several()] {
        let runtime = builder.worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(a_thousand_clones_pass_ten_at_a_time());
    }
    let runtime = current().enable_time().start_paused(true).build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, a_thousand_clones_pass_ten_at_a_time());
}

#[test]
fn a_thousand_threads_at_the_same_instant_take_exactly_the_limit() {
    for algorithm in [
        Algorithm::SlidingLog,
        Algorithm::SlidingWindow,
        Algorithm::Gcra,
    ] {
        let environment = Environment::new().clock(ManualClock::new());
        let quota = Quota::new(137, SECOND).algorithm(algorithm);
        let limiter = limiter(quota, &environment);
        let taken = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let one = limiter.try_take(&()).is_ok();
                        taken.fetch_add(usize::from(one), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 137, "{algorithm:?}");
    }
}

#[test]
fn an_observer_that_panics_is_not_heard_by_the_caller() {
    let environment = Environment::new().observer(|_: &Event<'_>| panic!("in the observer"));
    let breaker = breaker(&environment);
    breaker.try_acquire().unwrap().settle(Outcome::Failure);
    assert_eq!(breaker.phase(), Phase::Open);
    breaker.try_acquire().unwrap_err();
    let limiter = limiter(Quota::new(1, SECOND), &environment);
    limiter.try_take(&()).unwrap();
    limiter.try_take(&()).unwrap_err();
}

#[test]
fn an_observer_may_call_the_layer_that_it_hears_of() {
    let slot = Arc::new(OnceLock::<CircuitBreaker>::new());
    let heard = Arc::new(AtomicUsize::new(0));
    let (inside, count) = (Arc::clone(&slot), Arc::clone(&heard));
    let environment = Environment::new().observer(move |event: &Event<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
        let breaker = inside.get().unwrap();
        let _ = breaker.snapshot();
        if let Event::PhaseChanged {
            to: Phase::Open, ..
        } = event
        {
            breaker.force_closed().unwrap();
        }
    });
    let breaker = breaker(&environment);
    slot.set(breaker.clone()).unwrap();
    breaker.try_acquire().unwrap().settle(Outcome::Failure);
    assert_eq!(breaker.phase(), Phase::Closed);
    // The run of failures, opened, closed by the observer.
    assert_eq!(heard.load(Ordering::Relaxed), 3);
}

#[test]
fn a_key_extractor_that_panics_takes_nothing() {
    let environment = Environment::new();
    let policy = rate_limit::Policy::new("limit", Quota::new(1, 3600 * SECOND));
    let limiter = RateLimiter::<u64>::new_in(policy, &environment).unwrap();
    let extractor = |key: &u64| {
        (*key != 13)
            .then_some(*key)
            .or_else(|| panic!("in the extractor"))
    };
    let echo = service_fn(async |key: u64| Ok::<_, Rejected>(key));
    let service = limiter.layer_with(extractor, Results).layer(echo);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let call = |key| runtime.block_on(service.clone().oneshot(key));
    catch_unwind(AssertUnwindSafe(|| call(13))).unwrap_err();
    assert_eq!(call(7), Ok(7));
    assert_eq!(limiter.peek(&13).remaining, 1);
}

#[test]
fn clocks_that_stall_or_jump_break_nothing() {
    let century = 100 * 365 * 24 * 3600 * SECOND;
    for algorithm in [
        Algorithm::SlidingLog,
        Algorithm::SlidingWindow,
        Algorithm::Gcra,
    ] {
        let clock = ManualClock::new();
        clock.set(Timestamp::from_nanos(u64::MAX / 2));
        let environment = Environment::new().clock(clock.clone());
        let limiter = limiter(Quota::new(3, SECOND).algorithm(algorithm), &environment);
        let taken = || (0..10).filter(|_| limiter.try_take(&()).is_ok()).count();
        assert_eq!(taken(), 3);
        clock.set(Timestamp::ZERO);
        assert!(taken() <= 3, "{algorithm:?} after a step back");
        clock.set(Timestamp::from_nanos(u64::MAX / 2));
        clock.advance(century);
        assert_eq!(taken(), 3, "{algorithm:?} after a jump ahead");
        clock.set(Timestamp::MAX);
        assert!(taken() <= 3, "{algorithm:?} at the end of time");
    }

    let clock = ManualClock::new();
    let policy = circuit_breaker::Policy::new("jumps").window(Window::time(SECOND, 10));
    let environment = Environment::new().clock(clock.clone());
    let breaker = CircuitBreaker::new_in(policy, &environment).unwrap();
    for now in [0, u64::MAX, 5, u64::MAX / 2, u64::MAX, 0, 1] {
        clock.set(Timestamp::from_nanos(now));
        for outcome in [Outcome::Success, Outcome::Failure] {
            if let Ok(permit) = breaker.try_acquire() {
                permit.settle(outcome);
            }
        }
        let _ = breaker.snapshot();
    }
}

#[test]
fn a_runtime_may_end_with_calls_under_way_and_in_the_queue() {
    let queued = concurrency::Policy::new("one", 1).queue(10);
    let bulkhead = bulkhead(queued.max_wait(3600 * SECOND));
    let breaker = breaker(&Environment::new());
    let quota = Quota::new(1, SECOND);
    let paced = rate_limit::Policy::new("paced", quota).max_wait(3600 * SECOND);
    let limiter = RateLimiter::<()>::new(paced).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    for _ in 0..5 {
        let (bulkhead, breaker, limiter) = (bulkhead.clone(), breaker.clone(), limiter.clone());
        runtime.spawn(async move {
            let inner = || bulkhead.call(pending::<Result<(), Infallible>>);
            let outer = || breaker.call(inner);
            limiter.call(&(), outer).await
        });
    }
    while bulkhead.snapshot().running == 0 {
        std::thread::yield_now();
    }
    runtime.shutdown_timeout(SECOND);
    assert_eq!(bulkhead.snapshot().running, 0);
    assert_eq!(breaker.phase(), Phase::Closed);
    let permit = bulkhead.try_acquire();
    assert!(permit.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_a_breaker_is_a_failure_and_outside_a_cancellation() {
    let environment = Environment::new().clock(Clock::tokio());
    let outside = breaker(&environment);
    let call = outside.call(pending::<Result<(), Infallible>>);
    tokio::time::timeout(SECOND, call).await.unwrap_err();
    assert_eq!(outside.phase(), Phase::Closed);

    let inside = breaker(&environment);
    let hangs = || tokio::time::timeout(SECOND, pending::<()>());
    let answer = inside.call(hangs).await;
    assert!(matches!(answer, Err(Error::Inner(_))));
    assert_eq!(inside.phase(), Phase::Open);
}

#[test]
fn engines_are_built_and_used_outside_of_any_runtime() {
    let limiter = RateLimiter::<()>::new(rate_limit::Policy::new("limit", Quota::per_second(1)));
    assert!(limiter.unwrap().try_take(&()).is_ok());
    assert!(breaker(&Environment::new()).try_acquire().is_ok());
    assert!(
        bulkhead(concurrency::Policy::new("one", 1))
            .try_acquire()
            .is_ok()
    );
}
