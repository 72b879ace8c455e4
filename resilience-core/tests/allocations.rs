//! What an admitted call costs in memory: nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use resilience_core::{
    BloomGuard, Bulkhead, Cache, CatchPanic, CircuitBreaker, Outcome, RateLimiter, Rejected,
    Results, Settle as _, bloom_guard, cache,
    circuit_breaker::{self, CircuitBreakers, Window},
    concurrency::{self, Bulkheads},
    rate_limit::{self, Algorithm, Quota},
};
use tower::{Layer, Service, service_fn};

/// A service that is done at once and allocates nothing.
fn echo() -> impl Service<u64, Response = u64, Error = Rejected, Future: Send> + Clone {
    service_fn(|number| std::future::ready(Ok(number)))
}

fn call<S>(service: &mut S, number: u64) -> Result<S::Response, Rejected>
where
    S: Service<u64, Error = Rejected>,
{
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(ready) = service.poll_ready(&mut context) else {
        panic!("not ready");
    };
    ready?;
    let mut future = pin!(service.call(number));
    match future.as_mut().poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("not done"),
    }
}

/// Allocations of a thousand calls, after as many to warm up.
fn allocations<S>(mut service: S, expect: fn(&Result<S::Response, Rejected>) -> bool) -> u64
where
    S: Service<u64, Error = Rejected>,
{
    let mut calls = || {
        for _ in 0..1000 {
            assert!(expect(&call(&mut service, 7)));
        }
    };
    calls();
    allocation_counter::measure(calls).count_total
}

fn admitted<S: Service<u64, Error = Rejected>>(service: S) -> u64 {
    allocations(service, Result::is_ok)
}

fn refused<S: Service<u64, Error = Rejected>>(service: S) -> u64 {
    allocations(service, Result::is_err)
}

fn quota(algorithm: Algorithm) -> Quota {
    Quota::new(10_000, Duration::from_secs(3600)).algorithm(algorithm)
}

fn limiter<K>(quota: Quota) -> RateLimiter<K>
where
    RateLimiter<K>: TryNew,
{
    TryNew::try_new(rate_limit::Policy::new("limit", quota))
}

/// Makes a limiter, whatever its key.
trait TryNew {
    fn try_new(policy: rate_limit::Policy) -> Self;
}

impl TryNew for RateLimiter<()> {
    fn try_new(policy: rate_limit::Policy) -> Self {
        Self::new(policy).unwrap()
    }
}

impl TryNew for RateLimiter<u64> {
    fn try_new(policy: rate_limit::Policy) -> Self {
        Self::new(policy).unwrap()
    }
}

const ALGORITHMS: [Algorithm; 3] = [
    Algorithm::SlidingWindow,
    Algorithm::Gcra,
    Algorithm::SlidingLog,
];

#[test]
fn a_rate_limit_allocates_nothing_for_an_admitted_call() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::Gcra] {
        let unkeyed = limiter::<()>(quota(algorithm));
        let layer = unkeyed.layer_with(|_: &u64| Some(()), Results);
        assert_eq!(admitted(layer.layer(echo())), 0, "{algorithm:?}");
        let keyed = limiter::<u64>(quota(algorithm));
        let layer = keyed.layer_with(|number: &u64| Some(*number), Results);
        assert_eq!(admitted(layer.layer(echo())), 0, "{algorithm:?}");
    }
}

#[test]
fn a_rate_limit_allocates_nothing_for_a_key_that_it_knows() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::Gcra] {
        let policy = rate_limit::Policy::new("limit", quota(algorithm));
        let numbers = RateLimiter::<u64>::new(policy.clone()).unwrap();
        let names = RateLimiter::<String>::new(policy).unwrap();
        let calls = || {
            for _ in 0..1000 {
                numbers.try_take(&7).unwrap();
                names.try_take("a customer with a long name").unwrap();
            }
        };
        calls();
        let allocations = allocation_counter::measure(calls).count_total;
        assert_eq!(allocations, 0, "{algorithm:?}");
    }
}

#[test]
fn a_rate_limit_takes_less_than_48_bytes_beside_an_idle_key() {
    const KEYS: u32 = 100_000;
    for algorithm in [Algorithm::SlidingWindow, Algorithm::Gcra] {
        let policy = rate_limit::Policy::new("limit", quota(algorithm)).capacity(1 << 18);
        let mut limiter = None;
        let memory = allocation_counter::measure(|| {
            let limiter = limiter.insert(RateLimiter::<u64>::new(policy).unwrap());
            for key in 0..KEYS {
                limiter.try_take(&key.into()).unwrap();
            }
        });
        assert_eq!(limiter.unwrap().len(), 100_000);
        let bytes = memory.bytes_current / i64::from(KEYS) - 8;
        assert!(bytes < 48, "{algorithm:?}: {bytes}");
    }
}

