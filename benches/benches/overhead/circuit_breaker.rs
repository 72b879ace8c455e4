//! Circuit breakers.

use std::time::Duration;

use benches::{
    Bare,
    Expect::{Admitted, Refused},
    KEYS, now, service,
};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use resilience_core::{
    Results,
    circuit_breaker::{CircuitBreaker, CircuitBreakers, Policy, Window},
};
use tower::Layer as _;
use tower_resilience::circuitbreaker::{
    CircuitBreakerConfigBuilder, CircuitBreakerLayer, DefaultClassifier, SlidingWindowType,
};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("circuit_breaker");
    ours(&mut group);
    tower_resilience(&mut group);
    group.finish();
}

fn ours(group: &mut BenchmarkGroup<'_, WallTime>) {
    let counted = Policy::new("count").window(Window::count(100));
    let timed = Policy::new("time").window(Window::time(TEN_SECONDS, 10));
    let consecutive = Policy::tripping_after("consecutive", 5);
    for (name, policy) in [
        ("count", counted),
        ("time", timed),
        ("consecutive", consecutive),
    ] {
        let breaker = CircuitBreaker::new(policy).expect("valid settings");
        let name = format!("ours/closed/{name}");
        service(
            group,
            &name,
            Admitted,
            &breaker.layer_with(Results).layer(Bare),
        );
    }
    let open = CircuitBreaker::new(Policy::new("open")).expect("valid settings");
    open.open_for(HOUR).expect("an enforcing policy");
    service(
        group,
        "ours/open",
        Refused,
        &open.layer_with(Results).layer(Bare),
    );

    // Room for all, however they fall on the shards.
    let capacity = 4 * usize::try_from(KEYS).unwrap_or(usize::MAX);
    let keyed =
        CircuitBreakers::new(Policy::new("keyed").capacity(capacity)).expect("valid settings");
    let layer = keyed.layer_with(|request: &u64| Some(*request), Results);
    service(group, "ours/keyed", Admitted, &layer.layer(Bare));
}

fn tower_resilience(group: &mut BenchmarkGroup<'_, WallTime>) {
    let counted = builder().sliding_window_size(100);
    let timed = builder()
        .sliding_window_type(SlidingWindowType::TimeBased)
        .sliding_window_duration(TEN_SECONDS);
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
        .minimum_number_of_calls(100)
        .wait_duration_in_open(HOUR)
}

const TEN_SECONDS: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
