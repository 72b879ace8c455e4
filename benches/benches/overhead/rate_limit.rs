//! Rate limits.

use std::{num::NonZeroU32, time::Duration};

use benches::{
    Bare,
    Expect::{Admitted, Refused},
    calls, service,
};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use governor::RateLimiter as Governor;
use resilience_core::{
    RateLimiter, Results,
    rate_limit::{Algorithm, Everybody, Policy, Quota},
};
use tower::Layer as _;
use tower_resilience::ratelimiter::{RateLimiterLayer, WindowType};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rate_limit");
    ours(&mut group);
    governor(&mut group);
    tower_resilience(&mut group);
    group.finish();
}

fn ours(group: &mut BenchmarkGroup<'_, WallTime>) {
    for (name, algorithm, period) in [
        ("gcra", Algorithm::Gcra, SECOND),
        ("sliding", Algorithm::SlidingWindow, SECOND),
        ("log", Algorithm::SlidingLog, MILLISECOND),
    ] {
        let quota = Quota::new(MOST.into(), period).algorithm(algorithm);
        let limiter: RateLimiter = RateLimiter::new(Policy::new("wide", quota)).expect(VALID);
        let name = format!("ours/{name}");
        let layer = limiter.layer_with(Everybody, Results);
        service(group, &name, Admitted, &layer.layer(Bare));

        let keyed = RateLimiter::<u64>::new(Policy::new("keyed", quota)).expect(VALID);
        let name = format!("{name}_keyed");
        let layer = keyed.layer_with(|request: &u64| Some(*request), Results);
        service(group, &name, Admitted, &layer.layer(Bare));
    }
    let policy = Policy::new("narrow", Quota::new(1, HOUR));
    let spent: RateLimiter = RateLimiter::new(policy).expect(VALID);
    spent.try_take(&()).expect("one is free");
    let layer = spent.layer_with(Everybody, Results);
    service(group, "ours/denied", Refused, &layer.layer(Bare));
}

/// A library without a layer: its check alone.
fn governor(group: &mut BenchmarkGroup<'_, WallTime>) {
    let wide = governor::Quota::per_second(NonZeroU32::new(MOST).expect("not zero"));
    let direct = Governor::direct(wide);
    calls(group, "governor/gcra", Admitted, || {
        |_| direct.check().is_ok()
    });
    let keyed = Governor::keyed(wide);
    calls(group, "governor/gcra_keyed", Admitted, || {
        |key| keyed.check_key(&key).is_ok()
    });
    let narrow = governor::Quota::per_hour(NonZeroU32::MIN);
    let spent = Governor::direct(narrow);
    spent.check().expect("one is free");
    calls(group, "governor/denied", Refused, || {
        |_| spent.check().is_ok()
    });
}

fn tower_resilience(group: &mut BenchmarkGroup<'_, WallTime>) {
    for (name, algorithm, period) in [
        ("fixed", WindowType::Fixed, SECOND),
        ("sliding", WindowType::SlidingCounter, SECOND),
        ("log", WindowType::SlidingLog, MILLISECOND),
    ] {
        let layer = peer(algorithm, MOST as usize, period);
        let name = format!("tower_resilience/{name}");
        service(group, &name, Admitted, &layer.layer(Bare));
    }
    let mut spent = peer(WindowType::Fixed, 1, HOUR).layer(Bare);
    benches::call(&mut spent, 0).expect("one is free");
    service(group, "tower_resilience/denied", Refused, &spent);
}

fn peer(algorithm: WindowType, limit: usize, period: Duration) -> RateLimiterLayer {
    RateLimiterLayer::builder()
        .window_type(algorithm)
        .limit_for_period(limit)
        .refresh_period(period)
        .timeout_duration(Duration::ZERO)
        .build()
        .expect(VALID)
}

const VALID: &str = "valid settings";
/// One a nanosecond: more than any thread asks for.
const MOST: u32 = 1_000_000_000;
const SECOND: Duration = Duration::from_secs(1);
/// For logs, which remember every call in the window.
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
