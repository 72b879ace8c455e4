use std::{
    fmt,
    hash::Hash,
    sync::{Arc, Weak},
};

use super::{
    Filter, Fingerprint, Hashed, Policy,
    bloom::Bloom,
    hash::Seed,
    misses::Misses,
    recent::Recent,
    standing::Alarm,
    state::{State, Terms},
    tally::{Count, Counts},
};
use crate::{
    Environment, Event, InvalidPolicy, Reason, Rejected, Timestamp,
    address::{Address, Tenancy},
    striped::Striped,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// What all clones of a guard share.
///
/// Whoever asks reads `asked_until`, the filter and what is remembered, and takes no lock. Whoever
/// changes one of them holds the lock, but for the one who fills a set that is not asked yet.
pub(super) struct Shared<F> {
    pub(super) name: &'static str,
    pub(super) filter: F,
    /// Share of unknown keys that may pass, by the policy.
    pub(super) stated: f64,
    pub(super) seed: Seed,
    /// [`State::asked_until`], for those who ask.
    asked_until: AtomicU64,
    pub(super) misses: Option<Misses>,
    /// What [`Recent::inserted`] says, for calls that set out.
    pub(super) inserted: AtomicU64,
    pub(super) inner: Mutex<Inner>,
    pub(super) tally: Striped<5>,
    pub(super) environment: Environment,
    tenancy: Tenancy,
}

pub(super) struct Inner {
    pub(super) state: State,
    pub(super) recent: Recent,
    pub(super) base: Counts,
}

/// What is known of a key before a call.
#[derive(Debug)]
pub(super) enum Look {
    /// The filter is not asked.
    Unknown,
    /// The filter may have it. What is needed to remember that it is not there after all.
    Maybe(Asked),
    Absent,
}

/// A key that the filter let pass, and when: the inserts before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    key: Fingerprint,
    inserted: u64,
}

impl Shared<Bloom> {
    pub(super) fn bloom(
        policy: &Policy,
        environment: &Environment,
    ) -> Result<Arc<Self>, InvalidPolicy> {
        policy.check()?;
        policy.check_bits()?;
        let (expected, rate) = (policy.expected_keys, policy.false_positive_rate);
        let seed = Seed::new(policy.seed)?;
        let filter = Bloom::new(expected, rate, seed.clone());
        let most = Bloom::most_keys(expected, rate);
        let terms = Terms {
            expected,
            most,
            overload_factor: policy.overload_factor,
        };
        Ok(Self::new((policy, rate), terms, seed, filter, environment))
    }
}

