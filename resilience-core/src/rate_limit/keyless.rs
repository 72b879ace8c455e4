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
    Timestamp,
    sync::{Mutex, lock},
};

/// A cell behind words that answer most of its callers.
#[derive(Debug)]
pub(super) struct Keyless {
    front: Front,
    back: Mutex<Back>,
    lending: Lending,
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
    pub(super) fn new(cell: Cell, lending: Lending) -> Self {
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
            name,
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Takes `units` without the lock, where the words know that there are as many.
    #[inline(always)]
    pub(super) fn take(&self, now: Timestamp, units: u64) -> Option<Pass> {
        self.front.take(now, units)
    }

    /// Finds out without the lock that one unit is not free, where the words know that.
    #[inline(always)]
    pub(super) fn refuse(&self, now: Timestamp) -> Option<Refused> {
        self.front.refuse(now)
    }

    /// Where the cell stands, and how long until there is more, where the words know.
    #[cfg(feature = "http")]
    pub(super) fn look(&self, now: Timestamp) -> Option<(QuotaStatus, Duration)> {
        self.front.look(now)
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
        back.take_back(&self.front);
        let result = act(&mut back);
        if self.lending == Lending::Alone && back.cell.rule().name == self.name {
            back.lend(&self.front);
        }
        result
    }
}

impl Back {
    fn take_back(&mut self, front: &Front) {
        let lent = std::mem::take(&mut self.lent);
        let (taken, calls, latest) = front.take_back(lent);
        self.allowed = self.allowed.wrapping_add(calls);
        self.cell.redeem(taken, latest);
    }

    fn lend(&mut self, front: &Front) {
        if let Some((now, offer)) = self.cell.offer() {
            self.rounds = self.rounds.wrapping_add(1);
            self.lent = front.lend(offer, now, self.cell.rule(), self.rounds);
        }
    }
}
