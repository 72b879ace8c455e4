//! Breakers, by the calls in their windows.

use benches::{Row, ours, tower_resilience};
use criterion::Criterion;

use crate::decades;

pub(crate) fn bench(criterion: &mut Criterion) {
    for calls in decades(3, 7) {
        Row::ours(format!("growth_window_{calls}"))
            .bench_alone(criterion, || ours::breaker_time_steady(calls));
    }
    // A call looks at all others: to fill a longer window would take minutes.
    for calls in decades(3, 5) {
        Row::of(format!("growth_window_{calls}"), "tower_resilience")
            .bench_alone(criterion, || tower_resilience::breaker_time_steady(calls));
    }
    for calls in decades(3, 7) {
        Row::ours(format!("growth_count_{calls}"))
            .bench_alone(criterion, || ours::breaker_count_of(calls));
    }
}
