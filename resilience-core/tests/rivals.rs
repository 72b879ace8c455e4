//! Defects that users meet in other libraries, each tried against ours.
//!
//! A test tells what goes wrong elsewhere in its comment, and fails where the same goes wrong
//! here.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![cfg(feature = "http")]

#[path = "support/http.rs"]
mod support;

use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use resilience_core::{
    Bulkhead, Cache, CatchPanic, CircuitBreaker, Clock, Environment, KeyExtractor as _,
    ManualClock, Outcome, RateLimiter, Reason, Rejected, Respond, Results, Timestamp,
    cache::{self, OnLeaderGone},
    circuit_breaker::{self, OpenWait, Phase, Window},
    concurrency,
    key::{ClientIp, PeerAddr},
    rate_limit::{self, Algorithm, Quota},
};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use self::support::Connection;

const SECOND: Duration = Duration::from_secs(1);

fn on(clock: &ManualClock) -> Environment {
    Environment::new().clock(clock.clone())
}

fn breaker(policy: circuit_breaker::Policy, clock: &ManualClock) -> CircuitBreaker {
    CircuitBreaker::new_in(policy, &on(clock)).unwrap()
}

fn policy() -> circuit_breaker::Policy {
    circuit_breaker::Policy::new("rivals")
}

fn vote(breaker: &CircuitBreaker, outcome: Outcome, times: usize) {
    for _ in 0..times {
        breaker.try_acquire().unwrap().settle(outcome);
    }
}

/// Opens after one failure, for five seconds, and asks one probe.
fn hair_trigger(clock: &ManualClock) -> CircuitBreaker {
    let policy = policy().no_failure_rate().consecutive_failures(1);
    breaker(policy.half_open_permits(1), clock)
}

/// tower-resilience: the count window never slides; after 100 000 successes it takes 100 000
/// failures to open.
#[test]
fn p01_a_count_window_slides() {
    let breaker = breaker(policy(), &ManualClock::new());
    vote(&breaker, Outcome::Success, 100_000);
    vote(&breaker, Outcome::Failure, 49);
    assert_eq!(breaker.phase(), Phase::Closed);
    vote(&breaker, Outcome::Failure, 1);
    assert_eq!(breaker.phase(), Phase::Open);
}

/// tower-resilience: probes rarer than the time window leave Half-Open stuck.
#[test]
fn p02_probes_rarer_than_the_window_still_close() {
    let clock = ManualClock::new();
    let window = Window::time(SECOND, 10);
    let policy = policy().window(window).half_open_permits(3);
    let breaker = breaker(policy.half_open_max_wait(3600 * SECOND), &clock);
    breaker.open_for(SECOND).unwrap();
    for _ in 0..3 {
        clock.advance(10 * SECOND);
        vote(&breaker, Outcome::Success, 1);
    }
    assert_eq!(breaker.phase(), Phase::Closed);
}

/// tower-resilience, Polly, failsafe-go, Sentinel, resilience4j by default: a hung probe pins
/// Half-Open for ever.
#[test]
fn p03_a_hung_probe_does_not_pin_half_open() {
    let clock = ManualClock::new();
    let breaker = hair_trigger(&clock);
    vote(&breaker, Outcome::Failure, 1);
    clock.advance(5 * SECOND);
    let hung = breaker.try_acquire().unwrap();
    clock.advance(5 * SECOND);
    assert_eq!(
        breaker.try_acquire().unwrap_err().retry_after(),
        Some(5 * SECOND)
    );
    clock.advance(5 * SECOND);
    vote(&breaker, Outcome::Success, 1);
    assert_eq!(breaker.phase(), Phase::Closed);
    hung.settle(Outcome::Failure);
    assert_eq!(breaker.phase(), Phase::Closed);
}

/// The same libraries and Hystrix: calls begun while Closed decide Half-Open.
#[test]
fn p04_calls_begun_while_closed_do_not_decide_half_open() {
    let clock = ManualClock::new();
    let breaker = hair_trigger(&clock);
    let old: Vec<_> = (0..100).map(|_| breaker.try_acquire().unwrap()).collect();
    vote(&breaker, Outcome::Failure, 1);
    clock.advance(5 * SECOND);
    let probe = breaker.try_acquire().unwrap();
    for (index, permit) in old.into_iter().enumerate() {
        let outcome = [Outcome::Success, Outcome::Failure][index % 2];
        permit.settle(outcome);
    }
    assert_eq!(breaker.phase(), Phase::HalfOpen);
    probe.settle(Outcome::Success);
    assert_eq!(breaker.phase(), Phase::Closed);
}

