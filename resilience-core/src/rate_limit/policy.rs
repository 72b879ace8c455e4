use std::time::Duration;

use super::{
    quota::{Quota, Rule},
    state::MAX_QUOTAS,
};
use crate::{InvalidPolicy, invalid::check_name};

/// What a [`RateLimiter`](super::RateLimiter) allows.
///
/// ```
/// # fn main() -> Result<(), resilience_core::InvalidPolicy> {
/// use resilience_core::rate_limit::{Policy, Quota, RateLimiter};
///
/// // Ten a second and two hundred a minute for each user, a thousand a second for all of them.
/// let policy = Policy::new("orders", Quota::per_second(10))
///     .and(Quota::per_minute(200).named("orders-minute"))
///     .global(Quota::per_second(1000).named("orders-all"));
/// let limiter: RateLimiter<u64> = RateLimiter::new(policy)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: &'static str,
    quotas: Vec<Quota>,
    tiers: Vec<(&'static str, Quota)>,
    global: Option<Quota>,
    max_wait: Duration,
    capacity: usize,
    mode: Mode,
    missing_key: MissingKey,
    charge: Charge,
}

/// Whether a policy refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Calls over the quota are refused, or wait. The default.
    #[default]
    Enforce,
    /// Calls over the quota go on at once and take nothing; each is counted, and reported as
    /// [`Event::WouldReject`](crate::Event::WouldReject), also where it would have had to wait.
    Shadow,
}

/// What becomes of a request that names no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MissingKey {
    /// All such requests share the quotas of one key. The default.
    #[default]
    Shared,
    /// Refused, as [`Reason::MissingKey`](crate::Reason::MissingKey).
    Refuse,
    /// Let through; the quota of all keys, where there is one, holds for it as well.
    Admit,
}

/// Which calls a quota is charged for.
///
/// Whatever is charged in the end, units are taken before the call, so that calls under way at
/// once cannot exceed the quota together, and given back by its outcome. A call that an inner
/// layer refused, or that a classifier ignores, is always given back; a call whose future was
/// dropped never is, since its work may have been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Charge {
    /// Every call that was made. The default.
    #[default]
    Every,
    /// Only calls that failed, by the layer's classifier: failed logins.
    Failures,
}

impl Policy {
    /// `quota` for each key, without waiting.
    ///
    /// The name stands in refusals, in answers and in metrics: printable ASCII without quotes or
    /// backslashes.
    #[must_use]
    pub fn new(name: &'static str, quota: Quota) -> Self {
        Self {
            name,
            quotas: vec![quota],
            tiers: Vec::new(),
            global: None,
            max_wait: Duration::ZERO,
            capacity: 65_536,
            mode: Mode::Enforce,
            missing_key: MissingKey::Shared,
            charge: Charge::Every,
        }
    }

    /// Adds another quota for each key, of four at most: a call takes from all of them or from
    /// none.
    #[must_use]
    pub fn and(mut self, quota: Quota) -> Self {
        self.quotas.push(quota);
        self
    }

    /// Sets a quota that all keys share: a call takes from it and from its key's, or from none.
    /// Default: none.
    #[must_use]
    pub const fn global(mut self, quota: Quota) -> Self {
        self.global = Some(quota);
        self
    }

    /// Adds a tier: its keys have `quota` in place of the first.
    ///
    /// Which keys these are is said to [`RateLimiter::with_tiers`](super::RateLimiter::with_tiers).
    #[must_use]
    pub fn tier(mut self, name: &'static str, quota: Quota) -> Self {
        self.tiers.push((name, quota));
        self
    }

