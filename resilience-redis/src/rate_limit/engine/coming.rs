//! A caller comes: what is decided at once, and who stands in line.

use std::{sync::Arc, task::Waker};

use resilience_core::{Rejected, Timestamp};

use super::{
    Engine,
    ask::{Ask, InLine},
};
use crate::{
    StoreKey,
    rate_limit::{
        decision::Source,
        line::{Caller, Entered, Entry, Line},
        quota::Verdict,
    },
};

/// What somebody must be sent to do for a caller.
enum Errand {
    /// To ask.
    Ask(Arc<Entry>),
    /// To ring at this time.
    Ring(Arc<Entry>, Timestamp),
}

impl Engine {
    /// A caller comes for `key` who wants `cost`, and waits for room up to `max_wait` nanoseconds; of its
    /// entry he keeps what `keep` takes, where nobody needs to be asked. Else `waker` is woken when there is an
    /// answer.
    #[inline]
    pub(in crate::rate_limit) fn ask<K: StoreKey + ?Sized, E>(
        self: &Arc<Self>,
        key: &K,
        (cost, max_wait): (u64, u64),
        waker: Option<&Waker>,
        keep: impl FnOnce(&Arc<Entry>) -> E,
    ) -> Ask<E> {
        let cost = match self.fitting(cost) {
            Ok(cost) => cost,
            Err(rejected) => return Ask::Refused(rejected),
        };
        let caller = self.caller((cost, max_wait), waker);
        let make = || (self.name_of(key), Line::new(self.lane.rules(), self.leases));
        let mut errand = None;
        let found = self.table.enter(key, caller, make, |entry, entered| {
            errand = Errand::of(entry, &entered);
            self.found(entry, cost, &entered, keep)
        });
        // Not before the table is free again.
        self.run(errand);
        found.unwrap_or_else(|verdict| self.turn_away(cost, &verdict))
    }

    /// A caller comes for the key of `entry` once more, as to [`ask`](Self::ask).
    pub(super) fn ask_again(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        (cost, max_wait): (u64, u64),
    ) -> Ask<Arc<Entry>> {
        let entered = entry.line().enter(self.caller((cost, max_wait), None));
        self.run(Errand::of(entry, &entered));
        let found = self.found(entry, cost, &entered, Arc::clone);
        found.unwrap_or_else(|verdict| {
            // The table, which counts those whom it denies, knows nothing of him.
            self.tally.refuse(Source::DeniedLocally);
            self.turn_away(cost, &verdict)
        })
    }

    /// What a caller wants who goes on: nothing, where no quota is large enough and nobody is refused.
    #[inline]
    fn fitting(&self, cost: u64) -> Result<u64, Rejected> {
        match self.never_fits(cost) {
            None => Ok(cost),
            // Who goes on and takes nothing has a look.
            Some(rejected) => self
                .refuse((cost, Source::DeniedLocally), rejected)
                .map(|_| 0),
        }
    }

    /// A caller who comes now, wants `cost`, and waits for room up to `max_wait` nanoseconds.
    #[inline]
    fn caller<'a>(&self, (cost, max_wait): (u64, u64), waker: Option<&'a Waker>) -> Caller<'a> {
        let now = self.lane.now();
        Caller {
            cost,
            now,
            until: Timestamp::from_nanos(now.as_nanos().saturating_add(max_wait)),
            waker,
        }
    }

    /// How a caller fares who found the line of `entry` like this, or why he is denied.
    #[inline]
    fn found<E>(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        cost: u64,
        entered: &Entered,
        keep: impl FnOnce(&Arc<Entry>) -> E,
    ) -> Result<Ask<E>, Verdict> {
        match *entered {
            Entered::Denied(verdict) => Err(verdict),
            Entered::Leased(spent) => Ok(Ask::Leased(spent, keep(entry))),
            Entered::Waits(place) | Entered::First(place) | Entered::Queued(place, _) => {
                Ok(Ask::Waits(InLine::new(self, entry, cost, place)))
            }
        }
    }

    /// A caller who wanted `cost` is denied it, as is known here.
    fn turn_away<E>(&self, cost: u64, verdict: &Verdict) -> Ask<E> {
        match self.refuse((cost, Source::DeniedLocally), self.rejected(verdict)) {
            Err(rejected) => Ask::Refused(rejected),
            Ok(status) => Ask::Spared(status),
        }
    }

    #[inline]
    fn run(&self, errand: Option<Errand>) {
        match errand {
            Some(Errand::Ask(entry)) => self.lane.push(entry),
            Some(Errand::Ring(entry, time)) => self.lane.set_alarm(entry, time),
            None => {}
        }
    }
}

impl Errand {
    /// For a caller who found the line of `entry` like this.
    #[inline]
    fn of(entry: &Arc<Entry>, entered: &Entered) -> Option<Self> {
        match *entered {
            Entered::First(_) => Some(Self::Ask(Arc::clone(entry))),
            Entered::Queued(_, Some(time)) => Some(Self::Ring(Arc::clone(entry), time)),
            Entered::Denied(_)
            | Entered::Leased(_)
            | Entered::Waits(_)
            | Entered::Queued(_, None) => None,
        }
    }
}
