use std::{borrow::Borrow, hash::Hash, sync::Arc};

use super::{
    entry::Entry,
    flight::{ByKey, Flight, Landing, Shard},
    follow::Follow,
    hashed::{Hashed, HashedRef},
    lead::Lead,
    shared::{Freshness, Lookup, Shared},
};

/// What becomes of one who needs a load.
#[derive(Debug)]
pub(super) enum Joined<K: Eq, V> {
    /// It has just ended.
    Landed(Entry<V>, Freshness),
    /// This one makes it.
    Lead(Lead<K, V>),
    /// Another makes it.
    Follow(Follow<K, V>),
}

impl<K: Hash + Eq + Clone, V: Clone> Shared<K, V> {
    /// Begins the load of `key`, or joins the one under way.
    pub(super) fn join(self: &Arc<Self>, key: &Hashed<K>) -> Joined<K, V> {
        if let Some(follow) = self.follow(key.of()) {
            return Joined::Follow(follow);
        }
        let flight = self.take_off(key);
        let mut shard = self.flights.shard(key.hash);
        if let Some(follow) = self.follow_in(&mut shard, key.of()) {
            return Joined::Follow(follow);
        }
        // A load that ended since the key was looked at has left its outcome here: it is stored
        // under the same lock. What is stale and waits for a load was there before.
        let now = self.environment.now();
        let landed = self.storage.peek(key.of(), |entry| self.judge(entry, now));
        match landed {
            Some(Lookup::Serve(entry, freshness)) => return Joined::Landed(entry, freshness),
            Some(Lookup::Refresh(entry, Freshness::Fresh)) => {
                return Joined::Landed(entry, Freshness::Fresh);
            }
            Some(Lookup::Refresh(_, Freshness::Stale) | Lookup::Stale(_) | Lookup::Miss) | None => {
            }
        }
        shard.insert(ByKey(flight.clone()));
        drop(shard);
        Joined::Lead(Lead::new(self.clone(), flight))
    }

    /// Begins the load of `key`, unless there is one under way, or has been since `entry` was
    /// looked at.
    pub(super) fn refresh(
        self: &Arc<Self>,
        key: &Hashed<K>,
        entry: &Entry<V>,
    ) -> Option<Lead<K, V>> {
        if self
            .under_way(&mut self.flights.shard(key.hash), key.of())
            .is_some()
        {
            return None;
        }
        let flight = self.take_off(key);
        let mut shard = self.flights.shard(key.hash);
        let stored = self.storage.peek(key.of(), |stored| stored.is(entry));
        if self.under_way(&mut shard, key.of()).is_some() || stored != Some(true) {
            return None;
        }
        shard.insert(ByKey(flight.clone()));
        drop(shard);
        Some(Lead::new(self.clone(), flight))
    }

    /// Stores `entry`, and gives it to all who wait for a load of its key, also to the one who
    /// makes it: that load is overtaken.
    pub(super) fn put(&self, key: Hashed<K>, entry: Entry<V>) {
        let mut shard = self.flights.shard(key.hash);
        // Cloned before anything is changed: that is foreign code, and may panic.
        let overtaken = shard.get(&key.of()).map(|_| Arc::new(entry.clone()));
        let overtaken = overtaken.zip(shard.swap_take(&key.of()));
        let removed = self.storage.insert(key, entry);
        drop(shard);
        // Nobody waits for the drop of what had to go, which is foreign code and may panic.
        if let Some((entry, ByKey(flight))) = overtaken {
            flight.land(Landing::Entry(entry));
        }
        drop(removed);
    }

    fn take_off(&self, key: &Hashed<K>) -> Arc<Flight<K, V>> {
        let now = self.environment.now();
        // Stamped before the load begins, so that nothing that is invalidated from here on is
        // missed.
        Arc::new(Flight::new(key.clone(), self.stamp(&key.key), now))
    }

    fn follow(self: &Arc<Self>, key: HashedRef<'_, K>) -> Option<Follow<K, V>> {
        let mut shard = self.flights.shard(key.hash);
        self.follow_in(&mut shard, key)
    }

    fn follow_in(
        self: &Arc<Self>,
        shard: &mut Shard<K, V>,
        key: HashedRef<'_, K>,
    ) -> Option<Follow<K, V>> {
        let flight = self.under_way(shard, key)?;
        Some(Follow::new(self.clone(), flight.clone()))
    }

    /// The load of `key`, where there is one that can still end.
    fn under_way<'a>(
        &self,
        shard: &'a mut Shard<K, V>,
        key: HashedRef<'_, K>,
    ) -> Option<&'a Arc<Flight<K, V>>> {
        let (index, ByKey(flight)) = shard.get_full(&key)?;
        let running = self.environment.now().saturating_since(flight.began());
        if running >= self.longest_load() {
            // Its leader is not polled any more, or would have ended it: those who wait have
            // their own deadlines, and who comes now begins anew.
            shard.swap_remove_index(index);
            return None;
        }
        Some(&shard[index].0)
    }
}

impl<K: Hash + Eq, V> Shared<K, V> {
    /// Forgets `key`; a load that is under way is not stored, and nobody joins it any more.
    pub(super) fn invalidate<Q>(&self, key: HashedRef<'_, Q>)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut shard = self.flights.shard(key.hash);
        let flight = shard.swap_take(&key);
        let removed = self.storage.remove(key);
        drop(shard);
        drop((flight, removed));
    }
}
