use std::hash::Hash;

use super::{limiter::RateLimiter, tally::Decision};
use crate::{Instrument, InstrumentKind, Measured, Sample};

static DECISIONS: Instrument = Instrument {
    name: "resilience.rate_limit.decisions",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Calls that asked a rate limiter, by its decision.",
    label: Some("decision"),
};

static KEYS: Instrument = Instrument {
    name: "resilience.rate_limit.keys",
    kind: InstrumentKind::Gauge,
    unit: "{key}",
    description: "Keys that a rate limiter remembers.",
    label: None,
};

impl<K: Hash + Eq + Clone + Send + Sync> Measured for RateLimiter<K> {
    fn policy(&self) -> &'static str {
        self.shared.name()
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        static ALL: [&Instrument; 2] = [&DECISIONS, &KEYS];
        &ALL
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        for decision in Decision::ALL {
            record(Sample {
                instrument: &DECISIONS,
                label: Some(decision.as_str()),
                value: self.shared.tally().read(decision),
            });
        }
        record(Sample {
            instrument: &KEYS,
            label: None,
            value: self.len() as u64,
        });
    }
}