/// tower-resilience: dropped and panicked calls are invisible; 200 timed-out calls, 0 recorded.
#[tokio::test(start_paused = true)]
async fn p05_dropped_calls_are_counted_and_panicked_ones_vote() {
    let breaker = CircuitBreaker::new(policy()).unwrap();
    for _ in 0..200 {
        let call = breaker.call(pending::<Result<(), Infallible>>);
        tokio::time::timeout(SECOND, call).await.unwrap_err();
    }
    assert_eq!(breaker.snapshot().totals.canceled, 200);
    for _ in 0..100 {
        let breaker = breaker.clone();
        let panics = async || -> Result<(), Infallible> { panic!("in the call") };
        let task = tokio::spawn(async move { breaker.call(panics).await });
        task.await.unwrap_err();
    }
    assert_eq!(breaker.phase(), Phase::Open);
}

/// tower-resilience: refusing while open sleeps at least 1 ms when its lock is busy.
#[test]
fn p06_refusing_while_open_never_sleeps() {
    const REFUSALS: u32 = 20_000;
    let breaker = CircuitBreaker::new(policy()).unwrap();
    breaker.open_for(3600 * SECOND).unwrap();
    let clock = Clock::system();
    let start = clock.now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..REFUSALS {
                    breaker.try_acquire().unwrap_err();
                }
            });
        }
    });
    // At 1 ms each, one thread alone would take 20 s.
    assert!(clock.now().saturating_since(start) < 5 * SECOND);
    assert_eq!(breaker.snapshot().rejected, u64::from(4 * REFUSALS));
}

/// tower-resilience: a closure for a classifier makes a layer that a router does not take.
#[tokio::test]
async fn p07_a_closure_is_a_classifier_in_a_router() {
    let breaker = CircuitBreaker::new(policy().window(Window::count(2))).unwrap();
    let teapots = |result: &Result<Response<Body>, _>| match result {
        Ok(response) if response.status() == StatusCode::IM_A_TEAPOT => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err::<_, resilience_core::Error<Infallible>>(_) => Outcome::Failure,
    };
    let app: Router = Router::new()
        .route("/", get(async || StatusCode::IM_A_TEAPOT))
        .layer(Respond::with((breaker.layer_with(teapots),)));
    for _ in 0..2 {
        app.clone().oneshot(support::get("/")).await.unwrap();
    }
    assert_eq!(breaker.phase(), Phase::Open);
}

/// tower, tower-resilience: state is made in `Layer::layer()`; a limit of 10 admits 200 of 200
/// over 20 connections.
#[tokio::test]
async fn p08_a_limit_of_ten_admits_ten_over_twenty_connections() {
    let quota = Quota::new(10, 3600 * SECOND);
    let limiter = RateLimiter::new(rate_limit::Policy::new("ten", quota)).unwrap();
    let app = Router::new()
        .route("/", get(async || "soup"))
        .layer(Respond::with((limiter.layer(),)));
    let address = support::serve(app).await;
    let mut admitted = 0;
    for _ in 0..20 {
        let connection = Connection::to(address);
        for _ in 0..10 {
            admitted += usize::from(connection.get("/").await.status().is_success());
        }
    }
    assert_eq!(admitted, 10);
}

/// tower-resilience: refuses only after burning the whole wait though the slot is known to come
/// later, and does not say when.
#[tokio::test(start_paused = true)]
async fn p09_a_wait_known_to_be_too_long_is_refused_at_once() {
    let quota = Quota::new(1, 10 * SECOND).algorithm(Algorithm::SlidingLog);
    let policy = rate_limit::Policy::new("one", quota).max_wait(SECOND);
    let clock = Clock::tokio();
    let environment = Environment::new().clock(clock.clone());
    let limiter = RateLimiter::new_in(policy, &environment).unwrap();
    limiter.take(&()).await.unwrap();
    let start = clock.now();
    let rejected = limiter.take(&()).await.unwrap_err();
    assert_eq!(clock.now(), start);
    assert_eq!(rejected.retry_after(), Some(10 * SECOND));
}

