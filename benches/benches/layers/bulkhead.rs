//! Bulkheads.

use benches::{Bare, Expect::Admitted, Row, layered, ours, tower_resilience};
use criterion::Criterion;
use tower::limit::ConcurrencyLimit;

pub(crate) fn bench(criterion: &mut Criterion) {
    Row::ours("bulkhead").bench(criterion, ours::bulkhead);
    Row::of("bulkhead", "tower").bench(criterion, || {
        layered(Admitted, ConcurrencyLimit::new(Bare, PERMITS))
    });
    Row::of("bulkhead", "tower_resilience").bench(criterion, tower_resilience::bulkhead);
    // A full one of tower waits, and one of tower-resilience sleeps before it refuses.
    Row::ours("bulkhead_full").bench(criterion, ours::bulkhead_full);
    Row::ours("bulkhead_keyed").bench(criterion, ours::bulkhead_keyed);
}

const PERMITS: usize = 64;
