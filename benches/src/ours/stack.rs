use std::hint::black_box;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use resilience_core::{
    BloomGuard, CatchPanic, CircuitBreaker, Clock, RateLimiter, Respond, Results, bloom_guard,
    cache::{self, Cache, http::HttpCache},
    circuit_breaker::{self, Window},
    rate_limit::{self, Everybody, Quota},
};
use tower::Layer as _;

use crate::{
    Bare, BareHttp,
    Expect::Admitted,
    HOUR, KEYS, MOST, RUNTIME, Subject, TEN_SECONDS, VALID, http, keyed,
    keys::{SEED, page},
    layered,
};

/// The floor: what the measurement costs itself.
#[must_use]
pub fn bare() -> impl Subject {
    layered(Admitted, Bare)
}

/// The floor of HTTP: a request made, answered, and its answer read.
#[must_use]
pub fn bare_http() -> impl Subject {
    http(BareHttp)
}

/// One reading.
#[must_use]
pub fn clock() -> impl Subject {
    keyed(Admitted, Clock::system(), |clock, _| {
        black_box(clock.now()).as_nanos() > 0
    })
}

/// No panic comes.
#[must_use]
pub fn catch_panic() -> impl Subject {
    layered(Admitted, panics().plain_layer().layer(Bare))
}

/// As [`catch_panic`], until the end of an answer's body.
#[must_use]
pub fn catch_panic_http() -> impl Subject {
    http(Respond::with((panics().layer(),)).layer(BareHttp))
}

/// The five that the library is named for, each of which has its say in every call: the key is
/// known, and its answer is in the cache.
#[must_use]
pub fn stack5() -> impl Subject {
    let five = five();
    let policy = cache::Policy::new("dishes", HOUR).capacity(2 * KEYS);
    let cache = Cache::<u64, u64>::new(policy).expect(VALID);
    (0..KEYS).for_each(|key| cache.insert(key, key));
    let key = |request: &u64| Some(*request);
    let layers = (
        five.panics.plain_layer(),
        five.limiter.layer_with(Everybody, Results),
        five.breaker.layer_with(Results),
        five.guard.layer_with(key, Results),
        cache.layer_with(key),
    );
    layered(Admitted, layers.layer(Bare))
}

/// The same around an HTTP service, with answers for refusals.
///
/// # Panics
///
/// When the pages cannot be put into the cache.
#[must_use]
pub fn respond() -> impl Subject {
    let five = five();
    let cache = HttpCache::new(cache::Policy::new("pages", HOUR)).expect(VALID);
    let layers = Respond::with((
        five.panics.layer(),
        five.limiter.layer(),
        five.breaker.layer(),
        five.guard
            .layer_by(|request: &Request<Empty<Bytes>>| page(request)),
        cache.layer(),
    ));
    let pages = http(layers.layer(BareHttp));
    // Each page is loaded once, by a task of the runtime.
    RUNTIME.block_on(pages.load());
    pages
}

struct Five {
    panics: CatchPanic,
    limiter: RateLimiter,
    breaker: CircuitBreaker,
    guard: BloomGuard<u64>,
}

fn five() -> Five {
    let quota = Quota::per_second(MOST.into());
    let window = Window::time(TEN_SECONDS, 10);
    let guard = BloomGuard::new(bloom_guard::Policy::new("dishes").seed(SEED)).expect(VALID);
    guard.rebuild_from(|| 0..KEYS).expect("no other rebuild");
    Five {
        panics: panics(),
        limiter: RateLimiter::new(rate_limit::Policy::new("all", quota)).expect(VALID),
        breaker: CircuitBreaker::new(circuit_breaker::Policy::new("kitchen").window(window))
            .expect(VALID),
        guard,
    }
}

fn panics() -> CatchPanic {
    CatchPanic::new("bench").expect(VALID)
}
