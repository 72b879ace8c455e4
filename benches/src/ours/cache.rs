use resilience_core::cache::{Cache, Policy};
use tower::Layer as _;

use crate::{Bare, Expect::Admitted, HOUR, KEYS, Subject, VALID, keyed, layered};

/// Everything that is asked for is there.
#[must_use]
pub fn cache_hit() -> impl Subject {
    let layer = full().layer_with(|request: &u64| Some(*request));
    layered(Admitted, layer.layer(Bare))
}

/// As [`cache_hit`], asked without a service.
#[must_use]
pub fn cache_hit_engine() -> impl Subject {
    keyed(Admitted, full(), |cache, key| cache.get(&key) == Some(key))
}

fn full() -> Cache<u64, u64> {
    let policy = Policy::new("dishes", HOUR).capacity(2 * KEYS);
    let cache = Cache::new(policy).expect(VALID);
    (0..KEYS).for_each(|key| cache.insert(key, key));
    cache
}
