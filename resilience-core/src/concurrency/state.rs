//! The pure machine of a bulkhead: who runs, who waits, and who is next.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::word::Counts;
use crate::{Reason, Timestamp};

/// A place in the queue; a later one has a larger number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

/// What the machine says to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Run, and say when you leave.
    Run,
    /// Wait in this place.
    Wait(Place),
    /// No.
    Refuse(Reason),
}

/// What has become of a place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Run, and say when you leave.
    Run,
    /// Wait on, until then at the longest.
    Wait {
        /// When the wait is over.
        until: Timestamp,
    },
    /// The wait was in vain.
    Refuse(Reason),
}

/// Who runs, who waits, and who is next.
///
/// Where anybody waits, at least as many run as there are permits: each step that makes room
/// fills it at once, first come, first served. Waits end by themselves at their time, whether or
/// not anybody looks; each step first forgets those that have.
///
/// `W` is how to wake a waiter. Steps put into `woken` whom to wake once the lock is gone.
#[derive(Debug)]
pub(super) struct State<W> {
    permits: u32,
    running: u32,
    closed: bool,
    length: usize,
    max_wait: Duration,
    next: u64,
    waiting: BTreeMap<Place, Waiter<W>>,
    /// Places that a permit was given to and that do not know it yet; they run.
    granted: BTreeSet<Place>,
}

#[derive(Debug)]
struct Waiter<W> {
    until: Timestamp,
    waker: Option<W>,
}

impl<W> State<W> {
    pub(super) fn new(permits: u32, length: usize, max_wait: Duration) -> Self {
        Self {
            permits: permits.min(Counts::MAX_PERMITS),
            running: 0,
            closed: false,
            length,
            max_wait,
            next: 0,
            waiting: BTreeMap::new(),
            granted: BTreeSet::new(),
        }
    }

    /// Takes over counts that were not guarded.
    pub(super) const fn resume(&mut self, counts: Counts) {
        self.running = counts.running(self.permits);
    }

    /// The counts, guarded as long as the machine must be asked.
    pub(super) fn counts(&self) -> Counts {
        let counts = Counts::new(self.permits, self.running);
        if self.closed || !self.waiting.is_empty() {
            counts.guarded()
        } else {
            counts
        }
    }

    pub(super) const fn permits(&self) -> u32 {
        self.permits
    }

    pub(super) const fn running(&self) -> u32 {
        self.running
    }

    /// Somebody asks to run, and would not wait.
    pub(super) fn try_enter(&mut self) -> Result<(), Reason> {
        if self.running >= self.permits {
            return Err(self.refusal(Reason::ConcurrencyLimited));
        }
        self.running += 1;
        Ok(())
    }

    /// Somebody asks to run, and would wait.
    pub(super) fn enter(&mut self, now: Timestamp, woken: &mut Vec<W>) -> Decision {
        self.expire(now, woken);
        let Err(reason) = self.try_enter() else {
            return Decision::Run;
        };
        let until = now.saturating_add(self.max_wait);
        if self.closed || self.waiting.len() >= self.length || until <= now {
            return Decision::Refuse(reason);
        }
        let place = Place(self.next);
        self.next += 1;
        let waiter = Waiter { until, waker: None };
        self.waiting.insert(place, waiter);
        Decision::Wait(place)
    }

    /// Somebody asks what has become of a place, and leaves `waker`; gets back the one left before.
    pub(super) fn poll(
        &mut self,
        place: Place,
        now: Timestamp,
        waker: &mut Option<W>,
        woken: &mut Vec<W>,
    ) -> Standing {
        self.expire(now, woken);
        if self.granted.remove(&place) {
            return Standing::Run;
        }
        match self.waiting.get_mut(&place) {
            Some(waiter) if waiter.until > now => {
                std::mem::swap(&mut waiter.waker, waker);
                let until = waiter.until;
                Standing::Wait { until }
            }
            // Behind one who waits on: only a clock that went back makes such a queue.
            Some(_) => {
                woken.extend(self.waiting.remove(&place).and_then(|it| it.waker));
                Standing::Refuse(Reason::QueueTimeout)
            }
            None => Standing::Refuse(self.refusal(Reason::QueueTimeout)),
        }
    }

    /// A caller went away from its place, wherever that stands now.
    pub(super) fn abandon(&mut self, place: Place, now: Timestamp, woken: &mut Vec<W>) {
        if self.granted.remove(&place) {
            self.leave(now, woken);
        } else {
            woken.extend(self.waiting.remove(&place).and_then(|it| it.waker));
        }
    }

    /// One who ran does so no longer.
    pub(super) fn leave(&mut self, now: Timestamp, woken: &mut Vec<W>) {
        self.running = self.running.saturating_sub(1);
        self.expire(now, woken);
        self.admit(woken);
    }

    /// From now on as many may run. Nobody is thrown out.
    pub(super) fn set_permits(&mut self, permits: u32, now: Timestamp, woken: &mut Vec<W>) {
        if !self.closed {
            self.permits = permits.min(Counts::MAX_PERMITS);
        }
        self.expire(now, woken);
        self.admit(woken);
    }

    /// From now on nobody gets in, and nobody waits.
    pub(super) fn close(&mut self, woken: &mut Vec<W>) {
        self.closed = true;
        self.permits = 0;
        let waiting = std::mem::take(&mut self.waiting);
        woken.extend(waiting.into_values().filter_map(|it| it.waker));
    }

    /// How many wait.
    pub(super) fn waiting(&mut self, now: Timestamp, woken: &mut Vec<W>) -> usize {
        self.expire(now, woken);
        self.waiting.len()
    }

    /// Forgets those whose wait is over. All waits are equally long, so they stand in front.
    fn expire(&mut self, now: Timestamp, woken: &mut Vec<W>) {
        while let Some(first) = self.waiting.first_entry()
            && first.get().until <= now
        {
            woken.extend(first.remove().waker);
        }
    }

    /// Fills the room there is.
    fn admit(&mut self, woken: &mut Vec<W>) {
        while self.running < self.permits
            && let Some((place, waiter)) = self.waiting.pop_first()
        {
            self.running += 1;
            self.granted.insert(place);
            woken.extend(waiter.waker);
        }
    }

    const fn refusal(&self, reason: Reason) -> Reason {
        if self.closed { Reason::Closed } else { reason }
    }
}
