use std::time::Duration;

use super::Fingerprint;
use crate::{
    Timestamp,
    sync::{AtomicU64, Ordering, fence},
};

/// Keys that the filter let pass and the service did not find, each for a time.
///
/// A table of fixed size, four places a key. Whoever asks takes no lock: a place that is being
/// written, or was meanwhile, is none. Changed by one at a time, which the guard's lock sees to.
pub(super) struct Misses {
    places: Box<[[Place; WAYS]]>,
    ttl: Duration,
}

/// A fingerprint under a version, which is odd while it is being written.
#[derive(Default)]
struct Place {
    version: AtomicU64,
    first: AtomicU64,
    second: AtomicU64,
    until: AtomicU64,
}

const WAYS: usize = 4;

/// The largest capacity: 512 MiB.
pub(super) const MOST: usize = 1 << 24;

impl Misses {
    pub(super) fn new(capacity: usize, ttl: Duration) -> Self {
        Self {
            places: (0..capacity.div_ceil(WAYS))
                .map(|_| Default::default())
                .collect(),
            ttl,
        }
    }

    /// Whether `key` is remembered; the clock is read only where it matters.
    #[inline]
    pub(super) fn contains(&self, key: Fingerprint, now: impl FnOnce() -> Timestamp) -> bool {
        let found = self.places(key).iter().find_map(|place| place.until(key));
        found.is_some_and(|until| now() < until)
    }

    /// Remembers `key` in a place of its own or that nobody needs, else in the oldest.
    pub(super) fn insert(&self, key: Fingerprint, now: Timestamp) {
        let places = self.places(key);
        let oldest = places
            .iter()
            .min_by_key(|it| it.until.load(Ordering::Relaxed));
        let own = places.iter().find(|place| place.until(key).is_some());
        if let Some(place) = own.or(oldest) {
            place.write(key, now.saturating_add(self.ttl));
        }
    }

    /// Forgets `key`.
    pub(super) fn remove(&self, key: Fingerprint) {
        for place in self.places(key) {
            if place.until(key).is_some() {
                place.write(key, Timestamp::ZERO);
            }
        }
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        let taken = |place: &&Place| place.until.load(Ordering::Relaxed) > 0;
        for place in self.places.iter().flatten().filter(taken) {
            let nothing = Fingerprint {
                first: 0,
                second: 0,
            };
            place.write(nothing, Timestamp::ZERO);
        }
    }

    /// Keys remembered at `now`.
    pub(super) fn len(&self, now: Timestamp) -> usize {
        let places = self.places.iter().flatten();
        places
            .filter(|place| now.as_nanos() < place.until.load(Ordering::Relaxed))
            .count()
    }

    fn places(&self, key: Fingerprint) -> &[Place; WAYS] {
        let index = usize::try_from(key.first % self.places.len() as u64);
        &self.places[index.unwrap_or(0)]
    }
}

impl Place {
    /// Until when `key` is remembered, where this is its place.
    fn until(&self, key: Fingerprint) -> Option<Timestamp> {
        let version = self.version.load(Ordering::Acquire);
        let first = self.first.load(Ordering::Relaxed);
        if first != key.first {
            return None;
        }
        let second = self.second.load(Ordering::Relaxed);
        let until = self.until.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        (whole && second == key.second && until > 0).then(|| Timestamp::from_nanos(until))
    }

    fn write(&self, key: Fingerprint, until: Timestamp) {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.first.store(key.first, Ordering::Relaxed);
        self.second.store(key.second, Ordering::Relaxed);
        self.until.store(until.as_nanos(), Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }
}
