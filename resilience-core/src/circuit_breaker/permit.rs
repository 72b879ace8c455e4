use super::{shared::Shared, terms::Ticket};
use crate::{Outcome, Settle, Timestamp, striped::Hold};

/// An admitted call, which is told once what became of it.
///
/// Dropped without having been told, the call was canceled: it has no vote, and a probe's permit
/// goes to the next caller. A permit belongs to the phase it was given in: where the circuit has
/// entered another one meanwhile, the call has no vote either.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a canceled call"]
pub struct Permit(Option<Call>);

/// A call under way.
#[derive(Debug)]
struct Call {
    shared: Hold<Shared>,
    ticket: Ticket,
    pace: Pace,
    begun: Timestamp,
}

/// What is known of how long a call takes.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// Nobody asks.
    Untimed,
    /// It depends on when the answer comes.
    Open,
    /// The answer was there in time.
    Quick,
    /// It was not.
    Slow,
}

impl Permit {
    #[inline]
    pub(super) fn new(shared: Hold<Shared>, ticket: Ticket) -> Self {
        let begun = shared.start();
        let pace = begun.map_or(Pace::Untimed, |_| Pace::Open);
        Self(Some(Call {
            shared,
            ticket,
            pace,
            begun: begun.unwrap_or_default(),
        }))
    }

    /// The call is over. It took as long as until now, or until
    /// [`answered`](Settle::answered).
    #[inline]
    pub fn settle(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    #[inline]
    fn finish(&mut self, outcome: Outcome) {
        if let Some(call) = self.0.take() {
            call.shared.settle(call.ticket, outcome, call.is_slow());
        }
    }
}

impl Call {
    #[inline]
    fn is_slow(&self) -> bool {
        match self.pace {
            Pace::Untimed | Pace::Quick => false,
            Pace::Open => self.shared.is_slow(self.begun),
            Pace::Slow => true,
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
        if let Some(call) = &mut self.0
            && matches!(call.pace, Pace::Open)
        {
            let slow = call.is_slow();
            call.pace = if slow { Pace::Slow } else { Pace::Quick };
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.finish(Outcome::Canceled);
    }
}
