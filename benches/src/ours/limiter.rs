use std::{hash::Hash, time::Duration};

use http::Request;
use resilience_core::{
    RateLimiter, Respond, Results,
    rate_limit::{Algorithm, Everybody, Policy, Quota},
};
use tower::Layer as _;

use crate::{
    Bare, BareHttp,
    Expect::{Admitted, Refused},
    FILL, HOUR, KEYS, LOG_LIMIT, LOG_WINDOW, MOST, Subject, VALID, http, keyed,
    keys::{index, names, page},
    layered,
};

/// One limit for everybody, in a window that slides by parts.
#[must_use]
pub fn limiter_sliding() -> impl Subject {
    unkeyed(&wide(Algorithm::SlidingWindow))
}

/// As [`limiter_sliding`], asked without a service.
#[must_use]
pub fn limiter_sliding_engine() -> impl Subject {
    engine(Admitted, wide(Algorithm::SlidingWindow))
}

/// One limit for everybody, by arrival times.
#[must_use]
pub fn limiter_gcra() -> impl Subject {
    unkeyed(&wide(Algorithm::Gcra))
}

/// As [`limiter_gcra`], asked without a service.
#[must_use]
pub fn limiter_gcra_engine() -> impl Subject {
    engine(Admitted, wide(Algorithm::Gcra))
}

/// Every call of the window remembered by itself.
#[must_use]
pub fn limiter_log() -> impl Subject {
    let quota = Quota::new(LOG_LIMIT, LOG_WINDOW).algorithm(Algorithm::SlidingLog);
    unkeyed(&RateLimiter::new(Policy::new("log", quota)).expect(VALID))
}

/// As [`limiter_log`], with a hundred thousand calls in the window.
#[must_use]
pub fn limiter_log_full() -> impl Subject {
    let quota = Quota::new(FILL, HOUR).algorithm(Algorithm::SlidingLog);
    let limiter = RateLimiter::new(Policy::new("log", quota)).expect(VALID);
    let calls = unkeyed(&limiter);
    calls.calls(0, FILL);
    calls
}

/// Refuses.
#[must_use]
pub fn limiter_denied() -> impl Subject {
    let layer = spent().layer_with(Everybody, Results);
    layered(Refused, layer.layer(Bare))
}

/// As [`limiter_denied`], asked without a service.
#[must_use]
pub fn limiter_denied_engine() -> impl Subject {
    engine(Refused, spent())
}

/// A limit for each number.
#[must_use]
pub fn limiter_keyed() -> impl Subject {
    limiter_keyed_of(KEYS)
}

/// As [`limiter_keyed`], with so many keys.
#[must_use]
pub fn limiter_keyed_of(keys: u64) -> impl Subject {
    numbers(Algorithm::SlidingWindow, SECOND, keys)
}

/// As [`limiter_keyed`], over a window of its own.
#[must_use]
pub fn limiter_keyed_over(window: Duration) -> impl Subject {
    numbers(Algorithm::SlidingWindow, window, KEYS)
}

/// As [`limiter_keyed`], asked without a service.
#[must_use]
pub fn limiter_keyed_engine() -> impl Subject {
    let limiter: RateLimiter<u64> = wide(Algorithm::SlidingWindow);
    keyed(Admitted, limiter, |limiter, key| {
        limiter.try_take(&key).is_ok()
    })
}

/// As [`limiter_keyed`], by arrival times.
#[must_use]
pub fn limiter_keyed_gcra() -> impl Subject {
    limiter_keyed_gcra_of(KEYS)
}

/// As [`limiter_keyed_gcra`], with so many keys.
#[must_use]
pub fn limiter_keyed_gcra_of(keys: u64) -> impl Subject {
    numbers(Algorithm::Gcra, SECOND, keys)
}

/// A limit for each name; to make the name is part of the call.
#[must_use]
pub fn limiter_keyed_string() -> impl Subject {
    limiter_keyed_string_over(SECOND)
}

/// As [`limiter_keyed_string`], over a window of its own.
#[must_use]
pub fn limiter_keyed_string_over(window: Duration) -> impl Subject {
    let limiter: RateLimiter<String> = wide_of(Algorithm::SlidingWindow, window, KEYS);
    let names = names();
    let name = move |request: &u64| names.get(index(*request)).cloned();
    layered(Admitted, limiter.layer_with(name, Results).layer(Bare))
}

/// As [`limiter_keyed_string`], asked without a service, by names that are there.
#[must_use]
pub fn limiter_keyed_string_engine() -> impl Subject {
    let limiter: RateLimiter<String> = wide(Algorithm::SlidingWindow);
    keyed(Admitted, (limiter, names()), |(limiter, names), key| {
        limiter.try_take(names[index(key)].as_str()).is_ok()
    })
}

/// A limit for each address of an HTTP service, which answers for its refusals.
#[must_use]
pub fn limiter_http() -> impl Subject {
    let limiter: RateLimiter<u64> = wide(Algorithm::SlidingWindow);
    let layer = limiter.layer_by(|request: &Request<_>| page(request));
    http(Respond::with((layer,)).layer(BareHttp))
}

fn wide<K: Hash + Eq + Clone + Send + 'static>(algorithm: Algorithm) -> RateLimiter<K> {
    wide_of(algorithm, SECOND, KEYS)
}

fn wide_of<K: Hash + Eq + Clone + Send + 'static>(
    algorithm: Algorithm,
    window: Duration,
    keys: u64,
) -> RateLimiter<K> {
    let most = u64::from(MOST) * window.as_secs();
    let quota = Quota::new(most, window).algorithm(algorithm);
    // Room for all keys, however they fall on the shards.
    let capacity = 4 * index(keys);
    RateLimiter::new(Policy::new("wide", quota).capacity(capacity)).expect(VALID)
}

fn spent() -> RateLimiter {
    let limiter: RateLimiter =
        RateLimiter::new(Policy::new("narrow", Quota::new(1, HOUR))).expect(VALID);
    limiter.try_take(&()).expect("one is free");
    limiter
}

fn unkeyed(limiter: &RateLimiter) -> impl Subject + use<> {
    layered(Admitted, limiter.layer_with(Everybody, Results).layer(Bare))
}

fn engine(expect: crate::Expect, limiter: RateLimiter) -> impl Subject {
    keyed(expect, limiter, |limiter, _| limiter.try_take(&()).is_ok())
}

/// All keys are remembered already.
fn numbers(algorithm: Algorithm, window: Duration, keys: u64) -> impl Subject {
    let limiter: RateLimiter<u64> = wide_of(algorithm, window, keys);
    let layer = limiter.layer_with(|request: &u64| Some(*request), Results);
    let calls = layered(Admitted, layer.layer(Bare)).of_keys(keys);
    calls.calls(0, keys);
    calls
}

const SECOND: Duration = Duration::from_secs(1);
