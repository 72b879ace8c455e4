//! Metrics are read from the engines' own counters, and from nothing else.
#![cfg(feature = "otel")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    data::{AggregatedMetrics, MetricData},
};
use resilience_core::{
    BloomGuard, Bulkhead, Cache, CatchPanic, CircuitBreaker, Instrument, InstrumentKind, Measured,
    Outcome, RateLimiter, Sample, bloom_guard, cache, circuit_breaker, concurrency, otel,
    rate_limit::{self, Quota},
};

struct Engines {
    limiter: RateLimiter<u64>,
    breaker: CircuitBreaker,
    other: CircuitBreaker,
    bulkhead: Bulkhead,
    dishes: Cache<u64, u64>,
    panics: CatchPanic,
    guard: BloomGuard<u64>,
}

impl Engines {
    fn new() -> Self {
        let quota = Quota::new(2, Duration::from_secs(3600));
        let breaker = |name| CircuitBreaker::new(circuit_breaker::Policy::new(name)).unwrap();
        Self {
            limiter: RateLimiter::new(rate_limit::Policy::new("limit", quota)).unwrap(),
            breaker: breaker("payment"),
            other: breaker("kitchen"),
            bulkhead: Bulkhead::new(concurrency::Policy::new("oven", 3)).unwrap(),
            dishes: Cache::new(cache::Policy::new("dishes", Duration::from_secs(60))).unwrap(),
            panics: CatchPanic::new("handlers").unwrap(),
            guard: BloomGuard::new(bloom_guard::Policy::new("dishes")).unwrap(),
        }
    }

    fn measured(&self) -> [Arc<dyn Measured>; 7] {
        [
            Arc::new(self.limiter.clone()),
            Arc::new(self.breaker.clone()),
            Arc::new(self.other.clone()),
            Arc::new(self.bulkhead.clone()),
            Arc::new(self.dishes.clone()),
            Arc::new(self.panics.clone()),
            Arc::new(self.guard.clone()),
        ]
    }
}

/// What a collection exports: series by name and attributes, in alphabetical order.
fn collect(engines: &Engines) -> BTreeMap<String, u64> {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    otel::register(&provider.meter("test"), engines.measured());
    provider.force_flush().unwrap();
    let mut series = BTreeMap::new();
    for resource in exporter.get_finished_metrics().unwrap() {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            let AggregatedMetrics::U64(data) = metric.data() else {
                panic!("{} is no whole number", metric.name());
            };
            let mut add = |attributes: Vec<String>, value| {
                let mut attributes = attributes;
                attributes.sort();
                let name = format!("{}{{{}}}", metric.name(), attributes.join(","));
                assert_eq!(series.insert(name, value), None, "a series appears once");
            };
            let text = |it: &opentelemetry::KeyValue| format!("{}={}", it.key, it.value);
            match data {
                MetricData::Sum(sum) => sum
                    .data_points()
                    .for_each(|point| add(point.attributes().map(text).collect(), point.value())),
                MetricData::Gauge(gauge) => gauge
                    .data_points()
                    .for_each(|point| add(point.attributes().map(text).collect(), point.value())),
                _ => panic!("{} is neither a sum nor a gauge", metric.name()),
            }
        }
    }
    series
}

