use std::time::Duration;

use resilience_core::InvalidPolicy;

/// What a set of stocks is called, and for how long its words hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) name: &'static str,
    pub(super) reservation: Duration,
    pub(super) life: Duration,
    pub(super) remember: Duration,
}

impl Policy {
    /// Reservations of 30 s, counts that are believed for a minute, orders that are remembered for
    /// ten minutes.
    ///
    /// `name` stands in keys.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            reservation: Duration::from_secs(30),
            life: Duration::from_secs(60),
            remember: Duration::from_secs(600),
        }
    }

    /// Sets how long units are kept for an order that is not confirmed: 1 ms to a day.
    /// Default: 30 s.
    ///
    /// Longer than the database takes to say that they are sold.
    #[must_use]
    pub const fn reservation(mut self, reservation: Duration) -> Self {
        self.reservation = reservation;
        self
    }

    /// Sets how long counts are believed after they were written: 1 ms to a day. Default: a minute.
    ///
    /// The longest time for which a count can be wrong.
    #[must_use]
    pub const fn life(mut self, life: Duration) -> Self {
        self.life = life;
        self
    }

    /// Sets how long an order that is over is known by its id: 1 ms to 30 days. Default: ten
    /// minutes.
    ///
    /// Longer than anybody tries again.
    #[must_use]
    pub const fn remember(mut self, remember: Duration) -> Self {
        self.remember = remember;
        self
    }

    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        for (field, time) in [("reservation", self.reservation), ("life", self.life)] {
            if !(SHORTEST..=DAY).contains(&time) {
                return Err(InvalidPolicy::new(field, "must be 1 ms to a day"));
            }
        }
        if !(SHORTEST..=DAY * 30).contains(&self.remember) {
            return Err(InvalidPolicy::new("remember", "must be 1 ms to 30 days"));
        }
        Ok(())
    }
}

/// The server counts in milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);
/// 24 × 60 × 60 s.
const DAY: Duration = Duration::from_secs(86_400);
