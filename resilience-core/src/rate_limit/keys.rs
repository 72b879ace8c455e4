//! What all keys have used, and how a limiter asks one.

use std::{borrow::Borrow, hash::Hash, sync::Arc, time::Duration};

use super::{
    booking::{Booking, Passed},
    cell::Cell,
    keyless::Lending,
    plan::Plan,
    policy::Rules,
    run::Answer,
    slot::Slot,
    state::{self, Refusal, Standing},
    timeline::Timeline,
};
use crate::{
    QuotaStatus, Timestamp,
    clock::nanos,
    keyed::{Keyed, Retain, Retention},
};

/// A [`Slot`] for each key.
#[derive(Debug)]
pub(super) struct Keys<K> {
    slots: Keyed<K, Slot>,
    lending: Lending,
}

/// What the slots of a shard have in common.
#[derive(Debug)]
pub(super) struct Ledger {
    timeline: Timeline,
    /// Calls that could go on at once.
    allowed: u64,
    plan: Arc<Plan>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// It goes on at once.
    Passed(Passed),
    /// It goes on after a wait.
    Booked(Passed, Duration),
    /// The quota of this name has no room for it.
    Refused(Refusal, &'static str, QuotaStatus),
}

impl<K: Hash + Eq> Keys<K> {
    pub(super) fn new(capacity: usize, plan: Plan) -> Self {
        let lending = plan.lending;
        let plan = Arc::new(plan);
        let ledger = || Ledger {
            timeline: Timeline::default(),
            allowed: 0,
            plan: plan.clone(),
        };
        Self {
            slots: Keyed::with_common(capacity, ledger),
            lending,
        }
    }

    #[inline]
    pub(super) const fn lending(&self) -> Lending {
        self.lending
    }

    /// Takes `units` from the only quota of `key`, which is all that its calls meet, and counts a
    /// call that goes on at once. What a machine must be asked for is in `Err`.
    #[inline(always)]
    pub(super) fn take<Q>(
        &self,
        key: &Q,
        now: Timestamp,
        units: u64,
        max_wait: impl FnOnce() -> Duration,
    ) -> Result<Passed, Verdict>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.slots.with(key, now, Slot::default, |ledger, slot| {
            ledger.take(slot, now, units, max_wait)
        })
    }

    /// Lets `act` work on the machine of `key`, made by `make` where there is none.
    pub(super) fn with<Q, R>(
        &self,
        key: &Q,
        now: Timestamp,
        make: impl FnOnce() -> Cell,
        act: impl FnOnce(&mut Cell) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let make = || Slot::of_machine(make());
        self.slots
            .with(key, now, make, |ledger, slot| ledger.open(slot, now, act))
    }

    /// Lets `act` work on the machine of `key`, where it is known.
    pub(super) fn peek<Q, R>(
        &self,
        key: &Q,
        now: Timestamp,
        act: impl FnOnce(Option<&mut Cell>) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.slots.peek(key, |ledger, slot| match slot {
            Some(slot) => ledger.open(slot, now, |cell| act(Some(cell))),
            None => act(None),
        })
    }

    /// Goes on under other rules: those in force when a shard's turn comes.
    pub(super) fn follow(&self, now: Timestamp, rules: impl Fn() -> Rules) {
        self.slots.for_each_shard(|ledger, slots| {
            let rules = rules();
            let old = std::mem::replace(&mut ledger.plan, Arc::new(Plan::of(&rules)));
            ledger.timeline.move_to(now);
            for slot in slots {
                slot.change(&old, &ledger.plan, ledger.timeline, |cell| {
                    let tier = cell.tier();
                    cell.follow(now, rules.of_tier(tier), tier);
                });
            }
        });
    }

    /// Calls that could go on at once.
    pub(super) fn allowed(&self) -> u64 {
        let mut sum = 0_u64;
        self.slots
            .for_each_shard(|ledger, _| sum = sum.wrapping_add(ledger.allowed));
        sum
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How much would be lost with `key`, where it is known.
    #[cfg(all(test, not(resilience_loom)))]
    pub(super) fn retention(&self, key: &K, now: Timestamp) -> Option<Retention> {
        let act = |ledger: &mut Ledger, slot: Option<&mut Slot>| {
            slot.map(|slot| Retain::retention(slot, ledger, now))
        };
        self.slots.peek(key, act)
    }
}

impl Ledger {
    #[inline(always)]
    fn take(
        &mut self,
        slot: &mut Slot,
        now: Timestamp,
        units: u64,
        max_wait: impl FnOnce() -> Duration,
    ) -> Result<Passed, Verdict> {
        self.timeline.move_to(now);
        let answer = slot.take(&self.plan, self.timeline.latest, units);
        if let Answer::Taken { mark, remaining } = answer {
            self.allowed = self.allowed.wrapping_add(1);
            return Ok(Passed {
                booking: Booking::at(mark, units),
                status: self.plan.status(remaining),
            });
        }
        Err(self.take_or_wait(slot, answer, now, units, max_wait()))
    }

    #[inline(never)]
    fn take_or_wait(
        &mut self,
        slot: &mut Slot,
        answer: Answer,
        now: Timestamp,
        units: u64,
        max_wait: Duration,
    ) -> Verdict {
        if let Answer::Refused { wait, remaining } = answer
            && wait > nanos(max_wait)
        {
            let refusal = Refusal::Wait(Duration::from_nanos(wait));
            return Verdict::Refused(refusal, self.plan.rule.name, self.plan.status(remaining));
        }
        let take = |cell: &mut Cell| state::take([Some(cell), None], now, units, max_wait);
        let verdict = Verdict::of(self.open(slot, now, take));
        if let Verdict::Passed(..) = verdict {
            self.allowed = self.allowed.wrapping_add(1);
        }
        verdict
    }

    fn open<R>(&mut self, slot: &mut Slot, now: Timestamp, act: impl FnOnce(&mut Cell) -> R) -> R {
        self.timeline.move_to(now);
        slot.open(&self.plan, self.timeline, act)
    }
}

impl Verdict {
    pub(super) fn of(
        (decision, standing): (Result<(Booking, Duration), Refusal>, Standing),
    ) -> Self {
        let Standing { name, status, .. } = standing;
        match decision {
            Ok((booking, Duration::ZERO)) => Self::Passed(Passed { booking, status }),
            Ok((booking, wait)) => Self::Booked(Passed { booking, status }, wait),
            Err(refusal) => Self::Refused(refusal, name, status),
        }
    }
}

impl Retain for Slot {
    type Common = Ledger;

    fn retention(&mut self, ledger: &mut Ledger, now: Timestamp) -> Retention {
        ledger.timeline.move_to(now);
        Self::retention(self, &ledger.plan, ledger.timeline)
    }
}