#[test]
fn a_collection_gives_what_the_engines_counted() {
    let engines = Engines::new();
    for key in [7, 7, 7, 8] {
        let _ = engines.limiter.try_take(&key);
    }
    for outcome in [Outcome::Success, Outcome::Success, Outcome::Failure] {
        engines.breaker.try_acquire().unwrap().settle(outcome);
    }
    engines.other.open_for(Duration::from_secs(3600)).unwrap();
    engines.other.try_acquire().unwrap_err();
    let _ = engines.guard.check(&1);
    engines.guard.rebuild_from(|| [1, 2]).unwrap();
    for key in [1, 2, 3, 4, 5] {
        let _ = engines.guard.check(&key);
    }
    let _running = engines.bulkhead.try_acquire().unwrap();

    engines.dishes.insert(7, 8);
    for key in [7, 7, 9] {
        let _ = engines.dishes.get(&key);
    }

    let series = collect(&engines);
    let value = |name: &str| series.get(name).copied();
    for (name, expected) in [
        (
            "resilience.rate_limit.decisions{decision=allowed,policy=limit}",
            3,
        ),
        (
            "resilience.rate_limit.decisions{decision=denied,policy=limit}",
            1,
        ),
        ("resilience.rate_limit.keys{policy=limit}", 2),
        (
            "resilience.circuit_breaker.calls{outcome=success,policy=payment}",
            2,
        ),
        (
            "resilience.circuit_breaker.calls{outcome=failure,policy=payment}",
            1,
        ),
        ("resilience.circuit_breaker.rejected{policy=kitchen}", 1),
        ("resilience.circuit_breaker.transitions{policy=kitchen}", 1),
        (
            "resilience.circuit_breaker.state{phase=open,policy=kitchen}",
            1,
        ),
        (
            "resilience.circuit_breaker.state{phase=closed,policy=kitchen}",
            0,
        ),
        (
            "resilience.circuit_breaker.state{phase=closed,policy=payment}",
            1,
        ),
        ("resilience.concurrency.running{policy=oven}", 1),
        ("resilience.concurrency.permits{policy=oven}", 3),
        (
            "resilience.bloom_guard.checks{answer=passed,policy=dishes}",
            1,
        ),
        (
            "resilience.bloom_guard.checks{answer=maybe,policy=dishes}",
            2,
        ),
        (
            "resilience.bloom_guard.checks{answer=absent,policy=dishes}",
            3,
        ),
        ("resilience.bloom_guard.keys{policy=dishes}", 2),
        ("resilience.bloom_guard.capacity{policy=dishes}", 100_000),
        ("resilience.bloom_guard.fill{policy=dishes}", 0),
        (
            "resilience.bloom_guard.standing{policy=dishes,standing=answering}",
            1,
        ),
        ("resilience.cache.lookups{policy=dishes,result=hit}", 2),
        ("resilience.cache.lookups{policy=dishes,result=miss}", 1),
        ("resilience.cache.entries{policy=dishes}", 1),
        ("resilience.panics{policy=handlers,where=future}", 0),
    ] {
        assert_eq!(value(name), Some(expected), "{name} in {series:#?}");
    }
}

/// Gives one figure, and counts how often it is asked.
struct Fake {
    instruments: &'static [&'static Instrument],
    asked: AtomicU32,
}

impl Measured for Fake {
    fn policy(&self) -> &'static str {
        "fake"
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        self.instruments
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        self.asked.fetch_add(1, Relaxed);
        record(Sample {
            instrument: self.instruments[0],
            label: None,
            value: 7,
        });
    }
}

/// An engine of many keys looks at each of them when it is asked.
#[test]
fn an_engine_is_asked_for_its_own_figures_alone() {
    const fn figure(name: &'static str) -> Instrument {
        Instrument {
            name,
            kind: InstrumentKind::Gauge,
            unit: "{call}",
            description: "A figure.",
            label: None,
        }
    }
    static FIGURES: [Instrument; 3] = [figure("first"), figure("second"), figure("third")];
    static OWN: [[&Instrument; 1]; 3] = [[&FIGURES[0]], [&FIGURES[1]], [&FIGURES[2]]];
    let fakes = OWN.each_ref().map(|instruments| {
        let asked = AtomicU32::new(0);
        Arc::new(Fake { instruments, asked })
    });
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let engines = fakes.clone().map(|fake| fake as Arc<dyn Measured>);
    otel::register(&provider.meter("test"), engines);
    provider.force_flush().unwrap();
    assert!(!exporter.get_finished_metrics().unwrap().is_empty());
    assert_eq!(fakes.map(|fake| fake.asked.load(Relaxed)), [1, 1, 1]);
}

#[test]
fn no_key_of_a_caller_is_exported() {
    let engines = Engines::new();
    engines.limiter.try_take(&4_711_081_500).unwrap();
    let series = collect(&engines);
    assert!(!series.keys().any(|name| name.contains("4711081500")));
}

#[test]
fn the_documentation_lists_every_instrument() {
    let table = include_str!("../src/otel.rs");
    for engine in Engines::new().measured() {
        for instrument in engine.instruments() {
            let label = instrument
                .label
                .map_or(String::new(), |it| format!("`{it}` "));
            let kind = format!("{:?}", instrument.kind).to_lowercase();
            let (name, unit) = (instrument.name, instrument.unit);
            let row = format!("//! | `{name}` | {kind} | `{unit}` | {label}|");
            assert!(table.contains(&row), "missing: {row}");
        }
    }
}
