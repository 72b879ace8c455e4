//! Cache hits, beside other stores and the one inside of ours.

use benches::{Expect::Admitted, HOUR, KEYS, Row, Subject, keyed, ours, tower_resilience};
use criterion::Criterion;
use moka::sync::Cache as Moka;
use quick_cache::sync::Cache as QuickCache;

pub(crate) fn bench(criterion: &mut Criterion) {
    Row::ours("cache_hit").bench(criterion, ours::cache_hit);
    Row::ours("cache_hit_engine").bench(criterion, ours::cache_hit_engine);
    Row::of("cache_hit", "tower_resilience").bench(criterion, tower_resilience::cache_hit);
    Row::of("cache_hit", "moka").bench(criterion, moka);
    Row::of("cache_hit", "quick_cache").bench(criterion, quick_cache);
}

fn moka() -> impl Subject {
    let cache = Moka::builder()
        .max_capacity(2 * KEYS)
        .time_to_live(HOUR)
        .build();
    (0..KEYS).for_each(|key| cache.insert(key, key));
    cache.run_pending_tasks();
    keyed(Admitted, cache, |cache, key| cache.get(&key) == Some(key))
}

fn quick_cache() -> impl Subject {
    let cache = QuickCache::new(usize::try_from(2 * KEYS).unwrap_or(usize::MAX));
    (0..KEYS).for_each(|key| cache.insert(key, key));
    keyed(Admitted, cache, |cache, key| cache.get(&key) == Some(key))
}
