//! Where a flight waits for whoever asks next.

use std::{
    mem::replace,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

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

    /// A flight waits to be called; whether it `is_there` already it knows itself. Says whether it was,
    /// or need not wait: another does, or nobody will call any more.
    pub(super) fn poll_called(&self, is_there: bool, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        match (&mut *state, is_there) {
            (State::Free, _) => *state = State::Taken(context.waker().clone()),
            (State::Taken(waker), true) => waker.clone_from(context.waker()),
            (State::Called, true) => {
                *state = State::Free;
                return Poll::Ready(true);
            }
            (State::Taken(_) | State::Called, false) | (State::Closed, _) => {
                return Poll::Ready(false);
            }
        }
        Poll::Pending
    }

    /// The flight that is there goes away. Says whether it was called, and somebody counts on it.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.state();
        let was_called = matches!(*state, State::Called);
        if !matches!(*state, State::Closed) {
            *state = State::Free;
        }
        was_called
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

#[cfg(test)]
mod tests {
    use super::*;

    fn comes(stand: &Stand) -> Poll<bool> {
        stand.poll_called(false, &mut Context::from_waker(Waker::noop()))
    }

    fn waits(stand: &Stand) -> Poll<bool> {
        stand.poll_called(true, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_first_waits_and_is_called_once() {
        let stand = Stand::default();
        assert!(!stand.call());
        assert_eq!(comes(&stand), Poll::Pending);
        assert_eq!(waits(&stand), Poll::Pending);
        // Another.
        assert_eq!(comes(&stand), Poll::Ready(false));
        assert!(stand.call());
        assert!(!stand.call());
        // Called, the first still has the place.
        assert_eq!(comes(&stand), Poll::Ready(false));
        assert_eq!(waits(&stand), Poll::Ready(true));
        assert_eq!(comes(&stand), Poll::Pending);
        assert!(stand.call());
    }

    #[test]
    fn who_goes_away_leaves_the_place_to_others() {
        let stand = Stand::default();
        for called in [false, true] {
            assert_eq!(comes(&stand), Poll::Pending);
            assert_eq!(called && stand.call(), called);
            assert_eq!(stand.leave(), called);
            assert!(!stand.call());
        }
        assert_eq!(comes(&stand), Poll::Pending);
    }

    #[test]
    fn nobody_waits_where_nobody_will_call() {
        let stand = Stand::default();
        assert_eq!(comes(&stand), Poll::Pending);
        stand.close();
        assert!(!stand.call());
        assert_eq!(waits(&stand), Poll::Ready(false));
        assert_eq!(comes(&stand), Poll::Ready(false));
        assert!(!stand.leave());
        assert_eq!(comes(&stand), Poll::Ready(false));
    }
}
