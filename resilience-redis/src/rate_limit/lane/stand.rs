//! Where a flight waits for whoever asks next.

use std::{
    future::Future,
    mem::replace,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use super::{Lane, flight::Flight};

/// Room for one flight that found nothing left to ask: to call it is cheaper than to make one more
/// task, which is all that a caller pays for who comes alone.
///
/// Not the caller itself asks, although that were cheaper still: one that is not polled for a while
/// would hold up all who came after it, and one that goes away those who count on its answer.
#[derive(Debug, Default)]
pub(super) struct Stand(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Free,
    /// A flight is there.
    Taken(Waker),
    /// It is to depart.
    Called,
    /// Nobody will call any more.
    Closed,
}

impl Stand {
    /// Calls the flight that is there, if one is.
    pub(super) fn call(&self) -> bool {
        let mut state = self.state();
        if !matches!(*state, State::Taken(_)) {
            return false;
        }
        let called = replace(&mut *state, State::Called);
        drop(state);
        if let State::Taken(waker) = called {
            waker.wake();
        }
        true
    }

    /// Whoever is there need not wait any longer.
    pub(super) fn close(&self) {
        let left = replace(&mut *self.state(), State::Closed);
        if let State::Taken(waker) = left {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flight that waits to be called; it does not keep the lane.
///
/// Gives the lane that calls it, or nothing where it need not wait: another does, or the lane is gone.
#[must_use = "futures do nothing unless polled"]
pub(super) struct Waiting {
    stand: Arc<Stand>,
    lane: Weak<Lane>,
    is_there: bool,
}

impl Waiting {
    pub(super) fn new(lane: &Arc<Lane>) -> Self {
        Self {
            stand: Arc::clone(lane.stand()),
            lane: Arc::downgrade(lane),
            is_there: false,
        }
    }
}

impl Future for Waiting {
    type Output = Option<Arc<Lane>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            stand,
            lane,
            is_there,
        } = &mut *self;
        let mut state = stand.state();
        match (&mut *state, *is_there) {
            (State::Free, _) => *state = State::Taken(context.waker().clone()),
            (State::Taken(waker), true) => waker.clone_from(context.waker()),
            (State::Called, true) => {
                *state = State::Free;
                *is_there = false;
                return Poll::Ready(lane.upgrade());
            }
            (State::Taken(_) | State::Called, false) | (State::Closed, _) => {
                *is_there = false;
                return Poll::Ready(None);
            }
        }
        *is_there = true;
        Poll::Pending
    }
}

impl Drop for Waiting {
    /// The runtime goes down: who is called now will not depart.
    fn drop(&mut self) {
        if !self.is_there {
            return;
        }
        let called = {
            let mut state = self.stand.state();
            let called = matches!(*state, State::Called);
            if !matches!(*state, State::Closed) {
                *state = State::Free;
            }
            called
        };
        if called && let Some(lane) = self.lane.upgrade() {
            drop(Flight::new(lane));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(stand: &Arc<Stand>) -> Waiting {
        Waiting {
            stand: Arc::clone(stand),
            lane: Weak::new(),
            is_there: false,
        }
    }

    fn poll(waiting: &mut Waiting) -> Poll<bool> {
        let mut context = Context::from_waker(Waker::noop());
        let polled = Pin::new(waiting).poll(&mut context);
        polled.map(|lane| lane.is_some())
    }

    #[test]
    fn the_first_waits_and_is_called_once() {
        let stand = Arc::default();
        let (mut first, mut second) = (waiting(&stand), waiting(&stand));
        assert!(!stand.call());
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut second).is_ready());
        assert!(stand.call());
        assert!(!stand.call());
        // Called, it still has the place.
        assert!(poll(&mut second).is_ready());
        assert!(poll(&mut first).is_ready());
        assert!(poll(&mut second).is_pending());
        assert!(stand.call());
    }

    #[test]
    fn who_goes_away_leaves_the_place_to_others() {
        let stand = Arc::default();
        for called in [false, true] {
            let mut first = waiting(&stand);
            assert!(poll(&mut first).is_pending());
            assert_eq!(called && stand.call(), called);
            drop(first);
            assert!(!stand.call());
        }
        assert!(poll(&mut waiting(&stand)).is_pending());
    }

    #[test]
    fn nobody_waits_where_nobody_will_call() {
        let stand = Arc::default();
        let mut first = waiting(&stand);
        assert!(poll(&mut first).is_pending());
        stand.close();
        assert!(!stand.call());
        assert!(poll(&mut first).is_ready());
        assert!(poll(&mut waiting(&stand)).is_ready());
    }
}
