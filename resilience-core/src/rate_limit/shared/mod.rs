//! What all clones of a limiter share.

mod admit;
mod cells;
mod whose;

use std::{
    borrow::Borrow,
    hash::Hash,
    sync::{
        Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub(super) use self::{admit::Admission, whose::Whose};
use super::{
    booking::Booking,
    cell::Cell,
    keyless::{Keyless, Lending},
    keys::Keys,
    plan::Plan,
    policy::{Charge, Checked, MissingKey, Mode, Rules, Tier},
    state::{self, Standing},
    tally::{Decision, Tally},
};
use crate::{
    Environment, InvalidPolicy, Timestamp,
    address::{Address, Tenancy},
    clock::{Reading, nanos},
    sync::{Mutex, lock},
};

/// What all clones of a limiter share.
pub(super) struct Shared<K> {
    name: &'static str,
    missing_key: MissingKey,
    charge: Charge,
    capacity: usize,
    max_wait: AtomicU64,
    shadow: AtomicBool,
    tiers: Box<[&'static str]>,
    tier_of: Option<TierOf<K>>,
    /// Locked within a cell's lock, for new cells and changed ones alone.
    rules: Mutex<Rules>,
    keys: Keys<K>,
    /// Of a limiter without keys, and of requests without a key.
    keyless: Keyless,
    /// Locked within a cell's lock.
    global: Option<Mutex<Cell>>,
    tally: Tally,
    environment: Environment,
    tenancy: Tenancy,
}

/// Finds the name of a key's tier.
pub(super) type TierOf<K> = Box<dyn Fn(&K) -> &'static str + Send + Sync>;

impl<K> Shared<K> {
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    #[inline]
    pub(super) const fn charge(&self) -> Charge {
        self.charge
    }

    #[inline]
    pub(super) const fn address(&self) -> Address<Self> {
        self.tenancy.address()
    }

    pub(super) fn is_shadow(&self) -> bool {
        self.shadow.load(Ordering::Relaxed)
    }

    /// How long a call may wait: in shadow, where nobody is held up, not at all.
    pub(super) fn max_wait(&self) -> Duration {
        if self.is_shadow() {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.max_wait.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn now(&self) -> Timestamp {
        self.environment.now()
    }

    /// What the clock shows now.
    #[inline(always)]
    pub(super) fn read(&self) -> Reading {
        self.environment.read()
    }
}

impl<K: Hash + Eq + Clone + Send + 'static> Shared<K> {
    pub(super) fn new(
        policy: Checked,
        tier_of: Option<TierOf<K>>,
        environment: &Environment,
        this: &Weak<Self>,
    ) -> Self {
        let rules = policy.rules;
        let lending = match rules.global {
            None => Lending::Alone,
            Some(_) => Lending::BesideAnother,
        };
        let keyless = Cell::new(rules.of_tier(Tier::None), Tier::None);
        Self {
            name: policy.name,
            missing_key: policy.missing_key,
            charge: policy.charge,
            capacity: policy.capacity,
            max_wait: AtomicU64::new(nanos(policy.max_wait)),
            shadow: AtomicBool::new(policy.mode == Mode::Shadow),
            tier_of,
            tiers: rules.tiers.iter().map(|(name, _)| *name).collect(),
            keys: Keys::new(policy.capacity, Plan::of(&rules)),
            keyless: Keyless::new(keyless, lending, environment.calibration()),
            global: rules
                .global
                .map(|rule| Mutex::new(Cell::new([rule], Tier::None))),
            rules: Mutex::new(rules),
            tally: Tally::default(),
            environment: environment.clone(),
            tenancy: Tenancy::new(this.clone()),
        }
    }

    pub(super) fn reconfigure(&self, policy: Checked) -> Result<(), InvalidPolicy> {
        self.check_fixed(&policy)?;
        {
            let mut rules = lock(&self.rules);
            if !rules.is_shaped_like(&policy.rules) {
                let problem = "must be as many as before, and tiers of the same names";
                return Err(InvalidPolicy::new("quotas", problem));
            }
            *rules = policy.rules;
        }
        self.max_wait
            .store(nanos(policy.max_wait), Ordering::Relaxed);
        let shadow = policy.mode == Mode::Shadow;
        self.shadow.store(shadow, Ordering::Relaxed);
        // Each cell takes the rules that are in force when its turn comes, and a new cell too: of
        // two changes at once the later one holds everywhere.
        let now = self.environment.now();
        self.keys.follow(now, || lock(&self.rules).clone());
        self.keyless
            .with(|cell| self.update_rules(cell, now, Tier::None));
        if let Some(global) = &self.global {
            let mut cell = lock(global);
            let rule = lock(&self.rules).global;
            cell.follow(now, rule, Tier::None);
        }
        Ok(())
    }

    pub(super) fn peek<Q>(&self, key: &Q) -> (Duration, Standing)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.now();
        let tier = self.tier_of(key);
        self.look(Whose::Key(key), now, |[own, global]| match own {
            Some(cell) => {
                self.update_tier(cell, now, tier);
                state::peek([Some(cell), global], now)
            }
            None => state::peek([Some(&mut self.new_cell(tier)), global], now),
        })
    }

    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// How many calls were decided like this.
    pub(super) fn count(&self, decision: Decision) -> u64 {
        let count = self.tally.read(decision);
        match decision {
            Decision::Allowed => count
                .wrapping_add(self.keyless.allowed())
                .wrapping_add(self.keys.allowed()),
            Decision::Waited | Decision::Denied | Decision::WouldDeny => count,
        }
    }

    /// Where the quotas of a call stand.
    #[cfg(feature = "http")]
    pub(super) fn standing(&self, whose: &Whose<K>) -> Standing {
        let reading = self.read();
        if whose.as_ref().is_keyless::<K>()
            && let Some((status, next_back)) = self.keyless.look(reading)
        {
            let name = self.keyless.name();
            return Standing {
                name,
                status,
                next_back,
            };
        }
        let now = reading.time();
        self.visit(whose.as_ref(), now, |cells| state::look(cells, now))
    }

    pub(super) fn refund<Q>(&self, key: &Q, units: u64)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = self.now();
        self.look(Whose::Key(key), now, |cells| {
            state::refund(cells, now, units)
        });
    }

    /// Gives back all that is left of `booking`.
    pub(super) fn give_back(&self, whose: &Whose<K>, booking: &Booking) {
        let now = self.environment.now();
        self.look(whose.as_ref(), now, |cells| {
            state::cancel(cells, now, booking)
        });
    }

    fn check_fixed(&self, policy: &Checked) -> Result<(), InvalidPolicy> {
        let fixed = [
            ("name", policy.name == self.name),
            ("capacity", policy.capacity == self.capacity),
            ("missing_key", policy.missing_key == self.missing_key),
            ("charge", policy.charge == self.charge),
        ];
        match fixed.iter().find(|(_, same)| !same) {
            Some((field, _)) => Err(InvalidPolicy::new(field, "cannot change while in use")),
            None => Ok(()),
        }
    }
}
