//! A bounded map from keys to what belongs to them.
//!
//! Keys come from strangers: the map has a capacity, seeds its hash at random, and never gives a
//! new key the chance to make it forget a key that is being held back. An insertion looks at a
//! fixed number of entries, whatever the size, so that its cost is O(1). A key is hashed once a
//! visit, and cloned once in its life here.

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
};

use crossbeam_utils::CachePadded;
use foldhash::quality::RandomState;
use indexmap::{
    IndexMap,
    map::raw_entry_v1::{RawEntryApiV1, RawEntryMut},
};

use crate::{
    Timestamp,
    sync::{Mutex, lock},
};

/// How much is lost when an entry is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Retention {
    /// Nothing: a new entry would be the same.
    Idle,
    /// Something; the more, the larger the number.
    Used(u64),
    /// It holds somebody back now, or is in use: it must stay.
    Pinned,
}

/// What lives in a [`Keyed`] map.
pub(crate) trait Retain {
    /// How much would be lost now. May forget on the way what time has made void.
    fn retention(&mut self, now: Timestamp) -> Retention;
}

/// Entries that an insertion looks at to find a place in a full shard.
const SAMPLE: usize = 8;

/// Entries that every insertion looks at to clear away idle ones: two for one, so that the map
/// shrinks while it is used.
const SWEEP: usize = 2;

/// Values for new keys that find no place: each shard has as many, shared by hash.
const OVERFLOW: usize = 8;

/// Places in a shard at least: chance must not fill one long before the others.
const SHARD: usize = 64;

/// Shards at most; a power of two, some times the number of threads that meet here.
const SHARDS: usize = 64;

/// A sharded map that holds at most its capacity.
pub(crate) struct Keyed<K, V> {
    shards: Box<[Padded<K, V>]>,
    hasher: RandomState,
}

/// A shard on cache lines of its own.
type Padded<K, V> = CachePadded<Mutex<Shard<K, V>>>;

struct Shard<K, V> {
    entries: IndexMap<K, V, RandomState>,
    overflow: [Option<V>; OVERFLOW],
    capacity: usize,
    hand: usize,
}

impl<K, V> Keyed<K, V>
where
    K: Hash + Eq,
    V: Retain,
{
    /// A map of at most `capacity` entries, which must not be zero, rounded down to a multiple of
    /// the number of shards.
    pub(crate) fn new(capacity: usize) -> Self {
        let shards = 1 << (capacity / SHARD).clamp(1, SHARDS).ilog2();
        let hasher = RandomState::default();
        let shard = || Shard {
            entries: IndexMap::with_hasher(hasher.clone()),
            overflow: std::array::from_fn(|_| None),
            capacity: capacity / shards,
            hand: 0,
        };
        Self {
            shards: (0..shards)
                .map(|_| CachePadded::new(Mutex::new(shard())))
                .collect(),
            hasher,
        }
    }

    /// Lets `act` work on the value of `key`, made by `make` where there is none.
    ///
    /// A new key that finds no place in a full map works on a value that it shares with others.
    pub(crate) fn with<Q, R>(
        &self,
        key: &Q,
        now: Timestamp,
        make: impl FnOnce() -> V,
        act: impl FnOnce(&mut V) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let mut shard = lock(self.shard(hash));
        if let Some(value) = shard.find(hash, key) {
            return act(value);
        }
        if shard.make_room(now) {
            return act(shard.insert(hash, key.to_owned(), make()));
        }
        act(shard.overflow[overflow_slot(hash)].get_or_insert_with(make))
    }

    /// Lets `act` look at the value of `key`, where it has one of its own.
    ///
    /// A shared value is nobody's to look at: what one key gave back there, others would find.
    pub(crate) fn peek<Q, R>(&self, key: &Q, act: impl FnOnce(Option<&mut V>) -> R) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        act(lock(self.shard(hash)).find(hash, key))
    }

    /// Lets `act` change every value, one shard after the other.
    pub(crate) fn for_each(&self, mut act: impl FnMut(&mut V)) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let Shard {
                entries, overflow, ..
            } = &mut *shard;
            entries
                .values_mut()
                .chain(overflow.iter_mut().flatten())
                .for_each(&mut act);
        }
    }

    /// Entries that the map holds now.
    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| lock(shard).entries.len())
            .sum()
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard<K, V>> {
        // The table inside takes its place from the low bits and its tag from the top seven.
        let index = (hash >> 32) as usize & (self.shards.len() - 1);
        &self.shards[index]
    }
}

/// Bits of the hash that neither the shard nor the table uses much.
fn overflow_slot(hash: u64) -> usize {
    (hash >> 48) as usize % OVERFLOW
}

