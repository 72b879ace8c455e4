//! The quotas that all requests without a key share, or all requests of a limiter without keys.

#[cfg(feature = "http")]
use std::time::Duration;

use super::{
    cell::Cell,
    front::{Front, Lent, Pass, Refused},
};
#[cfg(feature = "http")]
use crate::QuotaStatus;
use crate::{
    clock::{Calibration, Reading},
    sync::{Mutex, lock},
};

/// A cell behind words that answer most of its callers.
#[derive(Debug)]
pub(super) struct Keyless {
    front: Front,
    back: Mutex<Back>,
    lending: Lending,
    clock: Calibration,
    /// What the words call the quota; one of another name is not lent.
    name: &'static str,
}

#[derive(Debug)]
struct Back {
    cell: Cell,
    lent: Lent,
    /// Calls that were allowed by the words, as far as they were heard of.
    allowed: u64,
    rounds: u64,
}

/// Whether the cell is all that its callers ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lending {
    Alone,
    /// They ask for another quota as well, and take from both or from none.
    BesideAnother,
}

impl Keyless {
    /// A cell whose callers read a clock of this calibration.
    pub(super) fn new(cell: Cell, lending: Lending, clock: Calibration) -> Self {
        let name = cell.rule().name;
        let back = Back {
            cell,
            lent: Lent::Nothing,
            allowed: 0,
            rounds: 0,
        };
        Self {
            front: Front::default(),
            back: Mutex::new(back),
            lending,
            clock,
            name,
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Takes `units` without the lock, where the words know that there are as many. Else says what
    /// the clock shows.
    #[inline(always)]
    pub(super) fn take(&self, units: u64, read: impl FnOnce() -> Reading) -> Result<Pass, Reading> {
        self.front.take(units, read)
    }

    /// Finds out without the lock that one unit is not free, where the words know that.
    #[inline(always)]
    pub(super) fn refuse(&self, reading: Reading) -> Option<Refused> {
        self.front.refuse(reading)
    }

    /// Where the cell stands, and how long until there is more, where the words know.
    #[cfg(feature = "http")]
    pub(super) fn look(&self, reading: Reading) -> Option<(QuotaStatus, Duration)> {
        self.front.look(reading)
    }

    /// Lets `act` work on the cell, as it stands after all who asked before.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Cell) -> R) -> R {
        self.exclusively(|back| act(&mut back.cell))
    }

    /// Calls that were allowed without the lock.
    pub(super) fn allowed(&self) -> u64 {
        self.exclusively(|back| back.allowed)
    }

    fn exclusively<R>(&self, act: impl FnOnce(&mut Back) -> R) -> R {
        let mut back = lock(&self.back);
        back.take_back(&self.front, self.clock);
        let result = act(&mut back);
        if self.lending == Lending::Alone && back.cell.rule().name == self.name {
            back.lend(&self.front, self.clock);
        }
        result
    }
}

impl Back {
    fn take_back(&mut self, front: &Front, clock: Calibration) {
        let lent = std::mem::take(&mut self.lent);
        let (taken, calls, latest) = front.take_back(lent, clock);
        self.allowed = self.allowed.wrapping_add(calls);
        self.cell.redeem(taken, latest);
    }

    fn lend(&mut self, front: &Front, clock: Calibration) {
        if let Some((now, offer)) = self.cell.offer() {
            self.rounds = self.rounds.wrapping_add(1);
            let rule = self.cell.rule();
            self.lent = front.lend(offer, now, rule, self.rounds, clock);
        }
    }
}
