//! A bounded map from keys to what belongs to them.
//!
//! Keys come from strangers: the map has a capacity, seeds its hash at random, and never gives a
//! new key the chance to make it forget a key that is being held back. A key is cloned once in its
//! life here, and hashed once a visit. An insertion into a full shard looks at a few entries; one
//! that would make a shard grow looks at all of them first, as growing does: O(1) amortised.

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
};

use crossbeam_utils::CachePadded;
use foldhash::quality::RandomState;
use hashbrown::HashTable;

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
    /// What the values of a shard have in common, behind the same lock; `()` where that is nothing.
    type Common;

    /// How much would be lost now. May forget on the way what time has made void.
    fn retention(&mut self, common: &mut Self::Common, now: Timestamp) -> Retention;
}

/// Entries that an insertion looks at to find a place in a full shard.
const SAMPLE: usize = 8;

/// A shard of which less than one part in so many is taken grows without a look for idle entries:
/// to forget keys that come back soon costs more than to keep them.
const SPARSE: usize = 5;

/// Values for new keys that find no place: each shard has as many, shared by hash.
const OVERFLOW: usize = 8;

/// Places in a shard at least: chance must not fill one long before the others.
const SHARD: usize = 64;

/// Shards at most; a power of two, some times the number of threads that meet here.
const SHARDS: usize = 64;

/// A sharded map that holds at most its capacity.
pub(crate) struct Keyed<K, V: Retain> {
    shards: Box<[Padded<K, V>]>,
    hasher: RandomState,
    /// Of one shard.
    capacity: usize,
}

/// A shard on cache lines of its own.
type Padded<K, V> = CachePadded<Mutex<Shard<K, V>>>;

/// What a visit to a known key needs comes first, on one cache line with the lock.
#[repr(C)]
struct Shard<K, V: Retain> {
    common: V::Common,
    entries: HashTable<(K, V)>,
    overflow: Box<[Option<V>; OVERFLOW]>,
    hand: usize,
}

impl<K, V> Keyed<K, V>
where
    K: Hash + Eq,
    V: Retain,
{
    /// A map of at most `capacity` entries, which must not be zero, rounded down to a multiple of
    /// the number of shards.
    pub(crate) fn new(capacity: usize) -> Self
    where
        V::Common: Default,
    {
        Self::with_common(capacity, V::Common::default)
    }

    /// The same, where `common` makes what the values of a shard have in common.
    pub(crate) fn with_common(capacity: usize, common: impl Fn() -> V::Common) -> Self {
        let shards = 1 << (capacity / SHARD).clamp(1, SHARDS).ilog2();
        let shard = || Shard {
            common: common(),
            entries: HashTable::new(),
            overflow: Box::new(std::array::from_fn(|_| None)),
            hand: 0,
        };
        Self {
            shards: (0..shards)
                .map(|_| CachePadded::new(Mutex::new(shard())))
                .collect(),
            hasher: RandomState::default(),
            capacity: capacity / shards,
        }
    }

    /// Lets `act` work on the value of `key`, made by `make` where there is none.
    ///
    /// A new key that finds no place in a full map works on a value that it shares with others.
    #[inline(always)]
    pub(crate) fn with<Q, R>(
        &self,
        key: &Q,
        now: Timestamp,
        make: impl FnOnce() -> V,
        act: impl FnOnce(&mut V::Common, &mut V) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let mut shard = lock(self.shard(hash));
        let shard = &mut *shard;
        if let Some((_, value)) = shard.entries.find_mut(hash, |it| it.0.borrow() == key) {
            return act(&mut shard.common, value);
        }
        let (common, value) = self.place(shard, hash, key, now, make);
        act(common, value)
    }

    /// Lets `act` look at the value of `key`, where it has one of its own.
    ///
    /// A shared value is nobody's to look at: what one key gave back there, others would find.
    pub(crate) fn peek<Q, R>(
        &self,
        key: &Q,
        act: impl FnOnce(&mut V::Common, Option<&mut V>) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let mut shard = lock(self.shard(hash));
        let shard = &mut *shard;
        let found = shard.entries.find_mut(hash, |it| it.0.borrow() == key);
        act(&mut shard.common, found.map(|(_, value)| value))
    }

    /// Lets `act` change every value.
    pub(crate) fn for_each(&self, mut act: impl FnMut(&mut V)) {
        self.for_each_shard(|_, values| values.for_each(&mut act));
    }

    /// Lets `act` change all values of a shard and what they have in common, one shard after the
    /// other.
    pub(crate) fn for_each_shard(
        &self,
        mut act: impl FnMut(&mut V::Common, &mut dyn Iterator<Item = &mut V>),
    ) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let shard = &mut *shard;
            let entries = shard.entries.iter_mut().map(|(_, value)| value);
            let mut values = entries.chain(shard.overflow.iter_mut().flatten());
            act(&mut shard.common, &mut values);
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

    /// The value of a key that is known not to be here, in a place of its own or in a shared one.
    #[inline(never)]
    fn place<'a, Q>(
        &self,
        shard: &'a mut Shard<K, V>,
        hash: u64,
        key: &Q,
        now: Timestamp,
        make: impl FnOnce() -> V,
    ) -> (&'a mut V::Common, &'a mut V)
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        let hash_of = |entry: &(K, V)| self.hasher.hash_one(&entry.0);
        let value = if shard.make_room(self.capacity, now, hash_of) {
            let entry = (key.to_owned(), make());
            let entry = shard.entries.insert_unique(hash, entry, hash_of);
            &mut entry.into_mut().1
        } else {
            shard.overflow[overflow_slot(hash)].get_or_insert_with(make)
        };
        (&mut shard.common, value)
    }
}

