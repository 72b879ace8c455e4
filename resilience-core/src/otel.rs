//! OpenTelemetry metrics, read from the engines' own counters.
//!
//! The instruments are observable ones: a call costs nothing for them, and a collection reads
//! each engine once. Every sample has the attribute `policy`, the name given to the engine's
//! policy, and those with a label one more; the values of both are fixed in the code, so that no
//! request can add a series.
//!
//! | instrument | kind | unit | label |
//! | --- | --- | --- | --- |
//! | `resilience.rate_limit.decisions` | counter | `{call}` | `decision` |
//! | `resilience.rate_limit.keys` | gauge | `{key}` | |
//! | `resilience.circuit_breaker.calls` | counter | `{call}` | `outcome` |
//! | `resilience.circuit_breaker.rejected` | counter | `{call}` | |
//! | `resilience.circuit_breaker.transitions` | counter | `{transition}` | |
//! | `resilience.circuit_breaker.state` | gauge | `{circuit}` | `phase` |
//! | `resilience.concurrency.decisions` | counter | `{call}` | `decision` |
//! | `resilience.concurrency.running` | gauge | `{call}` | |
//! | `resilience.concurrency.queued` | gauge | `{call}` | |
//! | `resilience.concurrency.permits` | gauge | `{call}` | |
//! | `resilience.bloom_guard.checks` | counter | `{call}` | `answer` |
//! | `resilience.bloom_guard.false_positives` | counter | `{call}` | |
//! | `resilience.bloom_guard.keys` | gauge | `{key}` | |
//! | `resilience.bloom_guard.capacity` | gauge | `{key}` | |
//! | `resilience.bloom_guard.fill` | gauge | `1e-3` | |
//! | `resilience.bloom_guard.standing` | gauge | `{filter}` | `standing` |
//! | `resilience.cache.lookups` | counter | `{call}` | `result` |
//! | `resilience.cache.loads` | counter | `{load}` | |
//! | `resilience.cache.load_failures` | counter | `{load}` | |
//! | `resilience.cache.tier` | counter | `{call}` | `result` |
//! | `resilience.cache.evictions` | counter | `{entry}` | |
//! | `resilience.cache.entries` | gauge | `{entry}` | |
//! | `resilience.cache.weight` | gauge | `1` | |
//! | `resilience.panics` | counter | `{panic}` | `where` |
//!
//! ```
//! # fn main() -> Result<(), resilience_core::InvalidPolicy> {
//! use std::sync::Arc;
//!
//! use opentelemetry::metrics::MeterProvider;
//! use resilience_core::{CircuitBreaker, circuit_breaker::Policy, otel};
//!
//! let breaker = CircuitBreaker::new(Policy::new("payment"))?;
//! let provider = opentelemetry_sdk::metrics::SdkMeterProvider::default();
//! otel::register(&provider.meter("ordering"), [Arc::new(breaker) as _]);
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};

use crate::{
    Measured,
    measure::{Instrument, InstrumentKind, Sample},
};

/// Lets `meter` collect from `engines` for as long as its provider lives.
///
/// Register all engines of a process in one call: each instrument is then made once, whatever
/// the number of engines that give it.
pub fn register(meter: &Meter, engines: impl IntoIterator<Item = Arc<dyn Measured>>) {
    let engines: Vec<_> = engines.into_iter().collect();
    for instrument in instruments(&engines) {
        // To ask an engine costs what it holds, and it is asked once for each instrument.
        let gives = |engine: &&Arc<dyn Measured>| {
            let mut given = engine.instruments().iter();
            given.any(|given| given.name == instrument.name)
        };
        let engines: Vec<_> = engines.iter().filter(gives).cloned().collect();
        let observe = move |observer: &dyn AsyncInstrument<u64>| {
            for engine in &engines {
                observe_engine(&**engine, instrument, observer);
            }
        };
        match instrument.kind {
            InstrumentKind::Counter => {
                meter
                    .u64_observable_counter(instrument.name)
                    .with_unit(instrument.unit)
                    .with_description(instrument.description)
                    .with_callback(observe)
                    .build();
            }
            InstrumentKind::Gauge => {
                meter
                    .u64_observable_gauge(instrument.name)
                    .with_unit(instrument.unit)
                    .with_description(instrument.description)
                    .with_callback(observe)
                    .build();
            }
        }
    }
}

/// Every instrument that one of `engines` gives, once.
fn instruments(engines: &[Arc<dyn Measured>]) -> Vec<&'static Instrument> {
    let mut all: Vec<&'static Instrument> = Vec::new();
    for instrument in engines.iter().flat_map(|engine| engine.instruments()) {
        if !all.iter().any(|known| known.name == instrument.name) {
            all.push(instrument);
        }
    }
    all
}

fn observe_engine(
    engine: &dyn Measured,
    instrument: &Instrument,
    observer: &dyn AsyncInstrument<u64>,
) {
    engine.measure(&mut |sample: Sample| {
        if sample.instrument.name != instrument.name {
            return;
        }
        let policy = KeyValue::new("policy", engine.policy());
        match instrument.label.zip(sample.label) {
            None => observer.observe(sample.value, &[policy]),
            Some((key, value)) => {
                observer.observe(sample.value, &[policy, KeyValue::new(key, value)]);
            }
        }
    });
}
