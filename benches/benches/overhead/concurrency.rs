//! Bulkheads.

use benches::{
    Bare,
    Expect::{Admitted, Refused},
    service,
};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use resilience_core::{
    Results,
    concurrency::{Bulkhead, Bulkheads, Policy},
};
use tower::{Layer as _, limit::ConcurrencyLimit};
use tower_resilience::bulkhead::BulkheadLayer;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("concurrency");
    ours(&mut group);
    service(
        &mut group,
        "tower",
        Admitted,
        &ConcurrencyLimit::new(Bare, PERMITS),
    );
    tower_resilience(&mut group);
    group.finish();
}

fn ours(group: &mut BenchmarkGroup<'_, WallTime>) {
    let bulkhead = Bulkhead::new(Policy::new("free", 64)).expect("valid settings");
    service(
        group,
        "ours",
        Admitted,
        &bulkhead.layer_with(Results).layer(Bare),
    );

    let full = Bulkhead::new(Policy::new("full", 1)).expect("valid settings");
    let _held = full.try_acquire().expect("one is free");
    service(
        group,
        "ours/refused",
        Refused,
        &full.layer_with(Results).layer(Bare),
    );

    let keyed = Bulkheads::new(Policy::new("keyed", 64)).expect("valid settings");
    let layer = keyed.layer_with(|request: &u64| Some(*request), Results);
    service(group, "ours/keyed", Admitted, &layer.layer(Bare));
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
