//! Bulkheads.

use std::sync::Arc;

use benches::{
    Bare,
    Expect::{Admitted, Refused},
    Row, Subject, layered, ours, tower_resilience,
};
use criterion::Criterion;
use tokio::sync::Semaphore;
use tower::{limit::ConcurrencyLimit, load_shed::LoadShed};

pub(crate) fn bench(criterion: &mut Criterion) {
    Row::ours("bulkhead").bench(criterion, ours::bulkhead);
    Row::of("bulkhead", "tower").bench(criterion, || {
        layered(Admitted, ConcurrencyLimit::new(Bare, PERMITS))
    });
    Row::of("bulkhead", "tower_resilience").bench(criterion, tower_resilience::bulkhead);

    Row::ours("bulkhead_full").bench(criterion, ours::bulkhead_full);
    Row::of("bulkhead_full", "tower").bench(criterion, tower_full);
    Row::of("bulkhead_full", "tower_resilience").bench(criterion, tower_resilience::bulkhead_full);

    Row::ours("bulkhead_keyed").bench(criterion, ours::bulkhead_keyed);
}

/// It waits for a place; what refuses instead stands before it.
fn tower_full() -> impl Subject {
    let full = ConcurrencyLimit::with_semaphore(Bare, Arc::new(Semaphore::new(0)));
    layered(Refused, LoadShed::new(full))
}

const PERMITS: usize = 64;
