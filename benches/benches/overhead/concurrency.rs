//! Bulkheads.

use benches::{Bare, Expect::Admitted, service};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use tower::{Layer as _, limit::ConcurrencyLimit};
use tower_resilience::bulkhead::BulkheadLayer;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("concurrency");
    service(
        &mut group,
        "tower",
        Admitted,
        &ConcurrencyLimit::new(Bare, PERMITS),
    );
    tower_resilience(&mut group);
    group.finish();
}

fn tower_resilience(group: &mut BenchmarkGroup<'_, WallTime>) {
    let layer = BulkheadLayer::builder()
        .max_concurrent_calls(PERMITS)
        .reject_when_full()
        .build()
        .expect("valid settings");
    service(group, "tower_resilience", Admitted, &layer.layer(Bare));
}

const PERMITS: usize = 64;
