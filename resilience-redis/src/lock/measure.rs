use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use resilience_core::{Error, Instrument, InstrumentKind, Measured, Sample};

use super::{Locks, Loss};
use crate::StoreError;

/// What became of the calls of this process for locks of one policy, and how many it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls that took their lock.
    pub taken: u64,
    /// Calls that ended while another had it.
    pub held: u64,
    /// Calls to which Redis gave no answer, or an error.
    pub failed: u64,
    /// Calls whose callers went away.
    pub canceled: u64,
    /// Locks that were lost because they could not be renewed in time.
    pub expired: u64,
    /// Locks that were lost because they were another's or nobody's.
    pub usurped: u64,
    /// Locks that this process holds now.
    pub holding: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    taken: AtomicU64,
    held: AtomicU64,
    failed: AtomicU64,
    pub(super) canceled: AtomicU64,
    expired: AtomicU64,
    usurped: AtomicU64,
    holding: AtomicU64,
}

/// A lock while it is held.
pub(super) struct Held<'a>(&'a Tally);

impl Tally {
    /// Where a call counts that ended so.
    pub(super) const fn outcome<T>(&self, outcome: &Result<T, Error<StoreError>>) -> &AtomicU64 {
        match outcome {
            Ok(_) => &self.taken,
            Err(Error::Rejected(_)) => &self.held,
            Err(Error::Inner(_)) => &self.failed,
        }
    }

    pub(super) fn lost(&self, loss: Loss) {
        let count = match loss {
            Loss::Expired => &self.expired,
            Loss::Taken => &self.usurped,
        };
        count.fetch_add(1, Relaxed);
    }

    pub(super) fn hold(&self) -> Held<'_> {
        self.holding.fetch_add(1, Relaxed);
        Held(self)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            taken: self.taken.load(Relaxed),
            held: self.held.load(Relaxed),
            failed: self.failed.load(Relaxed),
            canceled: self.canceled.load(Relaxed),
            expired: self.expired.load(Relaxed),
            usurped: self.usurped.load(Relaxed),
            holding: self.holding.load(Relaxed),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.holding.fetch_sub(1, Relaxed);
    }
}

impl Measured for Locks {
    fn policy(&self) -> &'static str {
        self.name()
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        static ALL: [&Instrument; 3] = [&CALLS, &LOSSES, &HOLDING];
        &ALL
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        let figures = self.snapshot();
        for (instrument, label, value) in [
            (&CALLS, Some("taken"), figures.taken),
            (&CALLS, Some("held"), figures.held),
            (&CALLS, Some("failed"), figures.failed),
            (&CALLS, Some("canceled"), figures.canceled),
            (&LOSSES, Some("expired"), figures.expired),
            (&LOSSES, Some("usurped"), figures.usurped),
            (&HOLDING, None, figures.holding),
        ] {
            record(Sample {
                instrument,
                label,
                value,
            });
        }
    }
}

static CALLS: Instrument = Instrument {
    name: "resilience.lock.calls",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Calls of this process for a lock.",
    label: Some("outcome"),
};

static LOSSES: Instrument = Instrument {
    name: "resilience.lock.losses",
    kind: InstrumentKind::Counter,
    unit: "{lock}",
    description: "Locks that this process lost before it gave them back.",
    label: Some("reason"),
};

static HOLDING: Instrument = Instrument {
    name: "resilience.lock.holding",
    kind: InstrumentKind::Gauge,
    unit: "{lock}",
    description: "Locks that this process holds.",
    label: None,
};
