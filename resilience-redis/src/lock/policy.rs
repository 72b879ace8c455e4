use std::time::Duration;

use resilience_core::InvalidPolicy;

/// What a set of locks is called, and how long one lives without its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) name: &'static str,
    pub(super) ttl: Duration,
}

impl Policy {
    /// Locks that live for 10 s after their holder was last heard of.
    ///
    /// `name` stands in keys and refusals.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            ttl: Duration::from_secs(10),
        }
    }

    /// Sets how long a lock stays when its holder has died: 100 ms to a day. Default: 10 s.
    ///
    /// Renewed every third of it, so it should be several times as long as the server may be away:
    /// a failover takes seconds.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        if self.ttl < SHORTEST || self.ttl > LONGEST {
            return Err(InvalidPolicy::new("ttl", "must be 100 ms to a day"));
        }
        Ok(())
    }
}

/// Three renewals fit, each with time for a round trip.
const SHORTEST: Duration = Duration::from_millis(100);
/// 24 × 60 × 60 s: who needs longer is renewed.
const LONGEST: Duration = Duration::from_secs(86_400);
