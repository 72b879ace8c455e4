//! Circuit breakers.

use std::time::Duration;

use benches::{
    Bare,
    Expect::{Admitted, Refused},
    now, service,
};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use tower::Layer as _;
use tower_resilience::circuitbreaker::{
    CircuitBreakerConfigBuilder, CircuitBreakerLayer, DefaultClassifier, SlidingWindowType,
};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("circuit_breaker");
    tower_resilience(&mut group);
    group.finish();
}

fn tower_resilience(group: &mut BenchmarkGroup<'_, WallTime>) {
    let counted = builder().sliding_window_size(100);
    let timed = builder()
        .sliding_window_type(SlidingWindowType::TimeBased)
        .sliding_window_duration(Duration::from_secs(10));
    for (name, builder) in [("count", counted), ("time", timed)] {
        let (layer, _) = builder.build_with_handle().expect("valid settings");
        let name = format!("tower_resilience/closed/{name}");
        service(group, &name, Admitted, &layer.layer(Bare));
    }
    let (layer, handle) = builder().build_with_handle().expect("valid settings");
    now(handle.force_open());
    let name = "tower_resilience/open";
    service(group, name, Refused, &layer.layer(Bare));
}

fn builder() -> CircuitBreakerConfigBuilder<DefaultClassifier> {
    CircuitBreakerLayer::builder()
        .minimum_number_of_calls(10)
        .wait_duration_in_open(HOUR)
}
