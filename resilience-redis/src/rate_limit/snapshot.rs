use super::limiter::RateLimiter;

/// How a limiter stands in this process: a level now, and sums since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Processes that have the limiter, this one included: see [`RateLimiter::nodes`].
    pub nodes: u64,
    /// Units that were taken ahead of their callers.
    pub leased: u64,
    /// Of these, units that went back unused.
    pub returned: u64,
    /// Of these, units that nobody used and that could not be given back: they count until their
    /// window is over.
    pub lost: u64,
}

impl RateLimiter {
    /// How the limiter stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let [leased, returned, lost] = self.0.lane.leases.counts();
        Snapshot {
            nodes: self.nodes(),
            leased,
            returned,
            lost,
        }
    }
}
