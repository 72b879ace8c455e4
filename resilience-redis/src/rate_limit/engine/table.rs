//! The keys that this process knows something of.
//!
//! Bounded, since keys come from strangers, and nothing is lost with an entry but a question to the
//! server: the counts stand there. So the entry that was used least lately goes first, among a few.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use resilience_core::Timestamp;

use crate::{
    StoreKey,
    key::{self, is_name},
    rate_limit::{
        line::{Caller, Entered, Entry, Front, Line},
        quota::{Own, Verdict},
    },
};

/// A sharded map of a bounded number of entries.
pub(in crate::rate_limit) struct Table {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Bytes that all names begin with, up to the key's own.
    start: usize,
}

struct Shard {
    slots: HashTable<Slot>,
    capacity: usize,
    /// Where to look next for one that can go.
    hand: usize,
    decided: Decided,
    /// Units that this process allowed of keys that are remembered no more: any new key may be one
    /// of them.
    forgotten: Own,
}

/// What is remembered of one key.
struct Slot {
    hash: u64,
    entry: Arc<Entry>,
    front: Front,
    /// When somebody came for it last.
    used: Timestamp,
}

/// Calls that were decided here, without a question.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::rate_limit) struct Decided {
    pub(in crate::rate_limit) leased: u64,
    pub(in crate::rate_limit) denied: u64,
}

impl Table {
    /// For at most `capacity` keys, which is not zero, rounded down to a multiple of the shards; all of
    /// their names begin with `start`.
    pub(super) fn new(capacity: usize, start: &str) -> Self {
        let shards = 1 << (capacity / SHARD).clamp(1, SHARDS).ilog2();
        let shard = || Shard {
            slots: HashTable::new(),
            capacity: capacity / shards,
            hand: 0,
            decided: Decided::default(),
            forgotten: Own::default(),
        };
        Self {
            shards: (0..shards).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::default(),
            start: start.len(),
        }
    }

    /// A caller comes for `key`, and gets what `keep` makes of the entry; `make` says
    /// its name and its line where it is new.
    #[inline]
    pub(super) fn enter<K: StoreKey + ?Sized, R>(
        &self,
        key: &K,
        caller: Caller<'_>,
        make: impl FnOnce() -> (String, Line),
        keep: impl FnOnce(&Arc<Entry>, Entered) -> R,
    ) -> R {
        let hash = key::hash(&self.hasher, key);
        let mut shard = lock(self.shard(hash));
        let found = shard.slots.find_bucket_index(hash, self.is(hash, key));
        let index = found.unwrap_or_else(|| shard.add(hash, caller.now, make));
        shard.enter(index, caller, keep)
    }

    /// What a caller for `key` hears who wants `cost`, where it is known that there is no room for it, and
    /// nobody is to ask all the same.
    pub(super) fn denied<K: StoreKey + ?Sized>(
        &self,
        key: &K,
        cost: u64,
        now: Timestamp,
    ) -> Option<Verdict> {
        let hash = key::hash(&self.hasher, key);
        let mut shard = lock(self.shard(hash));
        let found = shard.slots.find_mut(hash, self.is(hash, key))?;
        found.front.denied(&found.entry, cost, now)
    }

    /// The entry of `key`, where there is one.
    pub(super) fn get<K: StoreKey + ?Sized>(&self, key: &K) -> Option<Arc<Entry>> {
        let hash = key::hash(&self.hasher, key);
        let shard = lock(self.shard(hash));
        let found = shard.slots.find(hash, self.is(hash, key));
        found.map(|slot| Arc::clone(&slot.entry))
    }

    /// Every entry, one shard after the other.
    pub(super) fn for_each(&self, mut act: impl FnMut(&Arc<Entry>)) {
        for shard in &self.shards {
            lock(shard).slots.iter().for_each(|slot| act(&slot.entry));
        }
    }

    /// Calls that were decided without a question so far.
    pub(in crate::rate_limit) fn decided(&self) -> Decided {
        let decided = self.shards.iter().map(|shard| lock(shard).decided);
        decided.fold(Decided::default(), |sum, it| Decided {
            leased: sum.leased + it.leased,
            denied: sum.denied + it.denied,
        })
    }

    /// Entries now.
    #[cfg(test)]
    fn len(&self) -> usize {
        let entries = |shard: &Mutex<Shard>| lock(shard).slots.len();
        self.shards.iter().map(entries).sum()
    }

    /// Whether a slot is that of `key`, which has this hash.
    #[inline]
    fn is<K: StoreKey + ?Sized>(&self, hash: u64, key: &K) -> impl Fn(&Slot) -> bool {
        move |slot| slot.hash == hash && is_name(slot.entry.name_behind(self.start), key)
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // The map inside takes its place from the low bits and its tag from the top seven.
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }
}

