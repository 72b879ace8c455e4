//! Layers together.

use benches::{Row, ours};
use criterion::Criterion;

pub(crate) fn bench(criterion: &mut Criterion) {
    Row::ours("stack5").bench(criterion, ours::stack5);
    Row::ours("respond").bench(criterion, ours::respond);
}
