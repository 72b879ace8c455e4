//! This process' part of a quota.

use std::{
    hash::{Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use resilience_core::{
    Environment, InvalidPolicy, RateLimiter, Rejected,
    rate_limit::{Algorithm, Policy, Quota, Reservation, Term},
};

use crate::rate_limit::tiers::Tier;

/// A part of one quota, of as many keys as the policy remembers.
///
/// Each quota has its own limiter, since of each another number is known to be used. That of the
/// first has the tiers as well: a key that moves to another has used there what it used before.
#[derive(Debug)]
pub(super) struct Part {
    limiter: RateLimiter<Key>,
    capacity: usize,
    /// Units that an idle key can take at once, without a tier and in each.
    most: Box<[AtomicU64]>,
}

/// A key as a part knows it: by its name, in whatever tier it is.
#[derive(Clone, Debug)]
pub(super) struct Key {
    name: String,
    tier: Tier,
}

/// A quota, and those that keys of tiers have in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole<'a> {
    pub(super) term: &'a Term,
    pub(super) tiers: &'a [(&'static str, Term)],
}

impl Part {
    /// All of `whole`, for one process.
    pub(super) fn new(
        whole: Whole<'_>,
        capacity: usize,
        environment: &Environment,
    ) -> Result<Self, InvalidPolicy> {
        let policy = whole.policy(capacity);
        let limiter = if whole.tiers.is_empty() {
            RateLimiter::new_in(policy, environment)
        } else {
            let names: Box<[_]> = whole.tiers.iter().map(|(name, _)| *name).collect();
            // No tier has the empty name.
            let name_of = move |key: &Key| key.tier.index().map_or("", |index| names[index]);
            RateLimiter::with_tiers(policy, environment, name_of)
        };
        Ok(Self {
            limiter: limiter?,
            capacity,
            most: whole.terms().map(|it| AtomicU64::new(it.burst)).collect(),
        })
    }

    /// Becomes the part of one of so many `nodes`.
    pub(super) fn resize(&self, whole: Whole<'_>, nodes: u64) -> Result<(), InvalidPolicy> {
        let policy = whole.policy(self.capacity).share(nodes);
        let terms = policy.terms()?;
        self.limiter.reconfigure(policy)?;
        let tiers = terms.tiers.iter().map(|(_, term)| term);
        for (most, term) in self.most.iter().zip(terms.quotas.iter().chain(tiers)) {
            most.store(term.burst, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Counts `used` units of `key` as taken, as far as others were not taken here.
    pub(super) fn seed(&self, key: &Key, used: u64) {
        let (ours, remaining) = self.standing(key);
        let missing = used.saturating_sub(ours).min(remaining);
        let _ = self.limiter.try_take_n(key, missing);
    }

    /// Whether some of `key` is used here, in whatever tier that was.
    pub(super) fn is_used(&self, key: &Key) -> bool {
        self.standing(key).0 > 0
    }

    /// Units of `key` that are used here, and that are left.
    fn standing(&self, key: &Key) -> (u64, u64) {
        let remaining = self.limiter.peek(key).remaining;
        let most = key.tier.index().map_or(0, |index| index + 1);
        let most = self.most.get(most).unwrap_or(&self.most[0]);
        let used = most.load(Ordering::Relaxed).saturating_sub(remaining);
        (used, remaining)
    }

    /// Gives back so many units of `key`, the oldest.
    pub(super) fn refund(&self, key: &Key, units: u64) {
        self.limiter.refund(key, units);
    }

    pub(super) fn take(&self, key: &Key, cost: u64) -> Result<Reservation<Key>, Rejected> {
        self.limiter.reserve(key, cost)
    }
}

impl Key {
    pub(super) fn new(name: &str, tier: Tier) -> Self {
        let name = name.to_owned();
        Self { name, tier }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl<'a> Whole<'a> {
    fn terms(self) -> impl Iterator<Item = &'a Term> {
        let tiers = self.tiers.iter().map(|(_, term)| term);
        std::iter::once(self.term).chain(tiers)
    }

    fn policy(self, capacity: usize) -> Policy {
        let policy = Policy::new(self.term.name, quota(self.term)).capacity(capacity);
        let tiers = self.tiers.iter();
        tiers.fold(policy, |policy, (name, term)| {
            policy.tier(name, quota(term))
        })
    }
}

fn quota(term: &Term) -> Quota {
    let quota = Quota::new(term.limit, term.window).named(term.name);
    let quota = quota.algorithm(term.algorithm);
    match term.algorithm {
        Algorithm::Gcra => quota.burst(term.burst),
        _ => quota,
    }
}