#[test]
fn a_rate_limit_allocates_nothing_to_refuse() {
    for algorithm in ALGORITHMS {
        let limiter = limiter::<()>(Quota::new(1, Duration::from_secs(3600)).algorithm(algorithm));
        limiter.try_take(&()).unwrap();
        let layer = limiter.layer_with(|_: &u64| Some(()), Results);
        assert_eq!(refused(layer.layer(echo())), 0, "{algorithm:?}");
    }
}

fn breaker(window: Window) -> CircuitBreaker {
    let policy = circuit_breaker::Policy::new("breaker").window(window);
    CircuitBreaker::new(policy).unwrap()
}

#[test]
fn a_circuit_breaker_allocates_nothing_for_an_admitted_call_or_a_failure() {
    for window in [
        Window::count(100),
        Window::time(Duration::from_secs(10), 10),
    ] {
        let breaker = breaker(window);
        let layer = breaker.layer_with(Results);
        assert_eq!(admitted(layer.layer(echo())), 0);
        let mut fails = 0_u32;
        let layer = breaker.layer_with(move |_: &Result<u64, Rejected>| Outcome::Success);
        assert_eq!(admitted(layer.layer(echo())), 0);
        let votes = || {
            for _ in 0..1000 {
                fails += 1;
                let outcome = if fails.is_multiple_of(5) {
                    Outcome::Failure
                } else {
                    Outcome::Success
                };
                breaker.try_acquire().unwrap().settle(outcome);
            }
        };
        assert_eq!(allocation_counter::measure(votes).count_total, 0);
    }
}

#[test]
fn a_circuit_breaker_allocates_nothing_to_refuse() {
    let breaker = breaker(Window::count(100));
    breaker.open_for(Duration::from_secs(3600)).unwrap();
    assert_eq!(refused(breaker.layer_with(Results).layer(echo())), 0);
}

#[test]
fn a_bulkhead_allocates_nothing_for_an_admitted_call_or_to_refuse() {
    let bulkhead = Bulkhead::new(concurrency::Policy::new("bulkhead", 1)).unwrap();
    let layer = bulkhead.layer_with(Results);
    assert_eq!(admitted(layer.layer(echo())), 0);
    let _held = bulkhead.try_acquire().unwrap();
    assert_eq!(refused(layer.layer(echo())), 0);
}

fn guard(known: u64) -> BloomGuard<u64> {
    let policy = bloom_guard::Policy::new("guard").remember(100, Duration::from_secs(3600));
    let guard = BloomGuard::new(policy).unwrap();
    guard.rebuild_from(|| [known]).unwrap();
    guard
}

#[test]
fn a_guard_allocates_nothing_for_a_check_an_admitted_call_or_to_refuse() {
    let key = |number: &u64| Some(*number);
    let guard_of_all = guard(7);
    assert_eq!(
        admitted(guard_of_all.layer_with(key, Results).layer(echo())),
        0
    );
    assert_eq!(refused(guard(8).layer_with(key, Results).layer(echo())), 0);
    let checks = || {
        for key in 0..1000 {
            let _ = guard_of_all.check(&key);
        }
    };
    assert_eq!(allocation_counter::measure(checks).count_total, 0);
    let learns = || {
        let mut permit = guard_of_all.try_acquire(&7).unwrap();
        permit.not_found();
        permit.settle(Outcome::Success);
        let _ = guard_of_all.check(&7);
    };
    assert_eq!(allocation_counter::measure(learns).count_total, 0);
}

#[test]
fn catch_panic_allocates_nothing_for_a_call() {
    let panics = CatchPanic::new("panics").unwrap();
    assert_eq!(admitted(panics.plain_layer().layer(echo())), 0);
}

#[test]
fn a_cache_allocates_nothing_for_a_hit() {
    let policy = cache::Policy::new("dishes", Duration::from_secs(3600));
    let dishes: Cache<String, std::sync::Arc<str>> = Cache::new(policy).unwrap();
    dishes.insert("soup".to_owned(), std::sync::Arc::from("of the day"));
    let mut context = Context::from_waker(Waker::noop());
    let mut hits = || {
        for _ in 0..1000 {
            assert!(dishes.get("soup").is_some());
            let load = async || Err::<std::sync::Arc<str>, _>("loaded");
            let hit = pin!(dishes.get_or_load("soup", load));
            assert!(matches!(hit.poll(&mut context), Poll::Ready(Ok(_))));
        }
    };
    hits();
    assert_eq!(allocation_counter::measure(hits).count_total, 0);

    let numbers: Cache<u64, u64> = Cache::new(policy).unwrap();
    numbers.insert(7, 7);
    let layer = numbers.layer_with(|number: &u64| Some(*number));
    assert_eq!(admitted(layer.layer(echo())), 0);
}

