//! What the measurement costs itself.

use benches::{Row, ours};
use criterion::Criterion;

pub(crate) fn bench(criterion: &mut Criterion) {
    Row::ours("bare").bench(criterion, ours::bare);
    Row::ours("bare_http").bench(criterion, ours::bare_http);
    Row::ours("clock").bench(criterion, ours::clock);
}