/// tower-resilience: those who wait for a load spin, and all fail when its caller goes away.
#[tokio::test(start_paused = true)]
async fn p10_waiters_are_polled_twice_and_outlive_the_caller_who_loads() {
    for then in [OnLeaderGone::KeepLoading, OnLeaderGone::HandOver] {
        let policy = cache::Policy::new("rivals", 60 * SECOND).on_leader_gone(then);
        let dishes: Cache<u32, u32> = Cache::new(policy).unwrap();
        let begin = || {
            let dishes = dishes.clone();
            async move {
                let load = async || {
                    tokio::time::sleep(SECOND).await;
                    Ok::<_, Infallible>(5)
                };
                dishes.get_or_load(&7, load).await
            }
        };
        let leader = tokio::spawn(begin());
        tokio::task::yield_now().await;
        let polls = AtomicUsize::new(0);
        let mut waiting = pin!(begin());
        let counted = std::future::poll_fn(|context| {
            polls.fetch_add(1, Ordering::Relaxed);
            waiting.as_mut().poll(context)
        });
        let leave = async {
            tokio::time::sleep(SECOND / 2).await;
            leader.abort();
        };
        let (value, ()) = tokio::join!(counted, leave);
        assert_eq!(value, Ok(5));
        // The first, one to be told that the leader is gone, and the ends of its own load.
        assert!(polls.load(Ordering::Relaxed) <= 5, "{polls:?}");
    }
}

/// tower-resilience: a hit waits until the service inside is ready, and strands a permit of it;
/// 100 misses make 100 calls.
#[tokio::test(start_paused = true)]
async fn p11_a_hit_needs_no_readiness_and_a_hundred_misses_make_one_call() {
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let slow = service_fn(move |number: u32| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(SECOND).await;
            Ok::<_, Rejected>(number)
        }
    });
    // One place, which `poll_ready` takes and a call gives back.
    let limited = tower::limit::ConcurrencyLimit::new(slow, 1);
    let dishes = Cache::new(cache::Policy::new("rivals", 60 * SECOND)).unwrap();
    let service = dishes
        .layer_with(|number: &u32| Some(*number))
        .layer(limited);

    let misses: Vec<_> = (0..100)
        .map(|_| tokio::spawn(service.clone().oneshot(7)))
        .collect();
    for miss in misses {
        assert_eq!(miss.await.unwrap(), Ok(7));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);

    let busy = tokio::spawn(service.clone().oneshot(8));
    tokio::task::yield_now().await;
    let mut context = Context::from_waker(Waker::noop());
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut hit = service.clone();
        assert!(hit.poll_ready(&mut context).is_ready());
        let mut answer = pin!(hit.call(7));
        assert!(answer.as_mut().poll(&mut context).is_ready());
        idle.push(service.clone());
        assert!(idle.last_mut().unwrap().poll_ready(&mut context).is_ready());
    }
    // Neither those who were served nor those who only asked hold the one place.
    assert_eq!(busy.await.unwrap(), Ok(8));
    assert_eq!(service.oneshot(9).await, Ok(9));
}

/// tower-resilience: the default bulkhead never refuses, 1000 of 1000 hang; and refusing costs a
/// timer's tick.
#[test]
fn p13_a_full_bulkhead_refuses_at_once_and_without_a_timer() {
    // No runtime here: a timer would panic.
    let bulkhead = Bulkhead::new(concurrency::Policy::new("one", 1)).unwrap();
    let hang = service_fn(async |()| pending::<Result<(), Rejected>>().await);
    let mut context = Context::from_waker(Waker::noop());
    let mut service = bulkhead.layer_with(Results).layer(hang);
    let mut running = Vec::new();
    for _ in 0..1000 {
        assert!(service.poll_ready(&mut context).is_ready());
        let mut call = Box::pin(service.call(()));
        match call.as_mut().poll(&mut context) {
            Poll::Pending => running.push(call),
            Poll::Ready(answer) => {
                let rejected = answer.unwrap_err();
                assert_eq!(rejected.reason(), Reason::ConcurrencyLimited);
            }
        }
    }
    assert_eq!(running.len(), 1);
}

