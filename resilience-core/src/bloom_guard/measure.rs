use std::{hash::Hash, time::Duration};

use super::{
    BloomGuard, Filter, Standing,
    shared::Shared,
    tally::{Count, Counts},
};
use crate::{Instrument, InstrumentKind, Measured, Sample, float::saturate, sync::lock};

/// How a guard stands: levels now, and sums since it was built.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Whether the filter is asked, or everything passes.
    pub standing: Standing,
    /// Keys in the filter, about: a new key that it takes for known is not counted.
    pub keys: u64,
    /// Keys that it is sized for.
    pub capacity: u64,
    /// Share of its bits that are set, from 0 to 1. A filter at its capacity is half full.
    pub fill: f64,
    /// Share of unknown keys that may pass, by the policy, while there are no more keys than the
    /// filter is sized for; 0 for an exact set.
    pub stated_false_positive_rate: f64,
    /// Share of unknown keys that pass, by the fill.
    pub estimated_false_positive_rate: f64,
    /// Share of unknown keys that passed, as far as the service told which were not found; since
    /// the filter took over. `None` while nobody asked for an unknown key.
    pub measured_false_positive_rate: Option<f64>,
    /// How old the filter is: how long ago it took over, and where it was
    /// [loaded with its age](BloomGuard::load_aged), how old it was then. `None` before the first.
    pub age: Option<Duration>,
    /// False positives that are remembered.
    pub remembered: usize,
    /// Checks whose key was surely absent, by the filter.
    pub absent: u64,
    /// Checks whose key was absent, as the service had said.
    pub remembered_absent: u64,
    /// Checks whose key may exist.
    pub maybe: u64,
    /// Checks that passed because the filter was not asked.
    pub passed: u64,
    /// Keys that passed the filter, and that the service did not find.
    pub false_positives: u64,
}

impl<K: Hash + ?Sized, F: Filter> BloomGuard<K, F> {
    /// How the guard stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let shared = &*self.shared;
        let levels = shared.levels();
        Snapshot {
            standing: levels.standing,
            keys: levels.keys,
            capacity: levels.capacity,
            fill: shared.filter.fill(),
            stated_false_positive_rate: shared.stated,
            estimated_false_positive_rate: shared.filter.false_positive_rate(),
            measured_false_positive_rate: levels.measured,
            age: levels.age,
            remembered: levels.remembered,
            absent: shared.count(Count::Absent),
            remembered_absent: shared.count(Count::Remembered),
            maybe: shared.count(Count::Maybe),
            passed: shared.count(Count::Passed),
            false_positives: shared.count(Count::FalsePositive),
        }
    }
}

/// How a guard stands.
#[derive(Clone, Copy, Debug)]
struct Levels {
    standing: Standing,
    keys: u64,
    capacity: u64,
    age: Option<Duration>,
    remembered: usize,
    measured: Option<f64>,
}

impl<F: Filter> Shared<F> {
    fn levels(&self) -> Levels {
        let now = self.environment.now();
        let remembered = self.misses.as_ref().map_or(0, |misses| misses.len(now));
        let inner = lock(&self.inner);
        Levels {
            standing: inner.state.standing_at(now),
            keys: inner.state.keys(),
            capacity: inner.state.capacity(),
            age: inner.state.age(now),
            remembered,
            measured: self.counts().rate_since(inner.base),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            absent: self.count(Count::Absent),
            false_positives: self.count(Count::FalsePositive),
        }
    }
}

impl Snapshot {
    fn fill_per_mille(&self) -> u64 {
        saturate((self.fill * 1000.0).round())
    }
}

static CHECKS: Instrument = Instrument {
    name: "resilience.bloom_guard.checks",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Keys that were asked for, by the answer: absent, remembered, maybe, passed.",
    label: Some("answer"),
};

static FALSE_POSITIVES: Instrument = Instrument {
    name: "resilience.bloom_guard.false_positives",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Keys that passed the filter and were not found.",
    label: None,
};

static KEYS: Instrument = Instrument {
    name: "resilience.bloom_guard.keys",
    kind: InstrumentKind::Gauge,
    unit: "{key}",
    description: "Keys in the filter.",
    label: None,
};

static CAPACITY: Instrument = Instrument {
    name: "resilience.bloom_guard.capacity",
    kind: InstrumentKind::Gauge,
    unit: "{key}",
    description: "Keys that the filter is sized for.",
    label: None,
};

static FILL: Instrument = Instrument {
    name: "resilience.bloom_guard.fill",
    kind: InstrumentKind::Gauge,
    unit: "1e-3",
    description: "Bits of the filter that are set, in a thousand.",
    label: None,
};

static STANDING: Instrument = Instrument {
    name: "resilience.bloom_guard.standing",
    kind: InstrumentKind::Gauge,
    unit: "{filter}",
    description: "1 for how the filter stands: empty, answering, overloaded, out_of_touch.",
    label: Some("standing"),
};

impl<K: Hash + ?Sized, F: Filter> Measured for BloomGuard<K, F> {
    fn policy(&self) -> &'static str {
        self.shared.name
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        static ALL: [&Instrument; 6] = [
            &CHECKS,
            &FALSE_POSITIVES,
            &KEYS,
            &CAPACITY,
            &FILL,
            &STANDING,
        ];
        &ALL
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        let now = self.snapshot();
        for (answer, value) in [
            ("absent", now.absent),
            ("remembered", now.remembered_absent),
            ("maybe", now.maybe),
            ("passed", now.passed),
        ] {
            record(CHECKS.sample(Some(answer), value));
        }
        record(FALSE_POSITIVES.sample(None, now.false_positives));
        record(KEYS.sample(None, now.keys));
        record(CAPACITY.sample(None, now.capacity));
        record(FILL.sample(None, now.fill_per_mille()));
        for standing in Standing::ALL {
            let value = u64::from(standing == now.standing);
            record(STANDING.sample(Some(standing.as_str()), value));
        }
    }
}