impl<K: Hash + Eq, V: Retain> Shard<K, V> {
    fn find<Q>(&mut self, hash: u64, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let same = |held: &K| held.borrow() == key;
        match self.entries.raw_entry_mut_v1().from_hash(hash, same) {
            RawEntryMut::Occupied(entry) => Some(entry.into_mut()),
            RawEntryMut::Vacant(_) => None,
        }
    }

    /// Adds a key that is known not to be here.
    fn insert(&mut self, hash: u64, key: K, value: V) -> &mut V {
        let entry = self.entries.raw_entry_mut_v1().from_hash(hash, |_| false);
        match entry {
            RawEntryMut::Occupied(entry) => entry.into_mut(),
            RawEntryMut::Vacant(entry) => entry.insert_hashed_nocheck(hash, key, value).1,
        }
    }

    /// Clears away idle entries that the hand passes, and makes room for one more where an entry
    /// can be spared.
    fn make_room(&mut self, now: Timestamp) -> bool {
        for _ in 0..SWEEP.min(self.entries.len()) {
            let index = self.advance();
            if self.retention(index, now) == Retention::Idle {
                self.entries.swap_remove_index(index);
            }
        }
        if self.entries.len() < self.capacity {
            return true;
        }
        let mut least = (Retention::Pinned, 0);
        for _ in 0..SAMPLE.min(self.entries.len()) {
            let index = self.advance();
            least = least.min((self.retention(index, now), index));
        }
        let (retention, index) = least;
        if retention == Retention::Pinned {
            return false;
        }
        self.entries.swap_remove_index(index);
        true
    }

    fn advance(&mut self) -> usize {
        let index = self.hand % self.entries.len().max(1);
        self.hand = index + 1;
        index
    }

    fn retention(&mut self, index: usize, now: Timestamp) -> Retention {
        self.entries
            .get_index_mut(index)
            .map_or(Retention::Pinned, |(_, value)| value.retention(now))
    }
}

impl<K, V> fmt::Debug for Keyed<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed(Retention);

    impl Retain for Fixed {
        fn retention(&mut self, _now: Timestamp) -> Retention {
            self.0
        }
    }

    fn visit(map: &Keyed<String, Fixed>, key: &str, retention: Retention) -> Retention {
        map.with(key, Timestamp::ZERO, || Fixed(retention), |value| value.0)
    }

    fn holds(map: &Keyed<String, Fixed>, key: &str) -> bool {
        map.shards
            .iter()
            .any(|shard| lock(shard).entries.contains_key(key))
    }

    #[test]
    fn it_never_holds_more_than_its_capacity() {
        for capacity in [1, 7, 8, 100, 1000] {
            let map = Keyed::new(capacity);
            for number in 0..5000 {
                visit(&map, &number.to_string(), Retention::Used(number));
            }
            assert!(map.len() <= capacity, "{} of {capacity}", map.len());
        }
    }

    #[test]
    fn keys_in_use_find_places_while_half_of_the_map_is_free() {
        for capacity in [1, 7, 100, 300, 512, 5000] {
            let map = Keyed::new(capacity);
            let half = capacity.div_ceil(2);
            for number in 0..half {
                visit(&map, &number.to_string(), Retention::Pinned);
            }
            assert_eq!(map.len(), half, "of {capacity}");
        }
    }

    #[test]
    fn more_room_never_means_fewer_locks() {
        let shards = |capacity| Keyed::<String, Fixed>::new(capacity).shards.len();
        assert!((1..2_000).all(|capacity| shards(capacity) <= shards(capacity + 1)));
        assert_eq!((shards(1), shards(300), shards(65_536)), (1, 4, 64));
    }

    #[test]
    fn a_pinned_entry_outlives_any_number_of_new_keys() {
        let map = Keyed::new(64);
        visit(&map, "victim", Retention::Pinned);
        for number in 0..100_000 {
            visit(&map, &number.to_string(), Retention::Used(1));
        }
        assert!(holds(&map, "victim"));
    }

    #[test]
    fn a_new_key_shares_a_value_where_all_are_pinned() {
        let map = Keyed::new(4);
        for number in 0..4 {
            visit(&map, &number.to_string(), Retention::Pinned);
        }
        assert_eq!(visit(&map, "new", Retention::Idle), Retention::Idle);
        assert!(!holds(&map, "new"));
        assert!(map.peek("new", |value| value.is_none()));
        assert_eq!(map.len(), 4);
    }

    #[test]
    fn idle_entries_go_away_while_the_map_is_used() {
        let map = Keyed::new(1024);
        for number in 0..1000 {
            visit(&map, &number.to_string(), Retention::Idle);
        }
        assert!(map.len() < 200, "{}", map.len());
    }
}
