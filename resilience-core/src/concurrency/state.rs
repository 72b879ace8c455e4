//! The pure machine of a bulkhead: who runs, who waits, and who is next.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{Reason, Timestamp};

/// The most permits that [`Counts`] have room for.
const MAX_PERMITS: u32 = (1 << 31) - 1;

/// How many places are free and how many calls were let in, in one word, so that a call that finds
/// a place takes it and is counted in one step.
///
/// ```text
///   63    62..32       31..0
/// ┌─────┬──────────┬─────────────┐
/// │guard│ admitted │ free + 2^31 │
/// └─────┴──────────┴─────────────┘
/// ```
///
/// Less than none are free where permits were taken away from under running calls. While the word
/// is *guarded* the [`State`] behind the lock has the say, and only its holder changes the word:
/// somebody waits, or something is being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts(u64);

/// What the word alone can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Done, once the word has become this one.
    To(Counts),
    /// No place is free, and nobody waits for one.
    Full,
    /// Ask the machine.
    Guarded,
}

impl Counts {
    pub(super) const GUARD: u64 = 1 << 63;
    const FREE_BITS: u32 = 32;
    const NONE_FREE: u64 = 1 << 31;
    const MAX_ADMITTED: u64 = (1 << 31) - 1;

    const fn new(permits: u32, running: u32) -> Self {
        Self(Self::NONE_FREE + permits as u64 - running as u64)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// Calls that were let in since the machine last had the say.
    pub(super) const fn admitted(self) -> u64 {
        (self.0 & !Self::GUARD) >> Self::FREE_BITS
    }

    /// Of so many permits.
    #[allow(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    const fn running(self, permits: u32) -> u32 {
        (Self::NONE_FREE + permits as u64 - self.free_above_none()) as u32
    }

    const fn free_above_none(self) -> u64 {
        self.0 & ((1 << Self::FREE_BITS) - 1)
    }

    pub(super) const fn is_guarded(self) -> bool {
        self.0 & Self::GUARD != 0
    }

    /// One more runs.
    pub(super) const fn enter(self) -> Step {
        if self.is_guarded() {
            Step::Guarded
        } else if self.free_above_none() <= Self::NONE_FREE {
            Step::Full
        } else if self.admitted() == Self::MAX_ADMITTED {
            // The machine takes note, and the count begins anew.
            Step::Guarded
        } else {
            Step::To(Self(self.0 + (1 << Self::FREE_BITS) - 1))
        }
    }

    /// One less runs.
    pub(super) const fn leave(self) -> Step {
        if self.is_guarded() {
            Step::Guarded
        } else {
            Step::To(Self(self.0 + 1))
        }
    }
}

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
            permits: permits.min(MAX_PERMITS),
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
        let guarded = self.closed || !self.waiting.is_empty();
        let guard = if guarded { Counts::GUARD } else { 0 };
        Counts(Counts::new(self.permits, self.running).0 | guard)
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
            self.permits = permits.min(MAX_PERMITS);
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

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_word_says_who_runs_also_where_permits_were_taken_away() {
        for permits in [0, 1, MAX_PERMITS] {
            for running in [0, 1, MAX_PERMITS] {
                let counts = Counts::new(permits, running);
                assert_eq!(counts.running(permits), running);
                assert_eq!((counts.admitted(), counts.is_guarded()), (0, false));
                let full = counts.enter() == Step::Full;
                assert_eq!(full, running >= permits);
            }
        }
    }

    #[test]
    fn who_is_let_in_is_counted_until_the_machine_must_take_note() {
        let mut counts = Counts::new(2, 0);
        let to = |step| match step {
            Step::To(counts) => counts,
            Step::Full | Step::Guarded => panic!("no step: {step:?}"),
        };
        for admitted in 1..=3 {
            counts = to(counts.enter());
            assert_eq!((counts.admitted(), counts.running(2)), (admitted, 1));
            counts = to(counts.leave());
        }
        let many = Counts(counts.0 | (Counts::MAX_ADMITTED << Counts::FREE_BITS));
        assert_eq!(many.enter(), Step::Guarded);
        assert!(!many.is_guarded());
    }
}
