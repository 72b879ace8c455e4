//! The contract that every layer keeps: a new layer adds one line at the end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod laws;
mod probe;

use std::time::Duration;

use resilience_core::{
    BloomGuard, Bulkhead, Cache, CatchPanic, CircuitBreaker, RateLimiter, Results,
    bloom_guard::Policy as GuardPolicy,
    cache::Policy as CachePolicy,
    circuit_breaker::Policy as BreakerPolicy,
    concurrency::Policy as BulkheadPolicy,
    rate_limit::{Policy as LimitPolicy, Quota},
};
use tower::Layer as _;

use self::probe::Probe;

/// Every law, each a test, for the services that `$make` makes.
macro_rules! contract {
    ($layer:ident, $make:expr) => {
        contract!($layer, $make,
            an_answer_passes
            an_error_passes
            an_unready_call_is_refused
            readiness_is_never_parked
            failed_readiness_passes
            pending_readiness_registers_the_waker
            a_dropped_call_leaves_nothing_behind
            a_panic_leaves_nothing_behind
            services_are_send_and_sync
        );
    };
    ($layer:ident, $make:expr, $($law:ident)*) => {
        mod $layer {
            use super::*;

            $(
                #[test]
                fn $law() {
                    let layer = $make;
                    laws::$law(move |probe: Probe| layer.layer(probe));
                }
            )*
        }
    };
}

/// One unit a call and more than enough of them.
fn limiter() -> RateLimiter {
    let quota = Quota::new(1_000_000, Duration::from_secs(1));
    RateLimiter::new(LimitPolicy::new("contract", quota)).unwrap()
}

/// Half-open with few probes: those that get lost leave a circuit that is stuck.
fn breaker() -> CircuitBreaker {
    let policy = BreakerPolicy::new("contract").half_open_permits(5);
    let breaker = CircuitBreaker::new(policy).unwrap();
    breaker.open_for(Duration::from_secs(3600)).unwrap();
    breaker.force_half_open().unwrap();
    breaker
}

/// One permit and no queue: a permit lost is a bulkhead shut.
fn bulkhead() -> Bulkhead {
    Bulkhead::new(BulkheadPolicy::new("contract", 1)).unwrap()
}

/// Remembers what was not found: what a law makes it learn by mistake refuses the next call.
fn guard() -> BloomGuard<u64> {
    let policy = GuardPolicy::new("contract").remember(100, Duration::from_secs(3600));
    let guard = BloomGuard::new(policy).unwrap();
    guard.rebuild_from(|| [7]).unwrap();
    guard
}

/// A key for each kind of call, so that some are served from the cache.
fn cache() -> Cache<String, u32> {
    Cache::new(CachePolicy::new("contract", Duration::from_secs(60))).unwrap()
}

contract!(
    rate_limit,
    limiter().layer_with(|_: &probe::Call| Some(()), Results)
);
contract!(circuit_breaker, breaker().layer_with(Results));
contract!(concurrency, bulkhead().layer_with(Results));
contract!(
    bloom_guard,
    guard().layer_with(|_: &probe::Call| Some(7), Results)
);
contract!(
    catch_panic,
    CatchPanic::new("contract").unwrap().plain_layer()
);
// A hit needs no readiness of the service: what that says is the answer of the call that needs it.
contract!(
    cache,
    cache().layer_with(|call: &probe::Call| Some(format!("{call:?}"))),
    an_answer_passes
    an_error_passes
    an_unready_call_is_refused
    readiness_is_never_parked
    a_dropped_call_leaves_nothing_behind
    a_panic_leaves_nothing_behind
    services_are_send_and_sync
);
