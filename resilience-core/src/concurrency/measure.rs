use std::{hash::Hash, sync::atomic::Ordering::Relaxed};

use super::{
    Bulkhead, Bulkheads,
    shared::{Levels, Tally},
};
use crate::{Instrument, InstrumentKind, Measured, Sample};

/// How a bulkhead, or the bulkheads of all keys, stand: levels now, and sums since they were
/// built.
///
/// After everything has come to rest, whoever asked is counted once: as `admitted`, `refused`,
/// `timed_out` or `abandoned`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How many calls may run; of each key.
    pub permits: u32,
    /// Calls that run, those included whose waiter has not yet noticed.
    pub running: u32,
    /// Callers that wait.
    pub queued: usize,
    /// Permits given.
    pub admitted: u64,
    /// Callers refused at once.
    pub refused: u64,
    /// Callers refused after their wait.
    pub timed_out: u64,
    /// Callers that left the queue.
    pub abandoned: u64,
    /// Admitted calls that failed.
    pub failed: u64,
    /// Permits dropped with no outcome: the caller went away, or nobody classifies.
    pub dropped: u64,
}

impl Snapshot {
    pub(super) fn new(levels: Levels, tally: &Tally) -> Self {
        Self {
            permits: levels.permits,
            running: levels.running,
            queued: levels.queued,
            admitted: tally.admitted.load(Relaxed),
            refused: tally.refused.load(Relaxed),
            timed_out: tally.timed_out.load(Relaxed),
            abandoned: tally.abandoned.load(Relaxed),
            failed: tally.failed.load(Relaxed),
            dropped: tally.dropped.load(Relaxed),
        }
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        record(PERMITS.sample(None, u64::from(self.permits)));
        record(RUNNING.sample(None, u64::from(self.running)));
        record(QUEUED.sample(None, self.queued as u64));
        for (label, value) in [
            ("admitted", self.admitted),
            ("refused", self.refused),
            ("timed_out", self.timed_out),
            ("abandoned", self.abandoned),
        ] {
            record(DECISIONS.sample(Some(label), value));
        }
    }
}

static PERMITS: Instrument = Instrument {
    name: "resilience.concurrency.permits",
    kind: InstrumentKind::Gauge,
    unit: "{call}",
    description: "Calls that may run at a time; of each key.",
    label: None,
};

static RUNNING: Instrument = Instrument {
    name: "resilience.concurrency.running",
    kind: InstrumentKind::Gauge,
    unit: "{call}",
    description: "Calls that run.",
    label: None,
};

static QUEUED: Instrument = Instrument {
    name: "resilience.concurrency.queued",
    kind: InstrumentKind::Gauge,
    unit: "{call}",
    description: "Callers that wait for a permit.",
    label: None,
};

static DECISIONS: Instrument = Instrument {
    name: "resilience.concurrency.decisions",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Callers by what became of them: admitted, refused, timed_out, abandoned.",
    label: Some("decision"),
};

static INSTRUMENTS: [&Instrument; 4] = [&PERMITS, &RUNNING, &QUEUED, &DECISIONS];

impl Measured for Bulkhead {
    fn policy(&self) -> &'static str {
        self.shared().common.policy.name
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        &INSTRUMENTS
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        self.snapshot().measure(record);
    }
}

impl<K: Hash + Eq + Send> Measured for Bulkheads<K> {
    fn policy(&self) -> &'static str {
        self.common().policy.name
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        &INSTRUMENTS
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        self.snapshot().measure(record);
    }
}
