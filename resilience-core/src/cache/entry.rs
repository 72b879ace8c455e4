use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    Policy,
    heard::Stamp,
    state::{Age, Life, Lifetime},
    tags::{Tag, Tags},
};
use crate::{Rejected, Timestamp};

/// A value on its way into the cache, with what its loader knows better than the policy.
///
/// Made from any value with `From`; what is not set follows the policy.
#[derive(Clone, Debug)]
pub struct Loaded<V> {
    pub(super) value: V,
    pub(super) terms: Terms,
}

/// What a loader says beside its value.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    ttl: Option<Duration>,
    stale_while_revalidate: Option<Duration>,
    stale_if_error: Option<Duration>,
    jitter: Option<f64>,
    pub(super) weight: u64,
    tags: Vec<Cow<'static, str>>,
}

impl<V> Loaded<V> {
    /// `value`, of weight 1, as the policy says.
    #[must_use]
    pub const fn new(value: V) -> Self {
        Self {
            value,
            terms: Terms::new(),
        }
    }

    /// Sets for how long it is fresh; jitter still applies. Zero is not to be stored.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.terms.ttl = Some(ttl);
        self
    }

    /// Sets for how long after its end it is served at once while it is loaded again.
    #[must_use]
    pub const fn stale_while_revalidate(mut self, stale: Duration) -> Self {
        self.terms.stale_while_revalidate = Some(stale);
        self
    }

    /// Sets for how long after its end it is served where loading fails or takes too long.
    #[must_use]
    pub const fn stale_if_error(mut self, stale: Duration) -> Self {
        self.terms.stale_if_error = Some(stale);
        self
    }

    /// Sets what an answer said of its life.
    #[cfg(feature = "http")]
    pub(super) const fn life(
        mut self,
        ttl: Option<Duration>,
        stale_while_revalidate: Option<Duration>,
        stale_if_error: Option<Duration>,
    ) -> Self {
        self.terms.ttl = ttl;
        self.terms.stale_while_revalidate = stale_while_revalidate;
        self.terms.stale_if_error = stale_if_error;
        self
    }

    /// Sets by which share of it its time to live is moved.
    #[cfg(feature = "http")]
    pub(super) const fn jitter(mut self, share: f64) -> Self {
        self.terms.jitter = Some(share);
        self
    }

    /// Sets how much of the policy's capacity it takes. Zero is not to be stored. Default 1.
    #[must_use]
    pub const fn weight(mut self, weight: u64) -> Self {
        self.terms.weight = weight;
        self
    }

    /// Adds a tag, by which it can be invalidated together with others.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Cow<'static, str>>) -> Self {
        self.terms.tags.push(tag.into());
        self
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

impl Terms {
    pub(super) const fn new() -> Self {
        Self {
            ttl: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            jitter: None,
            weight: 1,
            tags: Vec::new(),
        }
    }

    /// Fresh for so long, with this weight, and all else as the policy says.
    pub(super) fn fresh(ttl: Duration, weight: u64) -> Self {
        Self {
            ttl: Some(ttl),
            weight,
            ..Self::new()
        }
    }

    /// Exactly so long, with this weight, and never stale.
    pub(super) const fn only(ttl: Duration, weight: u64) -> Self {
        Self {
            ttl: Some(ttl),
            stale_while_revalidate: Some(Duration::ZERO),
            stale_if_error: Some(Duration::ZERO),
            jitter: None,
            weight,
            tags: Vec::new(),
        }
    }
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub(super) enum Found<V> {
    /// Its value.
    Value(V),
    /// That it has none.
    Absent,
    /// That it could not be loaded. Boxed, so that a value takes no more room than its own.
    Failed(Box<Rejected>),
    /// That what is loaded for it is for the one who asked, and that nobody need wait for it.
    Private,
}

/// What is stored of a key. Clones share all but the value.
///
/// What every hit reads stands here, and all else where it is out of the way.
#[derive(Clone, Debug)]
pub(super) struct Entry<V> {
    pub(super) found: Found<V>,
    /// Until when its life need not be looked at.
    quiet_until: Timestamp,
    /// What had been invalidated when its load began.
    epoch: u64,
    rest: Arc<Rest>,
}

#[derive(Debug)]
struct Rest {
    life: Life,
    weight: u64,
    stamp: Stamp,
    tags: Box<[Arc<Tag>]>,
    /// No new load before this, since the last one failed: nanoseconds of a [`Timestamp`].
    retry_at: AtomicU64,
}

/// When an entry came to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth {
    pub(super) stamp: Stamp,
    pub(super) now: Timestamp,
    pub(super) took: Duration,
    /// Decides its jitter, in `[0, 1)`.
    pub(super) random: f64,
    /// It is fresh no longer than this, whatever its loader says.
    pub(super) longest: Duration,
}