impl Shard {
    /// A caller comes for the key at `index`.
    #[inline]
    fn enter<R>(
        &mut self,
        index: usize,
        caller: Caller<'_>,
        keep: impl FnOnce(&Arc<Entry>, Entered) -> R,
    ) -> R {
        let slot = self.slots.get_bucket_mut(index);
        let Slot {
            entry, front, used, ..
        } = slot.expect("it was just found");
        *used = caller.now;
        let entered = front.enter(entry, caller);
        match entered {
            Entered::Leased(_) => self.decided.leased += 1,
            Entered::Denied(_) => self.decided.denied += 1,
            Entered::Waits(_) | Entered::First(_) | Entered::Queued(..) => {}
        }
        keep(entry, entered)
    }

    /// Remembers one more key, with its name and its line, and says where.
    #[inline(never)]
    fn add(&mut self, hash: u64, now: Timestamp, make: impl FnOnce() -> (String, Line)) -> usize {
        self.make_room(now);
        let (name, mut line) = make();
        line.allowed(self.forgotten);
        let slot = Slot {
            hash,
            entry: Arc::new(Entry::new(&name, line)),
            front: Front::default(),
            used: now,
        };
        let added = self.slots.insert_unique(hash, slot, |slot| slot.hash);
        added.bucket_index()
    }

    /// Makes room for one more.
    fn make_room(&mut self, now: Timestamp) {
        if self.slots.len() < self.capacity {
            return;
        }
        let buckets = self.slots.num_buckets();
        let around = (self.hand..buckets).chain(0..self.hand);
        let sample = around.filter_map(|index| Some((index, self.slots.get_bucket(index)?)));
        let mut hand = 0;
        let spared = sample
            .take(SAMPLE)
            .inspect(|(index, _)| hand = index + 1)
            .min_by_key(|(_, Slot { entry, used, .. })| {
                // Whoever is served there would be served as well without the entry, but alone; and
                // whoever is held back there would ask the server again.
                let busy = entry.is_claimed() || entry.line().is_busy(now);
                (busy, *used)
            });
        let spared = spared.map(|(index, _)| index);
        self.hand = hand;
        if let Some(index) = spared
            && let Ok(slot) = self.slots.get_bucket_entry(index)
        {
            let (gone, _) = slot.remove();
            self.forgotten = self.forgotten.and(gone.entry.line().own());
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys are nobody's business.
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Entries that are looked at to find one that can go.
const SAMPLE: usize = 8;
/// Places in a shard at least: chance must not fill one long before the others.
const SHARD: usize = 64;
/// Shards at most; a power of two, some times the number of threads that meet here.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StoreError, rate_limit::line::Aftermath};

    const START: &str = "{test";

    fn touch(table: &Table, key: u64, now: u64) -> Arc<Entry> {
        let make = || (format!("{{test:{key}}}"), Line::new(&[], false));
        table.enter(
            &key,
            Caller {
                cost: 1,
                now: Timestamp::from_nanos(now),
                until: Timestamp::from_nanos(now),
                waker: None,
            },
            make,
            |entry, _| Arc::clone(entry),
        )
    }

    #[test]
    fn it_never_holds_more_than_its_capacity_and_keeps_what_is_used() {
        for capacity in [1, 7, 100, 1000] {
            let table = Table::new(capacity, START);
            for key in 0..3000 {
                touch(&table, key, key);
                if capacity >= 100 {
                    touch(&table, 0, key);
                }
            }
            assert!(table.len() <= capacity, "{} of {capacity}", table.len());
            assert_eq!(table.get(&0_u64).is_some(), capacity >= 100);
        }
    }

    /// Somebody comes for `key` and goes away, so that nobody is in its line.
    fn pass(table: &Table, key: u64, now: u64) -> Arc<Entry> {
        let entry = touch(table, key, now);
        let now = Timestamp::from_nanos(now);
        let mut line = entry.line();
        line.leave(0, now, &mut Aftermath::default());
        line.abandon(&StoreError::Unavailable, now, &mut Aftermath::default());
        assert!(!line.is_busy(now));
        drop(line);
        entry
    }

    #[test]
    fn who_waits_among_all_keys_keeps_the_entry_of_his() {
        let table = Table::new(7, START);
        let waits = pass(&table, 0, 0);
        assert!(waits.claim(1, 1));
        for key in 1..100 {
            pass(&table, key, key);
        }
        let found = table.get(&0_u64).expect("it is needed");
        assert!(Arc::ptr_eq(&waits, &found));
        waits.unclaim(1);
        for key in 100..110 {
            pass(&table, key, key);
        }
        assert!(table.get(&0_u64).is_none());
    }

    #[test]
    fn one_key_has_one_entry() {
        let table = Table::new(100, START);
        assert!(Arc::ptr_eq(&touch(&table, 1, 0), &touch(&table, 1, 1)));
        assert!(!Arc::ptr_eq(&touch(&table, 1, 2), &touch(&table, 2, 2)));
        assert_eq!(table.len(), 2);
    }
}
