//! A limiter as its clones share it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use resilience_core::{
    InvalidPolicy,
    rate_limit::{Charge, MissingKey, Mode, Policy},
};

use super::{
    ask::{Ask, Place, Receipt},
    decision::Source,
    fallback::{Fallback, Share},
    lane::Lane,
    line::{Caller, Entered, Line},
    options::Options,
    refund::Refund,
    register,
    rules::{Kind, Rule, rules},
    table::{Entry, Table},
    tally::Tally,
};
use crate::{RedisStore, StoreError, StoreKey, key};

pub(super) struct Shared {
    pub(super) name: &'static str,
    pub(super) store: RedisStore,
    /// What all keys of this policy begin with, the name included.
    pub(super) key_start: String,
    pub(super) table: Table,
    pub(super) charge: Charge,
    pub(super) missing_key: MissingKey,
    pub(super) fallback: Fallback,
    shadow: AtomicBool,
    /// Whether units may be taken ahead.
    leases: bool,
    pub(super) lane: Arc<Lane>,
    pub(super) share: Arc<Share>,
    pub(super) tally: Tally,
    /// From when on the next outage is worth a line in the log, in nanoseconds.
    quiet_until: AtomicU64,
    /// Taken by whoever changes the rules.
    changing: Mutex<()>,
}

impl Shared {
    pub(super) fn new(
        policy: &Policy,
        store: &RedisStore,
        options: &Options,
    ) -> Result<Self, InvalidPolicy> {
        let terms = policy.terms()?;
        let rules = rules(&terms)?;
        check_leases(options, &rules)?;
        let connection = store.connection().clone();
        let prefix = connection.settings().key_prefix().to_owned();
        let share = Arc::new(Share::new(&terms, &options.environment)?);
        let nodes = key::start(&prefix, NODES, policy.name())? + "}";
        register::keep(store, nodes, &share, &options.environment);
        Ok(Self {
            name: policy.name(),
            store: store.clone(),
            key_start: key::start(&prefix, KIND, policy.name())?,
            table: Table::new(terms.capacity),
            charge: terms.charge,
            missing_key: terms.missing_key,
            fallback: options.fallback,
            shadow: AtomicBool::new(terms.mode == Mode::Shadow),
            leases: options.lease_percent > 0,
            lane: Arc::new(Lane::new(
                connection,
                store.runtime().clone(),
                rules.into(),
                options,
                Arc::clone(&share),
            )),
            share,
            tally: Tally::default(),
            quiet_until: AtomicU64::new(0),
            changing: Mutex::new(()),
        })
    }

    /// Whether nobody is refused.
    #[inline]
    pub(super) fn is_shadow(&self) -> bool {
        self.shadow.load(Ordering::Relaxed)
    }

    /// A caller comes for `key` who wants `cost`; of its entry he keeps what `keep` takes, where
    /// nobody needs to be asked. Else `waker` is woken when there is an answer.
    #[inline]
    pub(super) fn ask<K: StoreKey + ?Sized, E>(
        self: &Arc<Self>,
        key: &K,
        cost: u64,
        waker: Option<&Waker>,
        keep: impl FnOnce(&Arc<Entry>) -> E,
    ) -> Ask<E> {
        let cost = match self.never_fits(cost) {
            None => cost,
            Some(rejected) => match self.refuse((cost, Source::DeniedLocally), rejected) {
                Err(rejected) => return Ask::Refused(rejected),
                // Who goes on and takes nothing has a look.
                Ok(_) => 0,
            },
        };
        let now = self.lane.now();
        let make = || {
            let name = self.name_of(key).into();
            (name, Line::new(self.lane.rules(), self.leases))
        };
        let mut first = None;
        let waits = |entry: &Arc<Entry>, place| Ask::Waits(Place::new(self, entry, cost, place));
        let found = |entry: &Arc<Entry>, entered| match entered {
            Entered::Denied(verdict) => Err(verdict),
            Entered::Leased(spent) => Ok(Ask::Leased(spent, keep(entry))),
            Entered::Waits(place) => Ok(waits(entry, place)),
            Entered::First(place) => {
                first = Some(Arc::clone(entry));
                Ok(waits(entry, place))
            }
        };
        let found = self
            .table
            .enter(key, Caller { cost, now, waker }, make, found);
        if let Some(entry) = first {
            self.lane.push(entry);
        }
        found.unwrap_or_else(|verdict| {
            match self.refuse((cost, Source::DeniedLocally), self.rejected(&verdict)) {
                Err(rejected) => Ask::Refused(rejected),
                Ok(status) => Ask::Spared(status),
            }
        })
    }