/// Bits of the hash that neither the shard nor the table uses much.
fn overflow_slot(hash: u64) -> usize {
    (hash >> 48) as usize % OVERFLOW
}

impl<K, V: Retain> Shard<K, V> {
    /// Makes room for one more entry, where that does not cost one that must stay.
    fn make_room(
        &mut self,
        capacity: usize,
        now: Timestamp,
        hash_of: impl Fn(&(K, V)) -> u64,
    ) -> bool {
        let length = self.entries.len();
        if length >= capacity {
            return self.make_place(now);
        }
        if length == self.entries.capacity() && length >= capacity / SPARSE {
            let common = &mut self.common;
            self.entries
                .retain(|(_, value)| value.retention(common, now) != Retention::Idle);
            // So that many more come before the next look at all of them.
            self.entries.reserve(self.entries.len() / 4, hash_of);
        }
        true
    }

    /// Forgets the idle ones among a few entries, or else the one that loses least.
    fn make_place(&mut self, now: Timestamp) -> bool {
        let (mut seen, mut freed) = (0, false);
        let mut least = (Retention::Pinned, 0);
        for _ in 0..self.entries.num_buckets() {
            let index = self.hand;
            self.hand = (index + 1) % self.entries.num_buckets();
            let Ok(mut entry) = self.entries.get_bucket_entry(index) else {
                continue;
            };
            match entry.get_mut().1.retention(&mut self.common, now) {
                Retention::Idle => {
                    entry.remove();
                    freed = true;
                }
                retention => least = least.min((retention, index)),
            }
            seen += 1;
            if seen == SAMPLE {
                break;
            }
        }
        let (retention, index) = least;
        if !freed
            && retention != Retention::Pinned
            && let Ok(entry) = self.entries.get_bucket_entry(index)
        {
            entry.remove();
            freed = true;
        }
        freed
    }
}

impl<K, V: Retain> fmt::Debug for Keyed<K, V> {
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
        type Common = ();

        fn retention(&mut self, (): &mut (), _now: Timestamp) -> Retention {
            self.0
        }
    }

    fn visit(map: &Keyed<String, Fixed>, key: &str, retention: Retention) -> Retention {
        map.with(
            key,
            Timestamp::ZERO,
            || Fixed(retention),
            |(), value| value.0,
        )
    }

    fn holds(map: &Keyed<String, Fixed>, key: &str) -> bool {
        map.shards
            .iter()
            .any(|shard| lock(shard).entries.iter().any(|entry| entry.0 == key))
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
        assert!(map.peek("new", |(), value| value.is_none()));
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