    /// Sets how long a call may wait for its units. Default: zero, which refuses at once.
    ///
    /// A call that would have to wait longer is refused at once and books nothing. In a store that
    /// other processes share, units are booked for nobody: a call may wait in vain, and is refused then.
    #[must_use]
    pub const fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// Sets how many keys are remembered. Default: 65 536.
    ///
    /// Rounded down to a multiple of up to 64 shards. When it is full, keys that use the least of
    /// their quotas are forgotten first and keys at their limit never; new keys that find no place
    /// then share a few quotas among themselves.
    #[must_use]
    pub const fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets whether the policy refuses. Default: [`Mode::Enforce`].
    #[must_use]
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets what becomes of a request that names no key. Default: [`MissingKey::Shared`].
    #[must_use]
    pub const fn missing_key(mut self, missing_key: MissingKey) -> Self {
        self.missing_key = missing_key;
        self
    }

    /// Sets which calls are charged. Default: [`Charge::Every`].
    #[must_use]
    pub const fn charge(mut self, charge: Charge) -> Self {
        self.charge = charge;
        self
    }

    /// The name of the policy.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What one of `shares` takers that know nothing of each other may use: of each quota, and of
    /// its burst, one part in so many, but never less than one unit.
    ///
    /// So all of them together never use more than the policy allows, or one unit each.
    #[must_use]
    pub fn share(mut self, shares: u64) -> Self {
        let tiers = self.tiers.iter_mut().map(|(_, quota)| quota);
        let quotas = self.quotas.iter_mut().chain(tiers).chain(&mut self.global);
        quotas.for_each(|quota| *quota = quota.share(shares));
        self
    }

    pub(super) fn check(self) -> Result<Checked, InvalidPolicy> {
        check_name(self.name)?;
        if self.capacity == 0 {
            let problem = "must not be zero: without it no limit would hold";
            return Err(InvalidPolicy::new("capacity", problem));
        }
        if self.quotas.len() >= MAX_QUOTAS {
            return Err(InvalidPolicy::new("and", "adds up to four quotas at most"));
        }
        let mut tiers = Vec::new();
        for (tier, quota) in &self.tiers {
            check_name(tier)?;
            if tiers.iter().any(|(other, _)| other == tier) {
                return Err(InvalidPolicy::new("tier", "is there twice"));
            }
            tiers.push((*tier, quota.rule(self.name)?));
        }
        let rule = |quota: Quota| quota.rule(self.name);
        let quotas: Result<_, _> = self.quotas.iter().copied().map(rule).collect();
        Ok(Checked {
            rules: Rules {
                quotas: quotas?,
                tiers,
                global: self.global.map(rule).transpose()?,
            },
            name: self.name,
            max_wait: self.max_wait,
            capacity: self.capacity,
            mode: self.mode,
            missing_key: self.missing_key,
            charge: self.charge,
        })
    }
}

/// A policy that was checked.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) name: &'static str,
    pub(super) rules: Rules,
    pub(super) max_wait: Duration,
    pub(super) capacity: usize,
    pub(super) mode: Mode,
    pub(super) missing_key: MissingKey,
    pub(super) charge: Charge,
}

/// The rules in force.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) quotas: Vec<Rule>,
    pub(super) tiers: Vec<(&'static str, Rule)>,
    pub(super) global: Option<Rule>,
}

impl Rules {
    /// The rules of a key, whose first is its tier's.
    pub(super) fn of_tier(&self, tier: Tier) -> impl Iterator<Item = Rule> {
        let first = match tier {
            Tier::None => self.quotas[0],
            Tier::Index(index) => self.tiers[index].1,
        };
        std::iter::once(first).chain(self.quotas[1..].iter().copied())
    }

    /// Whether what was used under `self` can be carried over to `other`.
    pub(super) fn is_shaped_like(&self, other: &Self) -> bool {
        let names = |rules: &Self| rules.tiers.iter().map(|tier| tier.0).collect::<Vec<_>>();
        self.quotas.len() == other.quotas.len()
            && self.global.is_some() == other.global.is_some()
            && names(self) == names(other)
    }
}

/// Whose quotas a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// The policy's own.
    None,
    /// Those of one of its tiers.
    Index(usize),
}
