use std::{
    borrow::Borrow,
    cell::Cell,
    hash::{BuildHasher, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use foldhash::quality::RandomState;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use super::{
    Policy,
    entry::Entry,
    hashed::{Given, Hashed, HashedRef},
};
use crate::{InvalidPolicy, float::saturate, striped::Striped};

/// The entries, bounded by weight.
#[derive(Debug)]
pub(super) struct Storage<K, V> {
    table: Table<K, V>,
    expected: usize,
    hasher: RandomState,
    /// The largest weight that fits into a shard.
    heaviest: u64,
    ids: AtomicU64,
    evictions: Striped<1>,
}

type Table<K, V> = Cache<Record<K, V>, (), ByWeight, Given, Collect>;

/// A key with its entry.
///
/// The entry is a part of the table's key, since the table lends keys to comparisons: a hit takes
/// what it needs then, where values are given away as copies, which for an `Arc` means two writes
/// to a place where all meet who read the same entry.
#[derive(Debug)]
pub(super) struct Record<K, V> {
    key: Hashed<K>,
    /// The same for all entries that the key ever has while one follows the other.
    id: u64,
    entry: Entry<V>,
}

/// What left a table, to be dropped when no lock is held any more: a value's `Drop` is foreign
/// code.
pub(super) type Removed<K, V> = Vec<Record<K, V>>;

#[derive(Clone, Copy, Debug)]
struct ByWeight;

impl<K, V> Weighter<Record<K, V>, ()> for ByWeight {
    fn weight(&self, record: &Record<K, V>, (): &()) -> u64 {
        record.entry.weight()
    }
}

#[derive(Clone, Copy, Debug)]
struct Collect;

impl<K, V> Lifecycle<Record<K, V>, ()> for Collect {
    type RequestState = Removed<K, V>;

    fn on_evict(&self, removed: &mut Removed<K, V>, record: Record<K, V>, (): ()) {
        removed.push(record);
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
        let heaviest = saturate(table.shard_capacity() as f64 * HOT);
        Ok(Self {
            table,
            expected,
            hasher: RandomState::default(),
            heaviest: heaviest.max(1),
            ids: AtomicU64::new(0),
            evictions: Striped::default(),
        })
    }

    #[inline]
    pub(super) fn hash<'a, Q: Hash + ?Sized>(&self, key: &'a Q) -> HashedRef<'a, Q> {
        HashedRef {
            hash: self.hasher.hash_one(key),
            key,
        }
    }

    /// What `read` makes of the entry of `key`, which cannot be changed meanwhile.
    #[inline]
    pub(super) fn get<Q, T>(
        &self,
        key: HashedRef<'_, Q>,
        read: impl FnOnce(&Entry<V>) -> T,
    ) -> Option<T>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let reading = Reading::new(key, |record: &Record<K, V>| read(&record.entry));
        self.table.get(&reading);
        reading.made.into_inner()
    }

    /// The same, as if nobody had looked.
    pub(super) fn peek<Q, T>(
        &self,
        key: HashedRef<'_, Q>,
        read: impl FnOnce(&Entry<V>) -> T,
    ) -> Option<T>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let reading = Reading::new(key, |record: &Record<K, V>| read(&record.entry));
        self.table.peek(&reading);
        reading.made.into_inner()
    }

    /// Stores `entry`, where it has a weight that fits; else there is none of this key from now
    /// on. Gives what had to go. Changes of one key must come one after the other.
    pub(super) fn insert(&self, key: Hashed<K>, entry: Entry<V>) -> Removed<K, V> {
        if !self.admits(&entry) {
            return self.remove(key.of()).into_iter().collect();
        }
        let id = self.id(key.of());
        let id = id.unwrap_or_else(|| self.ids.fetch_add(1, Relaxed));
        let mut removed = Removed::new();
        let record = Record { key, id, entry };
        self.table.insert_with_lifecycle(record, (), &mut removed);
        let evicted = removed.iter().filter(|record| record.id != id);
        evicted.for_each(|_| self.evictions.count(0));
        removed
    }

    /// Whether `entry` has a weight that fits.
    pub(super) fn admits(&self, entry: &Entry<V>) -> bool {
        (1..=self.heaviest).contains(&entry.weight())
    }

    /// Removes the entry of `key`. Changes of one key must come one after the other.
    pub(super) fn remove<Q>(&self, key: HashedRef<'_, Q>) -> Option<Record<K, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let id = self.id(key)?;
        let known = Known { hash: key.hash, id };
        self.table.remove(&known).map(|(record, ())| record)
    }

    fn id<Q>(&self, key: HashedRef<'_, Q>) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let reading = Reading::new(key, |record: &Record<K, V>| record.id);
        self.table.peek(&reading);
        reading.made.into_inner()
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
        self.evictions.read(0)
    }
}

impl<K, V> Hash for Record<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// Told by their ids. The `Eq` of a key is foreign code and may panic; it runs where the table is
/// locked for reading alone, since a panic in a change would lock everybody out for good.
impl<K, V> PartialEq for Record<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<K, V> Eq for Record<K, V> {}

/// A record to remove.
struct Known {
    hash: u64,
    id: u64,
}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<K, V> Equivalent<Record<K, V>> for Known {
    fn equivalent(&self, record: &Record<K, V>) -> bool {
        self.id == record.id
    }
}

/// A key to look up, and what to do with its record while the table lends it.
struct Reading<'a, Q: ?Sized, F, T> {
    key: HashedRef<'a, Q>,
    read: Cell<Option<F>>,
    made: Cell<Option<T>>,
}

impl<'a, Q: ?Sized, F, T> Reading<'a, Q, F, T> {
    #[inline]
    fn new(key: HashedRef<'a, Q>, read: F) -> Self {
        Self {
            key,
            read: Cell::new(Some(read)),
            made: Cell::new(None),
        }
    }
}

impl<Q: ?Sized, F, T> Hash for Reading<'_, Q, F, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl<K, V, Q, F, T> Equivalent<Record<K, V>> for Reading<'_, Q, F, T>
where
    K: Borrow<Q>,
    Q: Eq + ?Sized,
    F: FnOnce(&Record<K, V>) -> T,
{
    #[inline]
    fn equivalent(&self, record: &Record<K, V>) -> bool {
        if !self.key.equivalent(&record.key) {
            return false;
        }
        if let Some(read) = self.read.take() {
            self.made.set(Some(read(record)));
        }
        true
    }
}

/// The share of a shard for entries that were read again: the crate's own default, written down
/// because nothing heavier than it is admitted.
const HOT: f64 = 0.97;
