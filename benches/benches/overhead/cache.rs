//! Cache hits, beside the store that the entries live in.

use benches::{Bare, Expect::Admitted, KEYS, calls, service};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use resilience_core::cache::{Cache, Policy};
use tower::Layer as _;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cache");
    ours(&mut group);
    quick_cache(&mut group);
    group.finish();
}

fn ours(group: &mut BenchmarkGroup<'_, WallTime>) {
    let policy = Policy::new("dishes", std::time::Duration::from_secs(3600)).capacity(2 * KEYS);
    let cache = Cache::<u64, u64>::new(policy).expect("valid settings");
    (0..KEYS).for_each(|key| cache.insert(key, key));
    calls(group, "ours/hit", Admitted, || {
        |key| cache.get(&key).is_some()
    });
    let layer = cache.layer_with(|request: &u64| Some(*request));
    service(group, "ours/layer/hit", Admitted, &layer.layer(Bare));
}

fn quick_cache(group: &mut BenchmarkGroup<'_, WallTime>) {
    let capacity = usize::try_from(2 * KEYS).expect("a small number");
    let cache = quick_cache::sync::Cache::new(capacity);
    (0..KEYS).for_each(|key| cache.insert(key, key));
    calls(group, "quick_cache/hit", Admitted, || {
        |key| cache.get(&key).is_some()
    });
}
