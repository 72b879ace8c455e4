use super::{shared::Shared, terms::Ticket};
use crate::{Outcome, Settle, Timestamp, clock::nanos, sync::Arc};

/// An admitted call, which is told once what became of it.
///
/// Dropped without having been told, the call was canceled: it has no vote, and a probe's permit
/// goes to the next caller. A permit belongs to the phase it was given in: where the circuit has
/// entered another one meanwhile, the call has no vote either.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a canceled call"]
pub struct Permit {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
    stopwatch: Stopwatch,
}

/// How long the call takes, in nanoseconds, where calls are timed.
#[derive(Clone, Copy, Debug)]
enum Stopwatch {
    Off,
    Running(Timestamp),
    Stopped(u64),
}

impl Permit {
    pub(super) fn new(shared: Arc<Shared>, ticket: Ticket) -> Self {
        let stopwatch = shared.start().map_or(Stopwatch::Off, Stopwatch::Running);
        Self {
            shared,
            ticket: Some(ticket),
            stopwatch,
        }
    }

    /// The call is over. It took as long as until now, or until
    /// [`answered`](Settle::answered).
    pub fn settle(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    #[inline]
    fn finish(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.settle(ticket, outcome, self.elapsed());
        }
    }

    #[inline]
    fn elapsed(&self) -> Option<u64> {
        match self.stopwatch {
            Stopwatch::Off => None,
            Stopwatch::Running(start) => Some(nanos(self.shared.now().saturating_since(start))),
            Stopwatch::Stopped(elapsed) => Some(elapsed),
        }
    }
}

impl Settle for Permit {
    #[inline]
    fn settle(self, outcome: Outcome) {
        Self::settle(self, outcome);
    }

    /// Stops the time: what the body or a slow reader takes is not the dependency's.
    fn answered(&mut self) {
        self.stopwatch = self.elapsed().map_or(Stopwatch::Off, Stopwatch::Stopped);
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.finish(Outcome::Canceled);
    }
}