/// tower: `LoadShed` over `ConcurrencyLimit` parks a permit in an idle clone; nobody else gets in
/// on an idle system.
#[test]
fn p15_no_permit_is_parked_in_an_idle_clone() {
    let bulkhead = Bulkhead::new(concurrency::Policy::new("one", 1)).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let answer = service_fn(async |()| Ok::<_, Rejected>(()));
    let mut idle = bulkhead.layer_with(Results).layer(answer);
    assert!(idle.poll_ready(&mut context).is_ready());
    for _ in 0..50 {
        let mut service = idle.clone();
        assert!(service.poll_ready(&mut context).is_ready());
        let mut call = pin!(service.call(()));
        assert_eq!(call.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    }
}

/// failsafe, recloser: Half-Open lets everyone in.
#[test]
fn p17_half_open_lets_its_probes_in_and_nobody_else() {
    let clock = ManualClock::new();
    let breaker = hair_trigger(&clock);
    vote(&breaker, Outcome::Failure, 1);
    clock.advance(5 * SECOND);
    let admitted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..125).map(|_| breaker.try_acquire()).collect::<Vec<_>>()))
            .collect();
        for thread in threads {
            // The permits are kept until all have asked.
            let permits: Vec<_> = thread.join().unwrap().into_iter().flatten().collect();
            admitted.fetch_add(permits.len(), Ordering::Relaxed);
            std::mem::forget(permits);
        }
    });
    assert_eq!(admitted.into_inner(), 1);
}

/// governor: two million one-shot keys stay in memory; and 100 per minute admits 199 in the first
/// minute.
#[test]
fn p18_one_shot_keys_do_not_stay_and_a_minute_holds_its_limit() {
    let clock = ManualClock::new();
    let policy = rate_limit::Policy::new("keys", Quota::per_minute(100)).capacity(10_000);
    let limiter = RateLimiter::<u64>::new_in(policy, &on(&clock)).unwrap();
    for key in 0..300_000 {
        limiter.try_take(&key).unwrap();
    }
    assert!(limiter.len() <= 10_000);

    let mut admitted = 0;
    for _ in 0..600 {
        admitted += (0..10)
            .filter(|_| limiter.try_take(&u64::MAX).is_ok())
            .count();
        clock.advance(Duration::from_millis(100));
    }
    assert_eq!(admitted, 100);
}

