//! An engine: what asks for the keys of one tier, of none, or for all keys, as the clones of a limiter
//! share it.

mod ask;
pub(super) mod both;
mod build;
mod coming;
mod degraded;
mod table;
mod taken;
mod tally;
mod told;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience_core::rate_limit::{Charge, MissingKey, Mode, Terms};

use self::{table::Table, tally::Tally};
use crate::{
    RedisStore, StoreError, StoreKey, key,
    rate_limit::{
        fallback::{Fallback, Stake},
        lane::Lane,
        line::Entry,
        options::Options,
        quota::Rule,
        refund::Refund,
    },
};

pub(super) use self::{
    ask::{Ask, Decide, InLine},
    build::build,
    taken::{Answered, Taken},
    told::{Receipt, Standing, Told},
};

pub(super) struct Engine {
    pub(super) name: &'static str,
    pub(super) store: RedisStore,
    /// What all keys of this policy begin with, the name included.
    pub(super) key_start: String,
    pub(super) table: Table,
    pub(super) charge: Charge,
    pub(super) missing_key: MissingKey,
    pub(super) fallback: Fallback,
    shadow: AtomicBool,
    /// How long callers wait for room, in nanoseconds.
    max_wait: AtomicU64,
    /// Whether one who came at any time may be waiting for room.
    may_wait: AtomicBool,
    /// Whether units may be taken ahead.
    leases: bool,
    pub(super) lane: Arc<Lane>,
    pub(super) stake: Stake,
    pub(super) tally: Tally,
    /// Taken by whoever changes the rules.
    changing: Mutex<()>,
    /// Those of keys that are in a tier, by its name.
    pub(super) tiers: Box<[(&'static str, Arc<Self>)]>,
    /// That of the quota which all keys share.
    pub(super) global: Option<Arc<Self>>,
}

/// Where an engine of a limiter is, and what holds for all of them.
struct Site<'a> {
    pub(super) name: &'static str,
    pub(super) key_start: String,
    pub(super) store: &'a RedisStore,
    pub(super) options: &'a Options,
    pub(super) terms: &'a Terms,
}

impl Engine {
    fn new(site: Site<'_>, rules: Box<[Rule]>, stake: Stake) -> Self {
        let Site {
            name,
            key_start,
            store,
            options,
            terms,
        } = site;
        Self {
            name,
            store: store.clone(),
            table: Table::new(terms.capacity, &key_start),
            key_start,
            charge: terms.charge,
            missing_key: terms.missing_key,
            fallback: options.fallback,
            shadow: AtomicBool::new(terms.mode == Mode::Shadow),
            max_wait: AtomicU64::new(nanos(terms.max_wait)),
            may_wait: AtomicBool::new(!terms.max_wait.is_zero()),
            leases: options.lease_percent > 0,
            lane: Arc::new(Lane::new(store, rules.into(), options, stake.clone())),
            stake,
            tally: Tally::default(),
            changing: Mutex::new(()),
            tiers: Box::default(),
            global: None,
        }
    }

    /// Whether nobody is refused.
    #[inline]
    pub(super) fn is_shadow(&self) -> bool {
        self.shadow.load(Ordering::Relaxed)
    }

    /// How many nanoseconds a caller may wait for room who wants to.
    pub(super) fn max_wait(&self) -> u64 {
        if self.is_shadow() {
            return 0;
        }
        self.max_wait.load(Ordering::Relaxed)
    }

    /// Callers who wait until there is room. Takes time for each key that is remembered, where anybody
    /// could ever wait.
    pub(super) fn waiting(&self) -> u64 {
        let mut waiting = 0;
        if self.may_wait.load(Ordering::Relaxed) {
            self.table
                .for_each(|entry| waiting += entry.waiting() as u64);
        }
        waiting
    }

    /// Gives back what was taken of `entry`: to the lease that it is of, where that is there still.
    pub(super) fn give_back(&self, entry: &Arc<Entry>, receipt: Receipt) {
        let Receipt {
            units,
            taken,
            lease,
        } = receipt;
        if lease.is_some_and(|end| self.lane.put_back(entry, units, end)) {
            return;
        }
        let refund = Refund::exact(entry, units, self.lane.rules(), taken);
        self.lane.give_back([refund]);
    }

    /// What all keys of `key` on the server begin with, the hash tag included.
    pub(super) fn name_of<K: StoreKey + ?Sized>(&self, key: &K) -> String {
        let mut name = self.key_start.clone();
        key::push_parts(&mut name, key);
        name.push('}');
        name
    }

    /// Gives `units` of `key` back, the oldest, whether anybody waits for it or not.
    pub(super) async fn refund<K: StoreKey + ?Sized>(
        &self,
        key: &K,
        units: u64,
    ) -> Result<(), StoreError> {
        let (lane, name) = (Arc::clone(&self.lane), self.name_of(key));
        let entry = self.table.get(key);
        let is_new = entry.is_none();
        let back = async move {
            let outcome = lane.refund_oldest(&name, units).await;
            // What is known of it is so no more.
            lane.doubt(&entry);
            outcome
        };
        let done = self.lane.runtime().spawn(back).await;
        if is_new {
            // Somebody may have come for it meanwhile.
            self.lane.doubt(&self.table.get(key));
        }
        done.unwrap_or(Err(StoreError::Unavailable))
    }

    /// The counts of `key` are gone, and with them what was taken ahead.
    pub(super) fn forget<K: StoreKey + ?Sized>(&self, key: &K) {
        if let Some(entry) = self.table.get(key)
            && self.forget_entry(&entry)
        {
            self.lane.push(entry);
        }
    }

    /// All counts are gone.
    pub(super) fn forget_all(&self) {
        self.change_all(|entry| self.forget_entry(entry));
    }

    /// Changes every entry, and sends somebody to ask for those of whom that is said.
    fn change_all(&self, change: impl Fn(&Entry) -> bool) {
        let mut asked = Vec::new();
        self.table.for_each(|entry| {
            let asks = change(entry);
            asked.extend(asks.then(|| Arc::clone(entry)));
        });
        // Not before the table is free again.
        asked.into_iter().for_each(|entry| self.lane.push(entry));
    }

    /// Says whether somebody must be sent to ask for those who wait.
    fn forget_entry(&self, entry: &Entry) -> bool {
        self.stake.forget(entry.name());
        let unused = {
            let mut line = entry.line();
            line.forget();
            line.surrender()
        };
        if let Some(unused) = unused {
            self.lane.leases.settle(unused.units, false);
        }
        self.lane.recall(entry)
    }

    /// Takes over what `rules` allow, which count alike, and what else can change of `terms`.
    pub(super) fn follow(&self, rules: &[Rule], terms: &Terms) {
        self.lane.follow(rules);
        let shadow = terms.mode == Mode::Shadow;
        self.shadow.store(shadow, Ordering::Relaxed);
        self.max_wait
            .store(nanos(terms.max_wait), Ordering::Relaxed);
        // Who waits already goes on, also where nobody may who comes now.
        if !terms.max_wait.is_zero() {
            self.may_wait.store(true, Ordering::Relaxed);
        }
        self.change_all(|entry| self.lane.recall(entry));
        let unused = self.lane.leases.surrender(self.lane.rules());
        self.lane.give_back(unused);
    }
}

impl Drop for Engine {
    /// What was taken ahead goes back, where the runtime is still there to do it.
    fn drop(&mut self) {
        let refunds = self.lane.leases.surrender(self.lane.rules());
        self.lane.give_back(refunds);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
