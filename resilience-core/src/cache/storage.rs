use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use foldhash::quality::RandomState;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use super::{Policy, entry::Entry};
use crate::InvalidPolicy;

/// A key and its hash, so that the tables inside hash nothing: a key is hashed once a visit, and
/// a `Hash` that panics never meets a table that is half moved.
#[derive(Clone, Debug)]
pub(super) struct Hashed<K> {
    pub(super) hash: u64,
    pub(super) key: K,
}

/// The same for a key to look up.
#[derive(Debug)]
pub(super) struct HashedRef<'a, Q: ?Sized> {
    pub(super) hash: u64,
    pub(super) key: &'a Q,
}

impl<K> Hashed<K> {
    pub(super) const fn of(&self) -> HashedRef<'_, K> {
        HashedRef {
            hash: self.hash,
            key: &self.key,
        }
    }
}

/// By hand, since a reference is copied whatever it refers to.
impl<Q: ?Sized> Clone for HashedRef<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for HashedRef<'_, Q> {}

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<Q: ?Sized> Hash for HashedRef<'_, Q> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Equal hashes prove nothing: the keys are compared.
impl<K: Eq> PartialEq for Hashed<K> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.key == other.key
    }
}

impl<K: Eq> Eq for Hashed<K> {}

impl<K, Q> Equivalent<Hashed<K>> for HashedRef<'_, Q>
where
    K: Borrow<Q>,
    Q: Eq + ?Sized,
{
    fn equivalent(&self, held: &Hashed<K>) -> bool {
        self.hash == held.hash && self.key == held.key.borrow()
    }
}

/// Takes the number it is given for the hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given(u64);

impl Hasher for Given {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only hashes are written here");
    }
}

impl BuildHasher for Given {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

/// The entries, bounded by weight.
#[derive(Debug)]
pub(super) struct Storage<K, V> {
    table: Table<K, V>,
    expected: usize,
    hasher: RandomState,
    /// The largest weight that fits into a shard.
    heaviest: u64,
    evictions: AtomicU64,
}

type Table<K, V> = Cache<Hashed<K>, Arc<Entry<V>>, ByWeight, Given, Collect>;

/// What left a table, to be dropped when no lock is held any more: a value's `Drop` is foreign
/// code.
pub(super) type Removed<K, V> = Vec<(Hashed<K>, Arc<Entry<V>>)>;

#[derive(Clone, Copy, Debug)]
struct ByWeight;

impl<K, V> Weighter<Hashed<K>, Arc<Entry<V>>> for ByWeight {
    fn weight(&self, _key: &Hashed<K>, entry: &Arc<Entry<V>>) -> u64 {
        entry.weight()
    }
}

#[derive(Clone, Copy, Debug)]
struct Collect;

impl<K, V> Lifecycle<Hashed<K>, Arc<Entry<V>>> for Collect {
    type RequestState = Removed<K, V>;

    fn on_evict(&self, removed: &mut Removed<K, V>, key: Hashed<K>, entry: Arc<Entry<V>>) {
        removed.push((key, entry));
    }
}

impl<K: Eq, V> Storage<K, V> {
    pub(super) fn new(policy: &Policy) -> Result<Self, InvalidPolicy> {
        let expected = usize::try_from(policy.capacity).unwrap_or(usize::MAX);
        let expected = expected.min(policy.expected_entries);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(expected)
            .weight_capacity(policy.capacity)
            .hot_allocation(HOT)
            .build();
        let options =
            options.map_err(|_| InvalidPolicy::new("capacity", "is nothing a table can have"))?;
        let table = Table::with_options(options, ByWeight, Given::default(), Collect);
        // The table rounds each shard's part up, so that together they would hold too much.
        let shards = table.num_shards() as u64;
        table.set_capacity((policy.capacity / shards).max(1) * shards);
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the product is below 2^48 and above 0"
        )]
        let heaviest = (table.shard_capacity() as f64 * HOT) as u64;
        Ok(Self {
            table,
            expected,
            hasher: RandomState::default(),
            heaviest: heaviest.max(1),
            evictions: AtomicU64::new(0),
        })
    }

    #[inline]
    pub(super) fn hash<'a, Q: Hash + ?Sized>(&self, key: &'a Q) -> HashedRef<'a, Q> {
        HashedRef {
            hash: self.hasher.hash_one(key),
            key,
        }
    }

    /// The entry of `key`, which is read now.
    #[inline]
    pub(super) fn get<Q>(&self, key: HashedRef<'_, Q>) -> Option<Arc<Entry<V>>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.table.get(&key)
    }

    /// The entry of `key`, as if nobody had looked.
    pub(super) fn peek(&self, key: HashedRef<'_, K>) -> Option<Arc<Entry<V>>> {
        self.table.peek(&key)
    }

    /// Stores `entry`, where it has a weight that fits; else there is none of this key from now
    /// on. Gives what had to go.
    pub(super) fn insert(&self, key: Hashed<K>, entry: Arc<Entry<V>>) -> Removed<K, V> {
        if !self.admits(&entry) {
            return self.remove(key.of()).into_iter().collect();
        }
        let mut removed = Removed::new();
        let hash = key.hash;
        self.table.insert_with_lifecycle(key, entry, &mut removed);
        let others = removed.iter().filter(|(key, _)| key.hash != hash).count();
        self.evictions.fetch_add(others as u64, Relaxed);
        removed
    }

    /// Whether `entry` has a weight that fits.
    pub(super) fn admits(&self, entry: &Entry<V>) -> bool {
        (1..=self.heaviest).contains(&entry.weight())
    }

    pub(super) fn remove<Q>(&self, key: HashedRef<'_, Q>) -> Option<(Hashed<K>, Arc<Entry<V>>)>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.table.remove(&key)
    }

    /// Removes everything, one entry at a time.
    pub(super) fn clear(&self) {
        self.table.drain().for_each(drop);
    }

    /// About how many entries it has room for.
    pub(super) const fn expected(&self) -> usize {
        self.expected
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.table.weight()
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }
}

/// The share of a shard for entries that were read again: the crate's own default, written down
/// because nothing heavier than it is admitted.
const HOT: f64 = 0.97;
