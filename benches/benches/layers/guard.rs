//! Guards, beside filters of as many keys and as few mistakes.

use benches::{Row, filters, ours};
use criterion::Criterion;

pub(crate) fn bench(criterion: &mut Criterion) {
    Row::ours("guard_hit").bench(criterion, ours::guard_hit);
    Row::ours("guard_hit_engine").bench(criterion, ours::guard_hit_engine);
    Row::of("guard_hit", "bloomfilter").bench(criterion, filters::bloomfilter_hit);
    Row::of("guard_hit", "fastbloom").bench(criterion, filters::fastbloom_hit);

    Row::ours("guard_miss").bench(criterion, ours::guard_miss);
    Row::ours("guard_miss_engine").bench(criterion, ours::guard_miss_engine);
    Row::of("guard_miss", "bloomfilter").bench(criterion, filters::bloomfilter_miss);
    Row::of("guard_miss", "fastbloom").bench(criterion, filters::fastbloom_miss);
}
