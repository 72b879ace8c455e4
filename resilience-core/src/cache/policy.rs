use std::time::Duration;

use super::{entry::Found, state::EarlyRefresh};
use crate::{InvalidPolicy, invalid::check_name};

/// How long values are good for, how many there are, and what happens while they are loaded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    pub(super) name: &'static str,
    pub(super) ttl: Duration,
    pub(super) jitter: f64,
    pub(super) negative_ttl: Duration,
    pub(super) negative_jitter: f64,
    pub(super) failure_ttl: Duration,
    pub(super) stale_while_revalidate: Duration,
    pub(super) stale_if_error: Duration,
    early_refresh: EarlyRefresh,
    pub(super) soft_timeout: Option<Duration>,
    pub(super) hard_timeout: Duration,
    pub(super) failure_throttle: Duration,
    pub(super) on_leader_gone: OnLeaderGone,
    pub(super) capacity: u64,
    pub(super) expected_entries: usize,
}

/// What becomes of a load when the caller who began it goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnLeaderGone {
    /// It goes on in a task of its own, and its value is stored.
    #[default]
    KeepLoading,
    /// It ends. One of those who wait begins again with its own loader; where nobody waits,
    /// nothing is loaded.
    HandOver,
}

impl Policy {
    /// Values that are fresh for `ttl`, give or take a tenth.
    ///
    /// `name` stands in refusals, metrics and logs.
    #[must_use]
    pub const fn new(name: &'static str, ttl: Duration) -> Self {
        Self {
            name,
            ttl,
            jitter: 0.1,
            negative_ttl: Duration::from_secs(5),
            negative_jitter: 0.1,
            failure_ttl: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            early_refresh: EarlyRefresh::Probabilistic { beta: 1.0 },
            soft_timeout: None,
            hard_timeout: Duration::from_secs(10),
            failure_throttle: Duration::from_secs(1),
            on_leader_gone: OnLeaderGone::KeepLoading,
            capacity: 10_000,
            expected_entries: 10_000,
        }
    }