/// tower-governor: `Retry-After: 0`; the leftmost `X-Forwarded-For`, which anybody can write;
/// `per_second(n)` means one per n seconds.
#[tokio::test]
async fn p19_retry_after_is_never_zero_the_client_is_not_forged_and_n_per_second_is_n() {
    let quota = Quota::per_second(3).algorithm(Algorithm::SlidingLog);
    let limiter = RateLimiter::new(rate_limit::Policy::new("fast", quota)).unwrap();
    let app = Router::new()
        .route("/", get(async || "soup"))
        .layer(Respond::with((limiter.layer(),)));
    let mut refused = None;
    for request in 0..50 {
        let response = app.clone().oneshot(support::get("/")).await.unwrap();
        assert!(request >= 3 || response.status().is_success());
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");

    let mut request = Request::new(());
    let peer = PeerAddr("10.0.0.1:80".parse().unwrap());
    request.extensions_mut().insert(peer);
    let forged = "6.6.6.6, 192.0.2.1".parse().unwrap();
    request.headers_mut().insert("x-forwarded-for", forged);
    let proxied = ClientIp::new().trust_proxies(["10.0.0.0/8"]).unwrap();
    assert_eq!(proxied.key(&request), Some([192, 0, 2, 1].into()));
}

/// failsafe-go: after a deficit of one permit, a long idle time yields 599 permits at once at a
/// limit of 10.
#[test]
fn p22_idle_time_after_a_deficit_saves_nothing_up() {
    let clock = ManualClock::new();
    let quota = Quota::per_second(10).algorithm(Algorithm::Gcra);
    let policy = rate_limit::Policy::new("ten", quota).max_wait(SECOND);
    let limiter = RateLimiter::<()>::new_in(policy, &on(&clock)).unwrap();
    for _ in 0..10 {
        limiter.try_take(&()).unwrap();
    }
    let _booked = limiter.reserve(&(), 1).unwrap();
    clock.advance(60 * SECOND);
    let at_once = (0..700).filter(|_| limiter.try_take(&()).is_ok()).count();
    assert_eq!(at_once, 10);
}

/// resilience4j: a wall clock that steps back by 30 s empties the time window and prolongs Open.
#[test]
fn p23_a_clock_that_steps_back_forgets_nothing_and_prolongs_nothing() {
    let clock = ManualClock::new();
    clock.set(Timestamp::from_nanos(3_600_000_000_000));
    let policy = policy().window(Window::time(10 * SECOND, 10)).min_calls(10);
    let breaker = breaker(policy.open(OpenWait::fixed(5 * SECOND)), &clock);
    vote(&breaker, Outcome::Failure, 9);
    let step_back = Timestamp::from_nanos(3_570_000_000_000);
    let before = clock.now();
    clock.set(step_back);
    assert_eq!(breaker.snapshot().failures, 9);
    vote(&breaker, Outcome::Failure, 1);
    assert_eq!(breaker.phase(), Phase::Open);
    clock.set(before);
    clock.advance(5 * SECOND);
    vote(&breaker, Outcome::Ignored, 1);
    assert_eq!(breaker.phase(), Phase::HalfOpen);
}

/// tower-http: panics in a streaming body escape `CatchPanic`.
#[tokio::test]
async fn p25_a_panic_in_a_streaming_body_is_caught() {
    struct Bomb;
    impl http_body::Body for Bomb {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            panic!("in a frame")
        }
    }
    let panics = CatchPanic::new("body").unwrap();
    let service = panics.layer().layer(service_fn(async |_: Request<()>| {
        Ok::<_, Rejected>(Response::new(Bomb))
    }));
    let response = service.oneshot(Request::new(())).await.unwrap();
    let error = response.into_body().collect().await.err().unwrap();
    assert!(!error.to_string().contains("in a frame"));
}

/// moka: those who wait hang while a leader is not polled, and panic after 200 that were aborted.
#[tokio::test(start_paused = true)]
async fn p27_leaders_that_are_not_polled_or_aborted_hold_nobody_up() {
    for then in [OnLeaderGone::KeepLoading, OnLeaderGone::HandOver] {
        let policy = cache::Policy::new("rivals", 60 * SECOND).on_leader_gone(then);
        let environment = Environment::new().clock(Clock::tokio());
        let dishes: Cache<u32, u32> = Cache::new_in(policy, &environment).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let begin = || {
            let load = async || {
                tokio::time::sleep(SECOND).await;
                Ok::<_, Infallible>(5)
            };
            dishes.get_or_load(&7, load)
        };
        let mut idle = Box::pin(begin());
        assert!(idle.as_mut().poll(&mut context).is_pending());
        let first = tokio::time::timeout(60 * SECOND, begin()).await.unwrap();
        match then {
            OnLeaderGone::KeepLoading => assert_eq!(first, Ok(5)),
            OnLeaderGone::HandOver => assert!(first.is_err(), "a deadline, and no hanging"),
        }
        assert_eq!(begin().await, Ok(5));
        drop(idle);

        dishes.invalidate(&7);
        for _ in 0..500 {
            let mut aborted = Box::pin(begin());
            assert!(aborted.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(begin().await, Ok(5));
    }
}

/// Breakers that count failures: five in five seconds trip on a blip of 0.14 % and turn it into
/// 3 % of refusals for everybody.
#[test]
fn p28_five_failures_among_thousands_do_not_open() {
    let clock = ManualClock::new();
    let breaker = breaker(policy().window(Window::time(5 * SECOND, 10)), &clock);
    for _ in 0..5 {
        vote(&breaker, Outcome::Success, 715);
        vote(&breaker, Outcome::Failure, 1);
        clock.advance(SECOND);
    }
    assert_eq!(breaker.phase(), Phase::Closed);
    assert_eq!(breaker.snapshot().thresholds_reached, 0);
}
