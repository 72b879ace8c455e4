//! The peer whose layers have metrics of their own, with those switched on.
//!
//! Built apart from the rest, since features are one choice for a whole build. Nobody reads the
//! metrics: the figures are what they cost at least.

use benches::{Row, tower_resilience};
use criterion::{Criterion, criterion_group, criterion_main};

criterion_group!(metered, bench);
criterion_main!(metered);

fn bench(criterion: &mut Criterion) {
    row("breaker_count").bench(criterion, tower_resilience::breaker_count);
    row("breaker_open").bench(criterion, tower_resilience::breaker_open);
    row("limiter_sliding").bench(criterion, tower_resilience::limiter_sliding);
    row("limiter_log").bench(criterion, tower_resilience::limiter_log);
    row("limiter_denied").bench(criterion, tower_resilience::limiter_denied);
    row("bulkhead").bench(criterion, tower_resilience::bulkhead);
    row("bulkhead_full").bench(criterion, tower_resilience::bulkhead_full);
    row("cache_hit").bench(criterion, tower_resilience::cache_hit);
}

fn row(layer: &'static str) -> Row {
    Row::of(layer, "tower_resilience_metrics")
}