impl<F: Filter> Shared<F> {
    pub(super) fn new(
        (policy, stated): (&Policy, f64),
        terms: Terms,
        seed: Seed,
        filter: F,
        environment: &Environment,
    ) -> Arc<Self> {
        let inner = Inner {
            state: State::new(terms),
            recent: Recent::default(),
            base: Counts::default(),
        };
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            name: policy.name,
            filter,
            stated,
            seed,
            asked_until: AtomicU64::new(NEVER),
            misses: policy
                .remember
                .map(|(capacity, ttl)| Misses::new(capacity, ttl)),
            inserted: AtomicU64::new(0),
            inner: Mutex::new(inner),
            tally: Striped::default(),
            environment: environment.clone(),
            tenancy: Tenancy::new(this.clone()),
        })
    }

    #[inline]
    pub(super) const fn address(&self) -> Address<Self> {
        self.tenancy.address()
    }

    #[inline]
    pub(super) fn look<K: Hash + ?Sized>(&self, key: &K) -> Look {
        let (count, look) = self.look_uncounted(key);
        self.tally.count(count as usize);
        look
    }

    #[inline]
    fn look_uncounted<K: Hash + ?Sized>(&self, key: &K) -> (Count, Look) {
        let until = self.asked_until.load(Ordering::Acquire);
        if until == NEVER {
            return (Count::Passed, Look::Unknown);
        }
        let (count, look) = self.look_in_filter(key);
        // After the look: what was inserted elsewhere while it lasted would have been missed.
        if matches!(look, Look::Absent)
            && until != FOR_GOOD
            && self.environment.now().as_nanos() >= until
        {
            return (Count::Passed, Look::Unknown);
        }
        (count, look)
    }

    #[inline]
    fn look_in_filter<K: Hash + ?Sized>(&self, key: &K) -> (Count, Look) {
        let key = Hashed::new(&self.seed, key);
        if !self.filter.contains(&key) {
            return (Count::Absent, Look::Absent);
        }
        // Read before the service is asked: what is inserted from here on is no miss.
        let inserted = self.inserted.load(Ordering::Acquire);
        let key = key.fingerprint();
        if let Some(misses) = &self.misses
            && misses.contains(key, || self.environment.now())
        {
            return (Count::Remembered, Look::Absent);
        }
        (Count::Maybe, Look::Maybe(Asked { key, inserted }))
    }

    pub(super) fn insert<K: Hash + ?Sized>(&self, key: &K) {
        self.insert_fingerprint(Hashed::new(&self.seed, key).fingerprint());
    }

    pub(super) fn insert_fingerprint(&self, key: Fingerprint) {
        let alarm = {
            let mut inner = lock(&self.inner);
            let added = self.filter.insert(key);
            inner.recent.push(key);
            self.inserted
                .store(inner.recent.inserted(), Ordering::Release);
            if let Some(misses) = &self.misses {
                misses.remove(key);
            }
            let alarm = inner.state.insert(added);
            self.publish(&inner.state);
            alarm
        };
        self.tell(alarm);
    }

    /// The service did not find a key that the filter let pass.
    #[cold]
    pub(super) fn missed(&self, asked: Asked) {
        if let Some(misses) = &self.misses {
            let now = self.environment.now();
            let inner = lock(&self.inner);
            if !inner.recent.surely_lacks(asked.key, asked.inserted) {
                return;
            }
            misses.insert(asked.key, now);
        }
        self.tally.count(Count::FalsePositive as usize);
    }

    /// Refuses a call for a key that is not there.
    pub(super) fn refuse(&self) -> Rejected {
        let rejected = Rejected::new(Reason::Absent, self.name);
        self.environment.tell_refusal(&rejected);
        rejected
    }

    pub(super) fn count(&self, count: Count) -> u64 {
        self.tally.read(count as usize)
    }

    /// Until `time` no key was inserted elsewhere that is not known here.
    pub(super) fn trust_until(&self, time: Timestamp) {
        let mut inner = lock(&self.inner);
        inner.state.trust_until(time);
        self.publish(&inner.state);
    }

    /// Keys that should be known are not: everything passes until others are.
    pub(super) fn distrust(&self) {
        let mut inner = lock(&self.inner);
        inner.state.distrust();
        self.publish(&inner.state);
    }

    /// Lets those who ask know whether to.
    pub(super) fn publish(&self, state: &State) {
        let until = state.asked_until().as_nanos();
        self.asked_until.store(until, Ordering::Release);
    }

    pub(super) fn tell(&self, alarm: Option<Alarm>) {
        let policy = self.name;
        let event = match alarm {
            None => return,
            Some(Alarm::Full { keys, capacity }) => Event::FilterFull {
                policy,
                keys,
                capacity,
            },
            Some(Alarm::Overloaded { keys, capacity }) => Event::FilterOverloaded {
                policy,
                keys,
                capacity,
            },
        };
        self.environment.emit(&event);
    }
}

/// What `asked_until` is while the filter is not asked, and while it is with nobody else inserting.
const NEVER: u64 = Timestamp::ZERO.as_nanos();
const FOR_GOOD: u64 = Timestamp::MAX.as_nanos();

impl<F: fmt::Debug> fmt::Debug for Shared<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}