impl<V> Entry<V> {
    pub(super) fn new(
        found: Found<V>,
        terms: &Terms,
        policy: &Policy,
        tags: &Tags,
        birth: Birth,
    ) -> Self {
        let (usual, jitter) = policy.life(&found);
        let ttl = terms.ttl.unwrap_or(usual);
        let jitter = terms.jitter.unwrap_or(jitter);
        let stale = |own: Option<Duration>, usual| match &found {
            Found::Value(_) => own.unwrap_or(usual),
            Found::Absent | Found::Failed(_) | Found::Private => Duration::ZERO,
        };
        let lifetime = Lifetime {
            ttl: super::state::jittered(ttl, jitter, birth.random).min(birth.longest),
            stale_while_revalidate: stale(
                terms.stale_while_revalidate,
                policy.stale_while_revalidate,
            ),
            stale_if_error: stale(terms.stale_if_error, policy.stale_if_error),
        };
        let life = Life::new(&lifetime, birth.now, birth.took);
        let rest = Rest {
            life,
            // What is not fresh for an instant is not stored.
            weight: if ttl.is_zero() { 0 } else { terms.weight },
            stamp: birth.stamp,
            tags: terms.tags.iter().map(|name| tags.tag(name)).collect(),
            retry_at: AtomicU64::new(0),
        };
        Self {
            quiet_until: life.quiet_until(policy.early(&found)),
            found,
            epoch: birth.stamp.epoch,
            rest: Arc::new(rest),
        }
    }

    /// Its value, where it can be served at `now` without a further thought.
    #[inline]
    pub(super) fn hit(&self, tags: &Tags, now: Timestamp) -> Option<&V> {
        let Found::Value(value) = &self.found else {
            return None;
        };
        let fresh = now < self.quiet_until;
        let valid = tags.epoch() == self.epoch || self.is_beyond_doubt(tags);
        (fresh && valid).then_some(value)
    }

    fn is_beyond_doubt(&self, tags: &Tags) -> bool {
        self.is_valid(tags) && !tags.doubt(self.rest.stamp)
    }

    /// Whether this is the same entry, and no other of the same key.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rest, &other.rest)
    }

    pub(super) fn life(&self) -> &Life {
        &self.rest.life
    }

    /// Its share of the capacity; nothing for what must not be stored.
    pub(super) fn weight(&self) -> u64 {
        self.rest.weight
    }

    /// Whether it can be invalidated together with others.
    pub(super) fn is_tagged(&self) -> bool {
        !self.rest.tags.is_empty()
    }

    /// What had been invalidated when its load began.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether nothing that concerns it has been invalidated since its load began.
    pub(super) fn is_valid(&self, tags: &Tags) -> bool {
        tags.allow(self.rest.stamp, &self.rest.tags)
    }

    /// The same, as far as this process itself invalidates.
    pub(super) fn is_valid_here(&self, tags: &Tags) -> bool {
        tags.allow_here(self.rest.stamp, &self.rest.tags)
    }

    /// What may be done with it, were it valid.
    pub(super) fn age(
        &self,
        policy: &Policy,
        tags: &Tags,
        now: Timestamp,
        draw: impl FnOnce() -> f64,
    ) -> Age {
        if tags.doubt(self.rest.stamp) {
            return self.life().age_in_doubt(now);
        }
        self.life().age(now, policy.early(&self.found), draw)
    }

    /// Whether its last load failed so short a time ago that no other is to be made.
    pub(super) fn is_postponed(&self, now: Timestamp) -> bool {
        now.as_nanos() < self.rest.retry_at.load(Relaxed)
    }

    /// Its load failed: the next is not to be made before `until`.
    pub(super) fn postpone(&self, until: Timestamp) {
        self.rest.retry_at.store(until.as_nanos(), Relaxed);
    }
}
