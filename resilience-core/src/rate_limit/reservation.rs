use std::{fmt, hash::Hash, time::Duration};

#[cfg(feature = "http")]
use super::state::Standing;
use super::{
    booking::Booking,
    limiter::RateLimiter,
    shared::{Admission, Shared, Whose},
};
use crate::{QuotaStatus, Timestamp, address::Address};

/// Units that were taken or booked, and the way back.
pub(super) struct Held<K> {
    limiter: Address<Shared<K>>,
    whose: Whose<K>,
    booking: Option<Booking>,
}

impl<K: Hash + Eq + Clone + Send + 'static> Held<K> {
    #[inline]
    pub(super) fn new(shared: &Shared<K>, whose: Whose<K>, booking: Option<Booking>) -> Self {
        Self {
            limiter: shared.address(),
            whose,
            booking,
        }
    }

    /// Where the quotas stand that this was taken from; `None` where the limiter is gone or limits
    /// nobody.
    #[cfg(feature = "http")]
    pub(super) fn standing(&self) -> Option<Standing> {
        let shared = self.limiter.find()?;
        (!shared.is_shadow()).then(|| shared.standing(&self.whose))
    }

    /// What was taken stays taken.
    #[inline]
    pub(super) const fn keep(&mut self) {
        self.booking = None;
    }

    /// Gives everything back, once. A limiter that is gone needs nothing back.
    pub(super) fn give_back(&mut self) {
        if let Some(booking) = self.booking.take()
            && let Some(shared) = self.limiter.find()
        {
            shared.give_back(&self.whose, &booking);
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
pub struct Reservation<K: Hash + Eq + Clone + Send + 'static = ()> {
    limiter: RateLimiter<K>,
    held: Held<K>,
    status: QuotaStatus,
    wait: Duration,
    due: Timestamp,
}

impl<K: Hash + Eq + Clone + Send + 'static> Reservation<K> {
    pub(super) fn new(
        limiter: &RateLimiter<K>,
        whose: Whose<K>,
        now: Timestamp,
        admission: &Admission,
    ) -> Self {
        Self {
            held: Held::new(&limiter.shared, whose, admission.booking),
            limiter: limiter.clone(),
            status: admission.status,
            wait: admission.wait,
            due: now.saturating_add(admission.wait),
        }
    }

    /// How long, from when the reservation was made, until the units may be used.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        self.wait
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
        let left = self.due.saturating_since(self.limiter.shared.now());
        // Also when it is dropped just after its time: nobody has used them yet.
        self.due = Timestamp::MAX;
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
        self.held.keep();
        self.status
    }
}

impl<K: Hash + Eq + Clone + Send + 'static> Drop for Reservation<K> {
    fn drop(&mut self) {
        if self.held.booking.is_some() && self.limiter.shared.now() < self.due {
            self.held.give_back();
        }
    }
}

/// Units that nobody can have used yet: dropped, they are given back.
#[derive(Debug)]
pub(super) struct Pending<K: Hash + Eq + Clone + Send + 'static>(Option<Held<K>>);

impl<K: Hash + Eq + Clone + Send + 'static> Pending<K> {
    pub(super) const fn new(held: Held<K>) -> Self {
        Self(Some(held))
    }

    /// Hands the units over to who uses them.
    pub(super) const fn use_now(&mut self) -> Held<K> {
        self.0.take().expect("polled after it was ready")
    }
}

impl<K: Hash + Eq + Clone + Send + 'static> Drop for Pending<K> {
    fn drop(&mut self) {
        if let Some(held) = &mut self.0 {
            held.give_back();
        }
    }
}
