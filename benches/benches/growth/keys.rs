//! Rate limits, by the keys that they remember.

use benches::{Row, governor, ours};
use criterion::Criterion;

use crate::decades;

pub(crate) fn bench(criterion: &mut Criterion) {
    for keys in decades(2, 6) {
        let layer = format!("growth_keys_{keys}");
        Row::ours(&layer).bench_alone(criterion, || ours::limiter_keyed_of(keys));
        Row::of(&layer, "governor").bench_alone(criterion, || governor::keyed_of(keys));
    }
}
