//! Who waits for loads of other processes.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

/// Loads of other processes that somebody here waits for.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    seats: Mutex<HashMap<u64, Vec<Seat>>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Seat {
    number: u64,
    _over: oneshot::Sender<()>,
}

/// One who waits; from its making on it misses nothing.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    mark: u64,
    number: u64,
    over: oneshot::Receiver<()>,
}

impl Waiters {
    /// Waits for the load of the key with this mark.
    pub(super) fn wait(&self, mark: u64) -> Waiter<'_> {
        let (sender, over) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let seat = Seat {
            number,
            _over: sender,
        };
        self.seats().entry(mark).or_default().push(seat);
        Waiter {
            waiters: self,
            mark,
            number,
            over,
        }
    }

    /// The load of the key with this mark is over.
    pub(super) fn wake(&self, mark: u64) {
        // Dropped outside of the lock: that is what wakes.
        let seats = self.seats().remove(&mark);
        drop(seats);
    }

    /// Nobody will hear of any load any more.
    pub(super) fn wake_all(&self) {
        let seats = std::mem::take(&mut *self.seats());
        drop(seats);
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<u64, Vec<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter<'_> {
    /// Until the load is over.
    pub(super) async fn over(&mut self) {
        // An error is how the end is told.
        let _ = (&mut self.over).await;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut seats = self.waiters.seats();
        if let Some(waiting) = seats.get_mut(&self.mark) {
            waiting.retain(|seat| seat.number != self.number);
            if waiting.is_empty() {
                seats.remove(&self.mark);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_is_heard_that_comes_before_the_wait_and_no_seat_stays_behind() {
        let waiters = Waiters::default();
        let (mut one, mut same, mut other) = (waiters.wait(7), waiters.wait(7), waiters.wait(8));
        waiters.wake(7);
        one.over().await;
        same.over().await;
        let none = timeout(Duration::from_secs(1), other.over()).await;
        assert!(none.is_err());
        waiters.wake_all();
        other.over().await;
        drop((one, same, other, waiters.wait(9)));
        assert!(waiters.seats().is_empty());
    }
}