/// The five layers that the library is named for, each of which has its say in every call: the key
/// is known, and its answer is in the cache.
fn five() -> impl Service<u64, Response = u64, Error = Rejected> + Clone {
    let key = |number: &u64| Some(*number);
    let policy = cache::Policy::new("dishes", Duration::from_secs(3600));
    let numbers: Cache<u64, u64> = Cache::new(policy).unwrap();
    numbers.insert(7, 7);
    (
        CatchPanic::new("panics").unwrap().plain_layer(),
        limiter::<u64>(quota(Algorithm::SlidingWindow)).layer_with(key, Results),
        breaker(Window::time(Duration::from_secs(10), 10)).layer_with(Results),
        guard(7).layer_with(key, Results),
        numbers.layer_with(key),
    )
        .layer(echo())
}

#[test]
fn the_five_layers_together_allocate_nothing() {
    assert_eq!(admitted(five()), 0);
}

#[test]
fn the_layers_together_allocate_nothing() {
    let limiter = limiter::<u64>(quota(Algorithm::SlidingWindow));
    let bulkhead = Bulkhead::new(concurrency::Policy::new("bulkhead", 1)).unwrap();
    let service = (
        limiter.layer_with(|number: &u64| Some(*number), Results),
        bulkhead.layer_with(Results),
        breaker(Window::time(Duration::from_secs(10), 10)).layer_with(Results),
        CatchPanic::new("panics").unwrap().plain_layer(),
    )
        .layer(echo());
    assert_eq!(admitted(service), 0);
}

#[test]
fn breakers_and_bulkheads_of_keys_allocate_nothing_for_a_key_that_is_known() {
    let key = |number: &u64| Some(*number);
    let breakers = CircuitBreakers::new(circuit_breaker::Policy::new("breakers")).unwrap();
    assert_eq!(admitted(breakers.layer_with(key, Results).layer(echo())), 0);
    let bulkheads = Bulkheads::new(concurrency::Policy::new("bulkheads", 1)).unwrap();
    assert_eq!(
        admitted(bulkheads.layer_with(key, Results).layer(echo())),
        0
    );
}

#[test]
fn an_exact_guard_allocates_nothing_for_a_call() {
    let guard = BloomGuard::<u64, _>::exact(bloom_guard::Policy::new("guard")).unwrap();
    guard.rebuild_from(|| [7]).unwrap();
    let layer = guard.layer_with(|number: &u64| Some(*number), Results);
    assert_eq!(admitted(layer.layer(echo())), 0);
}

#[test]
fn futures_stay_small() {
    fn size<S: Service<u64, Error = Rejected>>(mut service: S) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready());
        size_of_val(&service.call(7))
    }
    let bare = size(echo());
    let breaker = breaker(Window::count(100));
    let bulkhead = Bulkhead::new(concurrency::Policy::new("bulkhead", 1)).unwrap();
    let limiter = limiter::<u64>(quota(Algorithm::Gcra));
    let panics = CatchPanic::new("panics").unwrap();
    let keyed = limiter.layer_with(|number: &u64| Some(*number), Results);
    let policy = cache::Policy::new("dishes", Duration::from_secs(3600));
    let numbers: Cache<u64, u64> = Cache::new(policy).unwrap();
    for (layer, size, limit) in [
        (
            "circuit_breaker",
            size(breaker.layer_with(Results).layer(echo())),
            48,
        ),
        (
            "concurrency",
            size(bulkhead.layer_with(Results).layer(echo())),
            32,
        ),
        (
            "bloom_guard",
            size(
                guard(7)
                    .layer_with(|it: &u64| Some(*it), Results)
                    .layer(echo()),
            ),
            72,
        ),
        (
            "cache",
            size(numbers.layer_with(|key: &u64| Some(*key)).layer(echo())),
            96,
        ),
        ("rate_limit", size(keyed.layer(echo())), 112),
        ("catch_panic", size(panics.plain_layer().layer(echo())), 24),
        ("all five", size(five()), 248),
    ] {
        assert!(size - bare <= limit, "{layer} adds {} bytes", size - bare);
    }
    // Each of them has room for one.
    assert!(size_of::<Rejected>() <= 56);
}
