//! Filters, by their size: the larger, the less of it is in a cache of the processor.

use benches::{Row, filters, ours};
use criterion::Criterion;

use crate::decades;

pub(crate) fn bench(criterion: &mut Criterion) {
    for bits in decades(4, 8) {
        let layer = format!("growth_bits_{bits}");
        Row::ours(&layer).bench_alone(criterion, || ours::guard_of(bits));
        Row::of(&layer, "bloomfilter").bench_alone(criterion, || filters::bloomfilter_of(bits));
        Row::of(&layer, "fastbloom").bench_alone(criterion, || filters::fastbloom_of(bits));
    }
}
