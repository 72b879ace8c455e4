use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use resilience_core::{Instrument, InstrumentKind, Measured, Sample};

use super::{Confirmed, Error, Once, Stocks};

/// What became of the calls of this process for orders of all stocks of one policy, each counted
/// once, and of the reservations that they found expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Orders that were reserved.
    pub reserved: u64,
    /// Orders that were confirmed in time.
    pub confirmed: u64,
    /// Orders that were confirmed after their reservation had expired.
    pub late: u64,
    /// Orders that were given back.
    pub released: u64,
    /// Calls that had been made before, with the same end.
    pub known: u64,
    /// Orders of which too few units of an item were left.
    pub sold_out: u64,
    /// Orders of which an item is not counted: the database decides.
    pub unknown: u64,
    /// Calls that made no sense: for what cannot be ordered, or an order that is another or over.
    pub refused: u64,
    /// Calls to which Redis gave no answer, or an error.
    pub failed: u64,
    /// Calls whose callers went away.
    pub canceled: u64,
    /// Reservations, of whatever process, whose time was over when a call of this process that
    /// reserves or [reaps](super::Stock::reap) came by. Each counts in one process of the fleet, or in
    /// none where its answer was lost.
    pub expired: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    reserved: AtomicU64,
    confirmed: AtomicU64,
    late: AtomicU64,
    released: AtomicU64,
    known: AtomicU64,
    sold_out: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    pub(super) canceled: AtomicU64,
    expired: AtomicU64,
}

impl Tally {
    /// Where a call counts that ended so.
    pub(super) const fn reserved(&self, outcome: &Result<Once, Error>) -> &AtomicU64 {
        match outcome {
            Ok(Once::Now) => &self.reserved,
            Ok(Once::Before) => &self.known,
            Err(error) => self.not_done(error),
        }
    }

    pub(super) const fn confirmed(&self, outcome: &Result<Confirmed, Error>) -> &AtomicU64 {
        match outcome {
            Ok(Confirmed::Now) => &self.confirmed,
            Ok(Confirmed::Late) => &self.late,
            Ok(Confirmed::Before) => &self.known,
            Err(error) => self.not_done(error),
        }
    }

    pub(super) const fn released(&self, outcome: &Result<Once, Error>) -> &AtomicU64 {
        match outcome {
            Ok(Once::Now) => &self.released,
            Ok(Once::Before) => &self.known,
            Err(error) => self.not_done(error),
        }
    }

    const fn not_done(&self, error: &Error) -> &AtomicU64 {
        match error {
            Error::SoldOut { .. } => &self.sold_out,
            Error::Unknown { .. } => &self.unknown,
            Error::Conflict | Error::Over(_) | Error::NotReserved | Error::Invalid(_) => {
                &self.refused
            }
            Error::Store(_) => &self.failed,
        }
    }

    /// So many reservations expired by a call.
    pub(super) fn expired(&self, reservations: u64) {
        self.expired.fetch_add(reservations, Relaxed);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            reserved: self.reserved.load(Relaxed),
            confirmed: self.confirmed.load(Relaxed),
            late: self.late.load(Relaxed),
            released: self.released.load(Relaxed),
            known: self.known.load(Relaxed),
            sold_out: self.sold_out.load(Relaxed),
            unknown: self.unknown.load(Relaxed),
            refused: self.refused.load(Relaxed),
            failed: self.failed.load(Relaxed),
            canceled: self.canceled.load(Relaxed),
            expired: self.expired.load(Relaxed),
        }
    }
}

impl Measured for Stocks {
    fn policy(&self) -> &'static str {
        self.name()
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        static ALL: [&Instrument; 2] = [&ORDERS, &EXPIRED];
        &ALL
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        let figures = self.snapshot();
        for (label, value) in [
            ("reserved", figures.reserved),
            ("confirmed", figures.confirmed),
            ("late", figures.late),
            ("released", figures.released),
            ("known", figures.known),
            ("sold_out", figures.sold_out),
            ("unknown", figures.unknown),
            ("refused", figures.refused),
            ("failed", figures.failed),
            ("canceled", figures.canceled),
        ] {
            record(Sample {
                instrument: &ORDERS,
                label: Some(label),
                value,
            });
        }
        record(Sample {
            instrument: &EXPIRED,
            label: None,
            value: figures.expired,
        });
    }
}

static ORDERS: Instrument = Instrument {
    name: "resilience.stock.orders",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Calls of this process that reserve, confirm or release an order.",
    label: Some("outcome"),
};

static EXPIRED: Instrument = Instrument {
    name: "resilience.stock.expired",
    kind: InstrumentKind::Counter,
    unit: "{reservation}",
    description: "Reservations that calls of this process found expired.",
    label: None,
};
