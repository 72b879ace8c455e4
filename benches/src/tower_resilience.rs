//! The peer with nearly the same layers: timed as it is, and built anew with its metrics.

use std::{
    convert::Infallible,
    future,
    sync::Mutex,
    task::{Context, Waker},
    time::Duration,
};

use tower::{Layer as _, Service as _, service_fn};
use tower_resilience::{
    bulkhead::BulkheadLayer,
    cache::CacheLayer,
    circuitbreaker::{
        CircuitBreakerConfigBuilder, CircuitBreakerLayer, DefaultClassifier, SlidingWindowType,
    },
    ratelimiter::{RateLimiterLayer, WindowType},
};

use crate::{
    Bare,
    Expect::{Admitted, Refused},
    FILL, HOUR, KEYS, LOG_LIMIT, LOG_WINDOW, MOST, Subject, TEN_SECONDS, VALID, call, holding,
    keys::index,
    layered, now, smoke,
};

/// Closed, over the last hundred calls.
#[must_use]
pub fn breaker_count() -> impl Subject {
    closed(breaker().sliding_window_size(100), 100)
}

/// Closed, over the calls of the last ten seconds, of which there were many.
#[must_use]
pub fn breaker_time() -> impl Subject {
    // Each of them looks at all before it.
    timed(TEN_SECONDS, if smoke() { 1_000 } else { FILL })
}

/// Closed, over a time in which about so many calls are made one after the other.
#[must_use]
pub fn breaker_time_steady(calls: u64) -> impl Subject {
    // A call takes some 0.4 ns for each that is there already.
    timed(Duration::from_nanos(calls * calls * 2 / 5), calls)
}

/// Refuses.
#[must_use]
pub fn breaker_open() -> impl Subject {
    let (layer, handle) = breaker().build_with_handle().expect(VALID);
    now(handle.force_open());
    layered(Refused, layer.layer(Bare))
}

/// A window that starts anew, and admits twice its limit across that moment.
#[must_use]
pub fn limiter_fixed() -> impl Subject {
    wide(WindowType::Fixed, Duration::from_secs(1))
}

/// Two windows, the older counted in part.
#[must_use]
pub fn limiter_sliding() -> impl Subject {
    wide(WindowType::SlidingCounter, Duration::from_secs(1))
}

/// Every call of the window remembered by itself.
#[must_use]
pub fn limiter_log() -> impl Subject {
    let log = limiter(WindowType::SlidingLog, index(LOG_LIMIT), LOG_WINDOW);
    layered(Admitted, log.layer(Bare))
}

/// Refuses.
#[must_use]
pub fn limiter_denied() -> impl Subject {
    let mut spent = limiter(WindowType::Fixed, 1, HOUR).layer(Bare);
    call(&mut spent, 0).expect("one is free");
    layered(Refused, spent)
}

/// Has room.
#[must_use]
pub fn bulkhead() -> impl Subject {
    let layer = BulkheadLayer::builder()
        .max_concurrent_calls(64)
        .reject_when_full()
        .build()
        .expect(VALID);
    layered(Admitted, layer.layer(Bare))
}

/// Has one place, which is taken: refuses, as soon as a timer has ticked.
///
/// # Panics
///
/// When there are two.
#[must_use]
pub fn bulkhead_full() -> impl Subject {
    let (layer, _) = BulkheadLayer::builder()
        .max_concurrent_calls(1)
        .reject_when_full()
        .build_with_handle()
        .expect(VALID);
    let never = service_fn(|_: u64| future::pending::<Result<u64, Infallible>>());
    let mut held = layer.layer(never).call(0);
    let polled = held.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    holding(Mutex::new(held), layered(Refused, layer.layer(Bare)))
}

/// Everything that is asked for is there.
#[must_use]
pub fn cache_hit() -> impl Subject {
    let layer = CacheLayer::builder()
        .max_size(usize::try_from(2 * KEYS).unwrap_or(usize::MAX))
        .ttl(HOUR)
        .key_extractor(|request: &u64| *request)
        .build()
        .expect(VALID)
        .shared::<u64>();
    let mut service = layer.layer(Bare);
    (0..KEYS).for_each(|key| assert!(call(&mut service, key).is_ok()));
    layered(Admitted, service)
}

fn timed(length: Duration, fill: u64) -> impl Subject {
    let timed = breaker()
        .sliding_window_type(SlidingWindowType::TimeBased)
        .sliding_window_duration(length);
    closed(timed, fill)
}

fn closed(builder: CircuitBreakerConfigBuilder<DefaultClassifier>, fill: u64) -> impl Subject {
    let (layer, _) = builder.build_with_handle().expect(VALID);
    let calls = layered(Admitted, layer.layer(Bare));
    calls.calls(0, fill);
    calls
}

fn breaker() -> CircuitBreakerConfigBuilder<DefaultClassifier> {
    CircuitBreakerLayer::builder()
        .minimum_number_of_calls(100)
        .wait_duration_in_open(HOUR)
}

fn wide(window: WindowType, period: Duration) -> impl Subject {
    layered(Admitted, limiter(window, MOST as usize, period).layer(Bare))
}

fn limiter(window: WindowType, limit: usize, period: Duration) -> RateLimiterLayer {
    RateLimiterLayer::builder()
        .window_type(window)
        .limit_for_period(limit)
        .refresh_period(period)
        .timeout_duration(Duration::ZERO)
        .build()
        .expect(VALID)
}
