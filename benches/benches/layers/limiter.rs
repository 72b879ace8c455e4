//! Rate limits.

use std::time::Duration;

use benches::{
    Bare, BareHttp, KEYS, MOST, Row, Subject, VALID, governor, http, keys::page, ours,
    tower_resilience, walk,
};
use criterion::Criterion;
use tower::{
    Layer as _,
    limit::{RateLimit, rate::Rate},
};
use tower_governor::{
    GovernorError, GovernorLayer, governor::GovernorConfigBuilder, key_extractor::KeyExtractor,
};

pub(crate) fn bench(criterion: &mut Criterion) {
    unkeyed(criterion);
    denied(criterion);
    by_key(criterion);
    by_request(criterion);
}

fn unkeyed(criterion: &mut Criterion) {
    Row::ours("limiter_sliding").bench(criterion, ours::limiter_sliding);
    Row::ours("limiter_sliding_engine").bench(criterion, ours::limiter_sliding_engine);
    Row::of("limiter_sliding", "tower_resilience")
        .bench(criterion, tower_resilience::limiter_sliding);

    Row::ours("limiter_gcra").bench(criterion, ours::limiter_gcra);
    Row::ours("limiter_gcra_engine").bench(criterion, ours::limiter_gcra_engine);
    Row::of("limiter_gcra", "governor").bench(criterion, governor::direct);

    Row::ours("limiter_log").bench(criterion, ours::limiter_log);
    Row::of("limiter_log", "tower_resilience").bench(criterion, tower_resilience::limiter_log);

    // Windows that start anew: twice the limit across a boundary, and nothing of ours.
    Row::of("limiter_fixed", "tower_resilience").bench(criterion, tower_resilience::limiter_fixed);
    Row::of("limiter_fixed", "tower").bench_alone(criterion, || Tower);
}

fn denied(criterion: &mut Criterion) {
    Row::ours("limiter_denied").bench(criterion, ours::limiter_denied);
    Row::ours("limiter_denied_engine").bench(criterion, ours::limiter_denied_engine);
    Row::of("limiter_denied", "governor").bench(criterion, governor::denied);
    Row::of("limiter_denied", "tower_resilience")
        .bench(criterion, tower_resilience::limiter_denied);
}

fn by_key(criterion: &mut Criterion) {
    Row::ours("limiter_keyed").bench(criterion, ours::limiter_keyed);
    Row::ours("limiter_keyed_engine").bench(criterion, ours::limiter_keyed_engine);
    Row::ours("limiter_keyed_gcra").bench(criterion, ours::limiter_keyed_gcra);
    Row::of("limiter_keyed", "governor").bench(criterion, || governor::keyed_of(KEYS));
    Row::ours("limiter_keyed_string").bench(criterion, ours::limiter_keyed_string);
    Row::ours("limiter_keyed_string_engine").bench(criterion, ours::limiter_keyed_string_engine);
    Row::of("limiter_keyed_string", "governor").bench(criterion, governor::keyed_string);
}

fn by_request(criterion: &mut Criterion) {
    Row::ours("limiter_http").bench(criterion, ours::limiter_http);
    Row::of("limiter_http", "tower_governor").bench(criterion, || {
        let config = GovernorConfigBuilder::default()
            .per_nanosecond(1)
            .burst_size(MOST)
            .key_extractor(Page)
            // Ours says in each answer as well what is left.
            .use_headers()
            .finish();
        http(GovernorLayer::new(config.expect(VALID)).layer(BareHttp))
    });
}

/// Not `Clone`, and shared by a buffer where it must be: each caller has one of his own.
struct Tower;

impl Subject for Tower {
    fn calls(&self, _caller: u64, number: u64) {
        let mut service = RateLimit::new(Bare, Rate::new(MOST.into(), SECOND));
        walk(0, number, KEYS, |request| {
            assert!(benches::call(&mut service, request).is_ok());
        });
    }
}

/// Who asks for which page.
#[derive(Clone, Debug)]
struct Page;

impl KeyExtractor for Page {
    type Key = u64;

    fn extract<T>(&self, request: &::http::Request<T>) -> Result<u64, GovernorError> {
        page(request).ok_or(GovernorError::UnableToExtractKey)
    }
}

const SECOND: Duration = Duration::from_secs(1);
