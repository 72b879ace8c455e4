//! Panic recovery. No peer stands here: tower-http's answers HTTP alone, and pays for its body.

use benches::{Bare, Expect::Admitted, service};
use criterion::Criterion;
use resilience_core::catch_panic::CatchPanic;
use tower::Layer as _;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("catch_panic");
    let panics = CatchPanic::new("bench").expect("valid settings");
    service(
        &mut group,
        "ours",
        Admitted,
        &panics.plain_layer().layer(Bare),
    );
    group.finish();
}
