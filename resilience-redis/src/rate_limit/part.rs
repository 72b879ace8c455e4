//! This process' part of a quota.

use std::sync::atomic::{AtomicU64, Ordering};

use resilience_core::{
    Environment, InvalidPolicy, RateLimiter, Rejected,
    rate_limit::{Algorithm, Policy, Quota, Reservation, Term},
};

/// A part of one quota, of as many keys as the policy remembers.
///
/// Each quota has its own limiter, since of each another number is known to be used.
#[derive(Debug)]
pub(super) struct Part {
    limiter: RateLimiter<String>,
    capacity: usize,
    /// Units that an idle key can take at once.
    most: AtomicU64,
}

impl Part {
    /// All of the quota, for one process.
    pub(super) fn new(
        term: &Term,
        capacity: usize,
        environment: &Environment,
    ) -> Result<Self, InvalidPolicy> {
        Ok(Self {
            limiter: RateLimiter::new_in(policy(term, capacity), environment)?,
            capacity,
            most: AtomicU64::new(term.burst),
        })
    }

    /// Becomes the part of one of so many `nodes`.
    pub(super) fn resize(&self, term: &Term, nodes: u64) -> Result<(), InvalidPolicy> {
        let policy = policy(term, self.capacity).share(nodes);
        let most = policy.terms()?.quotas.first().map_or(0, |it| it.burst);
        self.limiter.reconfigure(policy)?;
        self.most.store(most, Ordering::Relaxed);
        Ok(())
    }

    /// Counts `used` units of the key `name` as taken, as far as others were not taken here.
    pub(super) fn seed(&self, name: &str, used: u64) {
        let remaining = self.limiter.peek(name).remaining;
        let ours = self.most.load(Ordering::Relaxed).saturating_sub(remaining);
        let missing = used.saturating_sub(ours).min(remaining);
        let _ = self.limiter.try_take_n(name, missing);
    }

    /// Gives back all units of the key `name`.
    pub(super) fn forget(&self, name: &str) {
        self.limiter.refund(name, u64::MAX);
    }

    pub(super) fn take(&self, name: &str, cost: u64) -> Result<Reservation<String>, Rejected> {
        self.limiter.reserve(name, cost)
    }
}

fn policy(term: &Term, capacity: usize) -> Policy {
    let quota = Quota::new(term.limit, term.window).algorithm(term.algorithm);
    let quota = match term.algorithm {
        Algorithm::Gcra => quota.burst(term.burst),
        _ => quota,
    };
    Policy::new(term.name, quota).capacity(capacity)
}