    /// Tells the operator that this process decides alone, or nobody: not with every call.
    pub(super) fn warn(&self, error: &StoreError) {
        let now = self.lane.now();
        let until = self.quiet_until.load(Ordering::Relaxed);
        let next = now.saturating_add(BETWEEN_WARNINGS).as_nanos();
        if now.as_nanos() >= until
            && self
                .quiet_until
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let (policy, fallback) = (self.name, self.fallback);
            tracing::warn!(policy, ?fallback, reason = %error, "redis gives no decision");
        }
    }

    /// Gives back what was taken of `entry`: to the lease that it is of, where that is there still.
    pub(super) fn give_back(&self, entry: &Arc<Entry>, receipt: Receipt) {
        let Receipt {
            units,
            taken,
            lease,
        } = receipt;
        if lease.is_some_and(|end| entry.line().put_back(units, end)) {
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

    /// What is known of `key` is so no more.
    pub(super) fn doubt<K: StoreKey + ?Sized>(&self, key: &K) {
        if let Some(entry) = self.table.get(key) {
            entry.line().doubt();
        }
    }

    /// The counts of `key` are gone, and with them what was taken ahead.
    pub(super) fn forget<K: StoreKey + ?Sized>(&self, key: &K) {
        if let Some(entry) = self.table.get(key) {
            self.forget_entry(&entry);
        }
    }

    /// All counts are gone.
    pub(super) fn forget_all(&self) {
        self.table.for_each(|entry| self.forget_entry(entry));
    }

    fn forget_entry(&self, entry: &Entry) {
        self.share.forget(entry.name());
        let mut line = entry.line();
        line.forget();
        if let Some(unused) = line.surrender() {
            self.lane.leases.settle(unused.units, false);
        }
    }

    pub(super) fn reconfigure(&self, policy: &Policy) -> Result<(), InvalidPolicy> {
        let fixed = |field| InvalidPolicy::new(field, "cannot change while in use");
        let terms = policy.terms()?;
        let new = rules(&terms)?;
        if policy.name() != self.name {
            return Err(fixed("name"));
        }
        let kinds = |rules: &[Rule]| -> Vec<Kind> { rules.iter().map(|rule| rule.kind).collect() };
        if kinds(self.lane.rules()) != kinds(&new) {
            return Err(fixed("quotas"));
        }
        let _changing = self.changing.lock();
        self.share.follow(&terms)?;
        self.lane.follow(&new);
        let shadow = terms.mode == Mode::Shadow;
        self.shadow.store(shadow, Ordering::Relaxed);
        self.table.for_each(|entry| entry.line().doubt());
        self.lane
            .give_back(self.lane.leases.surrender(self.lane.rules()));
        Ok(())
    }
}

impl Drop for Shared {
    /// What was taken ahead goes back, where the runtime is still there to do it.
    fn drop(&mut self) {
        let refunds = self.lane.leases.surrender(self.lane.rules());
        self.lane.give_back(refunds);
    }
}

fn check_leases(options: &Options, rules: &[Rule]) -> Result<(), InvalidPolicy> {
    let invalid = |problem| Err(InvalidPolicy::new("lease_up_to", problem));
    match options.lease_percent {
        0 => Ok(()),
        101.. => invalid("must be 0 to 100 percent of the limit"),
        _ if rules.iter().any(|rule| rule.step_length().is_none()) => {
            invalid("is for sliding windows: others have no steps in which a unit may be used late")
        }
        _ => Ok(()),
    }
}

const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);
/// What stands in a key after the prefix, for a rate limit.
const KIND: &str = "rl";
/// What stands there for the processes that have the limiter.
const NODES: &str = "nodes";
