//! Rate limits.

use std::{num::NonZeroU32, time::Duration};

use benches::{
    Bare,
    Expect::{Admitted, Refused},
    calls, service,
};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use governor::RateLimiter as Governor;
use tower::Layer as _;
use tower_resilience::ratelimiter::{RateLimiterLayer, WindowType};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rate_limit");
    governor(&mut group);
    tower_resilience(&mut group);
    group.finish();
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
        .expect("valid settings")
}

/// One a nanosecond: more than any thread asks for.
const MOST: u32 = 1_000_000_000;
const SECOND: Duration = Duration::from_secs(1);
/// For logs, which remember every call in the window.
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
