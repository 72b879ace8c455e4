use std::hash::Hash;

use super::{limiter::RateLimiter, tally::Decision};
use crate::{Instrument, InstrumentKind, Measured, Sample};

/// How a limiter stands: a level now, and sums since it was built.
///
/// After everything has come to rest, whoever asked is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Keys remembered.
    pub keys: usize,
    /// Calls that could go on at once.
    pub allowed: u64,
    /// Calls that could go on after a wait.
    pub waited: u64,
    /// Calls refused.
    pub denied: u64,
    /// Calls that a shadow policy let through, and would have refused.
    pub would_deny: u64,
}

impl<K: Hash + Eq + Clone + Send + 'static> RateLimiter<K> {
    /// How the limiter stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let shared = &self.shared;
        Snapshot {
            keys: self.len(),
            allowed: shared.count(Decision::Allowed),
            waited: shared.count(Decision::Waited),
            denied: shared.count(Decision::Denied),
            would_deny: shared.count(Decision::WouldDeny),
        }
    }
}

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

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Measured for RateLimiter<K> {
    fn policy(&self) -> &'static str {
        self.shared.name()
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        static ALL: [&Instrument; 2] = [&DECISIONS, &KEYS];
        &ALL
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        for decision in Decision::ALL {
            record(DECISIONS.sample(Some(decision.as_str()), self.shared.count(decision)));
        }
        record(KEYS.sample(None, self.len() as u64));
    }
}
