use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use super::{
    limiter::RateLimiter,
    policy::Charge,
    shared::{Admission, Shared, Whose},
    state::{Booking, Standing},
};
use crate::{QuotaStatus, Timestamp};

/// Units that were taken or booked, and the way back.
pub(super) struct Held<K> {
    shared: Arc<Shared<K>>,
    whose: Whose<K>,
    booking: Option<Booking>,
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "answers tell it"))]
    pub(super) standing: Option<Standing>,
}

impl<K: Hash + Eq + Clone> Held<K> {
    pub(super) fn new(limiter: &RateLimiter<K>, whose: Whose<K>, admission: &Admission) -> Self {
        Self {
            shared: Arc::clone(&limiter.shared),
            whose,
            booking: admission.booking,
            standing: Some(admission.standing),
        }
    }

    /// Of a call that meets no quota.
    pub(super) fn nothing(limiter: &RateLimiter<K>) -> Self {
        Self {
            shared: Arc::clone(&limiter.shared),
            whose: Whose::Exempt,
            booking: None,
            standing: None,
        }
    }

    pub(super) fn wait(&self) -> Duration {
        self.booking.map_or(Duration::ZERO, |booking| booking.wait)
    }

    pub(super) fn charge(&self) -> Charge {
        self.shared.charge()
    }

    #[cfg(feature = "http")]
    pub(super) fn is_shadow(&self) -> bool {
        self.shared.is_shadow()
    }

    /// What was taken stays taken.
    pub(super) const fn keep(&mut self) {
        self.booking = None;
    }

    /// Gives everything back, once.
    pub(super) fn give_back(&mut self) {
        if let Some(booking) = self.booking.take() {
            self.shared.give_back(&self.whose, &booking);
        }
    }
}

/// By hand, since keys are nobody's business.
impl<K> fmt::Debug for Held<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("booking", &self.booking)
            .finish_non_exhaustive()
    }
}

/// Units booked for a time that may lie ahead.
///
/// Keep it until that time. Dropped earlier, it gives the units back, as a caller does who goes
/// away while it waits; dropped later, it does not, since then they may have been used.
#[derive(Debug)]
#[must_use = "a reservation that is dropped before its time gives its units back"]
pub struct Reservation<K: Hash + Eq + Clone = ()> {
    held: Held<K>,
    status: QuotaStatus,
    due: Timestamp,
}

impl<K: Hash + Eq + Clone> Reservation<K> {
    pub(super) fn new(limiter: &RateLimiter<K>, whose: Whose<K>, admission: &Admission) -> Self {
        let held = Held::new(limiter, whose, admission);
        Self {
            due: admission.now.saturating_add(held.wait()),
            status: admission.standing.status,
            held,
        }
    }

    /// How long, from when the reservation was made, until the units may be used.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.held.wait()
    }

    /// Where the tightest quota stood when the units were booked.
    #[must_use]
    pub const fn status(&self) -> QuotaStatus {
        self.status
    }

    /// Gives all units back that still count, also after their time.
    pub fn cancel(mut self) {
        self.held.give_back();
    }

    /// Waits until the units may be used, and uses them. The wait is Tokio's.
    ///
    /// Dropped before it is ready, it gives the units back.
    pub async fn ready(mut self) -> QuotaStatus {
        let left = self.due.saturating_since(self.held.shared.now());
        // Also when it is dropped just after its time: nobody has used them yet.
        self.due = Timestamp::MAX;
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
        self.held.keep();
        self.status
    }
}

impl<K: Hash + Eq + Clone> Drop for Reservation<K> {
    fn drop(&mut self) {
        if self.held.booking.is_some() && self.held.shared.now() < self.due {
            self.held.give_back();
        }
    }
}

/// Units that nobody can have used yet: dropped, they are given back.
#[derive(Debug)]
pub(super) struct Pending<K: Hash + Eq + Clone>(Option<Held<K>>);

impl<K: Hash + Eq + Clone> Pending<K> {
    pub(super) const fn new(held: Held<K>) -> Self {
        Self(Some(held))
    }

    /// Hands the units over to who uses them.
    pub(super) const fn use_now(&mut self) -> Held<K> {
        self.0.take().expect("polled after it was ready")
    }
}

impl<K: Hash + Eq + Clone> Drop for Pending<K> {
    fn drop(&mut self) {
        if let Some(held) = &mut self.0 {
            held.give_back();
        }
    }
}
