//! Guards, beside the filter that they take their geometry from.

use benches::{
    Bare,
    Expect::{Admitted, Refused},
    KEYS, calls, service,
};
use bloomfilter::Bloom;
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use resilience_core::{
    BloomGuard, Results,
    bloom_guard::{Policy, Presence},
};
use tower::Layer as _;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bloom_guard");
    ours(&mut group);
    bare(&mut group);
    group.finish();
}

/// Holds every second key below [`KEYS`], and as many more as make a million.
fn ours(group: &mut BenchmarkGroup<'_, WallTime>) {
    let policy = Policy::new("dishes")
        .expected_keys(EXPECTED)
        .false_positive_rate(RATE);
    let guard = BloomGuard::<u64>::new(policy).expect("valid settings");
    guard.rebuild_from(held).expect("room for all");
    calls(group, "ours/maybe", Admitted, || {
        |key| guard.check(&(key * 2)) == Presence::Maybe
    });
    calls(group, "ours/absent", Admitted, || {
        |key| guard.check(&(key * 2 + ABSENT)) == Presence::Absent
    });
    let layer = guard.layer_with(|request: &u64| Some(*request * 2), Results);
    service(group, "ours/layer", Admitted, &layer.layer(Bare));
    let layer = guard.layer_with(|request: &u64| Some(*request * 2 + ABSENT), Results);
    service(group, "ours/layer/refused", Refused, &layer.layer(Bare));
}

fn bare(group: &mut BenchmarkGroup<'_, WallTime>) {
    let keys = usize::try_from(EXPECTED).expect("a small number");
    let mut filter = Bloom::new_for_fp_rate(keys, RATE).expect("valid settings");
    held().for_each(|key| filter.set(&key));
    calls(group, "bloomfilter/maybe", Admitted, || {
        |key| filter.check(&(key * 2))
    });
    calls(group, "bloomfilter/absent", Refused, || {
        |key| filter.check(&(key * 2 + ABSENT))
    });
}

/// Even numbers.
fn held() -> impl Iterator<Item = u64> {
    (0..EXPECTED).map(|number| number * 2)
}

const EXPECTED: u64 = 1_000_000;
/// So small that none of the absent keys is taken for a held one.
const RATE: f64 = 1e-7;
/// An odd distance: makes an even key one that is not held.
const ABSENT: u64 = 2 * KEYS + 1;
