use std::hash::Hash;

use super::{Cache, shared::Shared, tally::Count};
use crate::{Instrument, InstrumentKind, Measured, Sample};

/// How a cache stands, and what it has done since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Callers who were served a fresh value from the cache.
    pub hits: u64,
    /// Callers who were served a stale one, at once or since a load failed or took too long; the
    /// latter are counted as a miss or as coalesced, too.
    pub stale_hits: u64,
    /// Callers who were told from the cache that there is no value, or none to be had.
    pub negative_hits: u64,
    /// Callers who found nothing to serve, and loaded.
    pub misses: u64,
    /// Callers who found nothing to serve, and waited for another's load.
    pub coalesced: u64,
    /// Loads that began, also in the background.
    pub loads: u64,
    /// Loads that failed, panicked or took too long.
    pub load_failures: u64,
    /// Loads that the second tier saved.
    pub tier_hits: u64,
    /// Loads for which the second tier had nothing.
    pub tier_misses: u64,
    /// Loads for which the second tier failed, took too long, or was not asked since it does.
    pub tier_failures: u64,
    /// Entries of the second tier that could not be read, and were removed.
    pub tier_corrupt: u64,
    /// Loads that waited for the same load of another process.
    pub tier_waits: u64,
    /// Entries that went away to make room for others.
    pub evictions: u64,
    /// Entries that are held, also such as are not served any more.
    pub entries: usize,
    /// What they weigh.
    pub weight: u64,
    /// Loads under way.
    pub loading: usize,
}

impl<K: Hash + Eq, V> Shared<K, V> {
    pub(super) fn snapshot(&self) -> Snapshot {
        let tally = &self.tally;
        Snapshot {
            hits: tally.read(Count::Hit),
            stale_hits: tally.read(Count::StaleHit),
            negative_hits: tally.read(Count::NegativeHit),
            misses: tally.read(Count::Miss),
            coalesced: tally.read(Count::Coalesced),
            loads: tally.read(Count::Load),
            load_failures: tally.read(Count::LoadFailure),
            tier_hits: tally.read(Count::TierHit),
            tier_misses: tally.read(Count::TierMiss),
            tier_failures: tally.read(Count::TierFailure),
            tier_corrupt: tally.read(Count::TierCorrupt),
            tier_waits: tally.read(Count::TierWait),
            evictions: self.storage.evictions(),
            entries: self.storage.len(),
            weight: self.storage.weight(),
            loading: self.flights.len(),
        }
    }
}

static LOOKUPS: Instrument = Instrument {
    name: "resilience.cache.lookups",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Callers by what they met: hit, stale_hit, negative_hit, miss, coalesced.",
    label: Some("result"),
};

static LOADS: Instrument = Instrument {
    name: "resilience.cache.loads",
    kind: InstrumentKind::Counter,
    unit: "{load}",
    description: "Loads that began, also in the background.",
    label: None,
};

static LOAD_FAILURES: Instrument = Instrument {
    name: "resilience.cache.load_failures",
    kind: InstrumentKind::Counter,
    unit: "{load}",
    description: "Loads that failed, panicked or took too long.",
    label: None,
};

static TIER: Instrument = Instrument {
    name: "resilience.cache.tier",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Loads by what the second tier had: hit, miss, failure, corrupt; and how many waited for another process.",
    label: Some("result"),
};

static EVICTIONS: Instrument = Instrument {
    name: "resilience.cache.evictions",
    kind: InstrumentKind::Counter,
    unit: "{entry}",
    description: "Entries that went away to make room for others.",
    label: None,
};

static ENTRIES: Instrument = Instrument {
    name: "resilience.cache.entries",
    kind: InstrumentKind::Gauge,
    unit: "{entry}",
    description: "Entries that are held.",
    label: None,
};

static WEIGHT: Instrument = Instrument {
    name: "resilience.cache.weight",
    kind: InstrumentKind::Gauge,
    unit: "1",
    description: "What the entries weigh, in the policy's own unit.",
    label: None,
};

static INSTRUMENTS: [&Instrument; 7] = [
    &LOOKUPS,
    &LOADS,
    &LOAD_FAILURES,
    &TIER,
    &EVICTIONS,
    &ENTRIES,
    &WEIGHT,
];

impl<K, V> Measured for Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn policy(&self) -> &'static str {
        self.name()
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        &INSTRUMENTS
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        let snapshot = self.snapshot();
        for (instrument, label, value) in [
            (&LOOKUPS, Some("hit"), snapshot.hits),
            (&LOOKUPS, Some("stale_hit"), snapshot.stale_hits),
            (&LOOKUPS, Some("negative_hit"), snapshot.negative_hits),
            (&LOOKUPS, Some("miss"), snapshot.misses),
            (&LOOKUPS, Some("coalesced"), snapshot.coalesced),
            (&LOADS, None, snapshot.loads),
            (&LOAD_FAILURES, None, snapshot.load_failures),
            (&TIER, Some("hit"), snapshot.tier_hits),
            (&TIER, Some("miss"), snapshot.tier_misses),
            (&TIER, Some("failure"), snapshot.tier_failures),
            (&TIER, Some("corrupt"), snapshot.tier_corrupt),
            (&TIER, Some("wait"), snapshot.tier_waits),
            (&EVICTIONS, None, snapshot.evictions),
            (&ENTRIES, None, snapshot.entries as u64),
            (&WEIGHT, None, snapshot.weight),
        ] {
            record(instrument.sample(label, value));
        }
    }
}