    /// Sets by which share of it, from 0 to 1, a time to live is moved in either direction, so
    /// that what was loaded together does not end together. Default 0.1.
    #[must_use]
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Sets for how long it is known that a key has no value. Zero is not to remember it.
    /// Default 5 s.
    ///
    /// What is created meanwhile must be [inserted](super::Cache::insert) or
    /// [invalidated](super::Cache::invalidate), else it stays unseen for so long.
    #[must_use]
    pub const fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = ttl;
        self
    }

    /// Sets by which share of it, from 0 to 1, a negative time to live is moved. Default 0.1.
    #[must_use]
    pub const fn negative_jitter(mut self, share: f64) -> Self {
        self.negative_jitter = share;
        self
    }

    /// Sets for how long a key whose load failed, and which has no stale value, is refused
    /// without another load. Default zero: errors are not cached.
    #[must_use]
    pub const fn failure_ttl(mut self, ttl: Duration) -> Self {
        self.failure_ttl = ttl;
        self
    }

    /// Sets for how long after its end a value is served at once, while one load runs in the
    /// background. Default zero.
    #[must_use]
    pub const fn stale_while_revalidate(mut self, stale: Duration) -> Self {
        self.stale_while_revalidate = stale;
        self
    }

    /// Lets no value ever expire: past its time to live it is served, however old, and loaded
    /// again in the background by whoever reads it.
    #[must_use]
    pub const fn never_expire(self) -> Self {
        self.stale_while_revalidate(Duration::MAX)
    }

    /// Sets for how long after its end a value is served where loading fails, or takes longer
    /// than the [`soft_timeout`](Self::soft_timeout). Default zero.
    #[must_use]
    pub const fn stale_if_error(mut self, stale: Duration) -> Self {
        self.stale_if_error = stale;
        self
    }

    /// Sets when a value is loaded again before its end. Default: by chance, as its load took
    /// long ([`EarlyRefresh::Probabilistic`] with a beta of 1).
    #[must_use]
    pub const fn early_refresh(mut self, early: EarlyRefresh) -> Self {
        self.early_refresh = early;
        self
    }

    /// Sets how long a caller waits for a load where there is a stale value to be had instead.
    /// The load goes on. Default: as long as for any load.
    #[must_use]
    pub const fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.soft_timeout = Some(timeout);
        self
    }

    /// Sets how long a load may take, and how long a caller waits for one. What a second tier takes
    /// before it is not counted: that is limited by the [tier's policy](super::TierPolicy). Default
    /// 10 s.
    #[must_use]
    pub const fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.hard_timeout = timeout;
        self
    }

    /// Sets how long after a failed load no other is made of a key whose stale value is served.
    /// Default 1 s.
    #[must_use]
    pub const fn failure_throttle(mut self, throttle: Duration) -> Self {
        self.failure_throttle = throttle;
        self
    }

    /// Sets what becomes of a load whose caller goes away. Default: it goes on.
    #[must_use]
    pub const fn on_leader_gone(mut self, then: OnLeaderGone) -> Self {
        self.on_leader_gone = then;
        self
    }

    /// Sets how much all entries may weigh together. Default 10 000; an entry weighs 1 unless its
    /// [loader](super::Loaded::weight) says otherwise.
    ///
    /// The table has shards, each with its part of the capacity. An entry that does not fit into
    /// the part is not stored, so let the capacity be a hundred times the largest weight or more.
    #[must_use]
    pub const fn capacity(mut self, weight: u64) -> Self {
        self.capacity = weight;
        self
    }

    /// Sets how many entries the capacity is likely to hold, where they do not weigh 1 each.
    /// Default 10 000. It decides the number of shards and how much the table remembers of keys
    /// that it evicted.
    #[must_use]
    pub const fn expected_entries(mut self, entries: usize) -> Self {
        self.expected_entries = entries;
        self
    }

    /// What stands in refusals, metrics and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// For how long what is known of a key is fresh, and by which share of it that is moved.
    pub(super) const fn life<V>(&self, found: &Found<V>) -> (Duration, f64) {
        match found {
            Found::Value(_) => (self.ttl, self.jitter),
            Found::Absent => (self.negative_ttl, self.negative_jitter),
            Found::Failed(_) | Found::Private => (Duration::ZERO, 0.0),
        }
    }

    /// When what is known of a key is loaded again before its end: only values are.
    pub(super) const fn early<V>(&self, found: &Found<V>) -> EarlyRefresh {
        match found {
            Found::Value(_) => self.early_refresh,
            Found::Absent | Found::Failed(_) | Found::Private => EarlyRefresh::Never,
        }
    }

    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        check_name(self.name)?;
        for (field, share) in [
            ("jitter", self.jitter),
            ("negative_jitter", self.negative_jitter),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(InvalidPolicy::new(field, "must be a share from 0 to 1"));
            }
        }
        let early = match self.early_refresh {
            EarlyRefresh::Never => None,
            EarlyRefresh::AtAge(share) => {
                (!(share > 0.0 && share <= 1.0)).then_some("must be a share above 0, at most 1")
            }
            EarlyRefresh::Probabilistic { beta } => (!(beta.is_finite() && beta >= 0.0))
                .then_some("must have a finite beta, at least 0"),
        };
        if let Some(problem) = early {
            return Err(InvalidPolicy::new("early_refresh", problem));
        }
        if self.hard_timeout.is_zero() {
            return Err(InvalidPolicy::new(
                "hard_timeout",
                "must leave a load some time",
            ));
        }
        if self.capacity == 0 {
            return Err(InvalidPolicy::new("capacity", "must be at least 1"));
        }
        if self.capacity > MAX_CAPACITY {
            return Err(InvalidPolicy::new("capacity", "must be at most 2^48"));
        }
        if self.expected_entries == 0 || self.expected_entries as u64 > MAX_CAPACITY {
            return Err(InvalidPolicy::new(
                "expected_entries",
                "must be at least 1, at most 2^48",
            ));
        }
        Ok(())
    }
}

/// Weights are summed up and multiplied by shares; up to here nothing is lost on the way.
const MAX_CAPACITY: u64 = 1 << 48;
