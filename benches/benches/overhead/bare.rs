//! The floor: what the measurement costs itself.

use benches::{Bare, Expect::Admitted, calls, service};
use criterion::Criterion;
use resilience_core::Clock;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bare");
    service(&mut group, "service", Admitted, &Bare);
    calls(&mut group, "clock", Admitted, || {
        let clock = Clock::system();
        move |_| std::hint::black_box(clock.now()).as_nanos() > 0
    });
    group.finish();
}
