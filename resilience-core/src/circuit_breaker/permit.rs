use std::mem;

use super::{shared::Shared, terms::Ticket};
use crate::{Outcome, Settle, Timestamp, engine::Hold};

/// An admitted call, which is told once what became of it.
///
/// Dropped without having been told, the call was canceled: it has no vote, and a probe's permit
/// goes to the next caller. A permit belongs to the phase it was given in: where the circuit has
/// entered another one meanwhile, the call has no vote either.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a canceled call"]
pub struct Permit {
    shared: Hold<Shared>,
    ticket: Ticket,
    stopwatch: Stopwatch,
}

impl Permit {
    #[inline]
    pub(super) fn new(shared: Hold<Shared>, ticket: Ticket) -> Self {
        let start = shared.start();
        Self {
            shared,
            ticket,
            stopwatch: start.map_or(Stopwatch::OFF, Stopwatch::started),
        }
    }

    /// The call is over. It took as long as until now, or until
    /// [`answered`](Settle::answered).
    #[inline(always)]
    pub fn settle(self, outcome: Outcome) {
        let (shared, ticket, stopwatch) = self.into_parts();
        let quick = matches!(stopwatch, Stopwatch::OFF | Stopwatch::QUICK);
        let success = quick && outcome == Outcome::Success;
        if !success || !shared.keep_back(ticket) {
            stopwatch.tell(&shared, ticket, outcome);
        }
        shared.release();
    }

    /// Each part by itself can stay in a register, where a permit that somebody might look at has
    /// to be written down.
    #[inline(always)]
    fn into_parts(mut self) -> (Hold<Shared>, Ticket, Stopwatch) {
        let parts = (self.shared.take(), self.ticket, self.stopwatch);
        mem::forget(self);
        parts
    }
}

impl Settle for Permit {
    #[inline(always)]
    fn settle(self, outcome: Outcome) {
        Self::settle(self, outcome);
    }

    /// Stops the time: what the body or a slow reader takes is not the dependency's.
    fn answered(&mut self) {
        if self.stopwatch != Stopwatch::OFF {
            let slow = self.stopwatch.is_slow(&self.shared);
            self.stopwatch = if slow {
                Stopwatch::SLOW
            } else {
                Stopwatch::QUICK
            };
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.stopwatch
            .tell(&self.shared, self.ticket, Outcome::Canceled);
    }
}

/// When the call began, or what is known besides: one word, since a permit is moved with the
/// future that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stopwatch(u64);

impl Stopwatch {
    /// Nobody asks how long the call takes.
    const OFF: Self = Self(u64::MAX);
    /// The answer was there in time.
    const QUICK: Self = Self(u64::MAX - 1);
    /// The answer was there too late.
    const SLOW: Self = Self(u64::MAX - 2);

    /// Not inlined, since most calls are settled without.
    #[inline(never)]
    fn tell(self, shared: &Shared, ticket: Ticket, outcome: Outcome) {
        shared.settle(ticket, outcome, self.is_slow(shared));
    }

    fn is_slow(self, shared: &Shared) -> bool {
        match self {
            Self::OFF | Self::QUICK => false,
            Self::SLOW => true,
            Self(start) => shared.is_slow(Timestamp::from_nanos(start)),
        }
    }

    /// The last three nanoseconds of time are left out.
    fn started(start: Timestamp) -> Self {
        Self(start.as_nanos().min(Self::SLOW.0 - 1))
    }
}
