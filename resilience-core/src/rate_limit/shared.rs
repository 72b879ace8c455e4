use std::{
    borrow::Borrow,
    hash::Hash,
    sync::{
        Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    front::{ClockSeen, Pass},
    keyless::{Keyless, Lending},
    keys::{Keys, Verdict},
    plan::Plan,
    policy::{Charge, Checked, MissingKey, Mode, Rules, Tier},
    state::{self, Booking, Cell, Cells, Refusal, Standing},
    tally::{Decision, Tally},
};
use crate::{
    Environment, Event, InvalidPolicy, QuotaStatus, Reason, Rejected, Timestamp,
    address::{Address, Tenancy},
    clock::nanos,
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

/// Whose quotas a call meets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose<K> {
    /// Those of a key.
    Key(K),
    /// Those that all requests without a key share.
    Nobody,
    /// None but the quota of all keys.
    Exempt,
}

impl<K> Whose<K> {
    /// Whether the quota of those without a key is meant, or of a limiter without keys `Of`.
    #[inline]
    const fn is_keyless<Of>(&self) -> bool {
        match self {
            Self::Key(_) => !has_keys::<Of>(),
            Self::Nobody => true,
            Self::Exempt => false,
        }
    }

    pub(super) const fn as_ref(&self) -> Whose<&K> {
        match self {
            Self::Key(key) => Whose::Key(key),
            Self::Nobody => Whose::Nobody,
            Self::Exempt => Whose::Exempt,
        }
    }
}

/// A call that may go on.
#[derive(Debug)]
pub(super) struct Admission {
    /// `None` where a shadow policy took nothing.
    pub(super) booking: Option<Booking>,
    /// How long until it may use what it booked.
    pub(super) wait: Duration,
    /// Where the tightest quota stands.
    pub(super) status: QuotaStatus,
    pub(super) now: Timestamp,
}

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

    pub(super) fn now(&self) -> Timestamp {
        self.environment.now()
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
            keyless: Keyless::new(keyless, lending),
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

    /// The one door: decides, counts and reports.
    #[inline(always)]
    pub(super) fn admit<Q>(
        &self,
        whose: Whose<&Q>,
        units: u64,
        max_wait: impl FnOnce() -> Duration,
    ) -> Result<Admission, Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.environment.now();
        let passed = match whose {
            Whose::Key(key) if has_keys::<K>() && self.asks_keys_alone() => {
                match self.keys.take(key, now, units, max_wait) {
                    Verdict::Passed(booking, status) => (booking, status),
                    verdict => return self.conclude(verdict, now),
                }
            }
            Whose::Key(_) | Whose::Nobody | Whose::Exempt => {
                let pass = whose
                    .is_keyless::<K>()
                    .then(|| self.keyless.take(now, units));
                match pass.flatten() {
                    Some(pass) => {
                        self.hear_of(&pass, now);
                        (pass.booking, pass.status)
                    }
                    None => return self.decide(whose, now, units, max_wait()),
                }
            }
        };
        let (booking, status) = passed;
        Ok(Admission {
            booking: Some(booking),
            wait: Duration::ZERO,
            status,
            now,
        })
    }

    /// Whether a key's one quota is all that its calls meet.
    #[inline]
    fn asks_keys_alone(&self) -> bool {
        self.tier_of.is_none() && self.keys.lending() == Lending::Alone
    }

    /// Makes up for what the words alone would tell wrongly of a call.
    #[inline]
    fn hear_of(&self, pass: &Pass, now: Timestamp) {
        if pass.heard_as != 1 {
            self.tally.count_as(Decision::Allowed, pass.heard_as);
        }
        if pass.clock == ClockSeen::FallenBack {
            self.keyless.with(|cell| cell.move_to(now));
        }
    }

    /// Decides where the words do not admit at once.
    #[inline(never)]
    fn decide<Q>(
        &self,
        whose: Whose<&Q>,
        now: Timestamp,
        units: u64,
        max_wait: Duration,
    ) -> Result<Admission, Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if units == 1
            && whose.is_keyless::<K>()
            && let Some(refused) = self.keyless.refuse(now)
            && refused.wait > max_wait
        {
            let refusal = Refusal::Wait(refused.wait);
            return self.refuse_at(now, refusal, self.keyless.name(), refused.status);
        }
        let take = |cells: Cells<'_>| state::take(cells, now, units, max_wait);
        let verdict = Verdict::of(self.visit(whose, now, take));
        if let Verdict::Passed(..) = verdict {
            self.tally.count(Decision::Allowed);
        }
        self.conclude(verdict, now)
    }

    /// Counts and reports what was decided, but for calls that passed at once.
    #[inline(never)]
    fn conclude(&self, verdict: Verdict, now: Timestamp) -> Result<Admission, Rejected> {
        let (booking, wait, status) = match verdict {
            Verdict::Passed(booking, status) => (booking, Duration::ZERO, status),
            Verdict::Booked(booking, wait, status) => {
                self.tally.count(Decision::Waited);
                (booking, wait, status)
            }
            Verdict::Refused(refusal, name, status) => {
                return self.refuse_at(now, refusal, name, status);
            }
        };
        Ok(Admission {
            booking: Some(booking),
            wait,
            status,
            now,
        })
    }

    /// Refuses what `quota` has no room for, but for a shadow policy.
    fn refuse_at(
        &self,
        now: Timestamp,
        refusal: Refusal,
        quota: &'static str,
        status: QuotaStatus,
    ) -> Result<Admission, Rejected> {
        let rejected = match refusal {
            Refusal::Wait(wait) => Rejected::new(Reason::RateLimited, quota).with_retry_after(wait),
            Refusal::NeverFits => Rejected::new(Reason::CostExceedsQuota, quota),
        };
        self.refuse(rejected.with_quota(status))?;
        Ok(Admission {
            booking: None,
            wait: Duration::ZERO,
            status,
            now,
        })
    }

    /// Where the quotas of a call stand.
    #[cfg(feature = "http")]
    pub(super) fn standing(&self, whose: &Whose<K>) -> Standing {
        let now = self.environment.now();
        if whose.as_ref().is_keyless::<K>()
            && let Some((status, next_back)) = self.keyless.look(now)
        {
            let name = self.keyless.name();
            return Standing {
                name,
                status,
                next_back,
            };
        }
        self.visit(whose.as_ref(), now, |cells| state::look(cells, now))
    }

    /// Whose quotas a request without a key meets: `None` where it meets none.
    pub(super) fn without_key(&self) -> Result<Option<Whose<K>>, Rejected> {
        match self.missing_key {
            MissingKey::Shared => return Ok(Some(Whose::Nobody)),
            MissingKey::Admit if self.global.is_some() => return Ok(Some(Whose::Exempt)),
            MissingKey::Admit => self.tally.count(Decision::Allowed),
            MissingKey::Refuse => self.refuse(Rejected::new(Reason::MissingKey, self.name))?,
        }
        Ok(None)
    }

    /// Refuses, but for a shadow policy, which only says that it would.
    fn refuse(&self, rejected: Rejected) -> Result<(), Rejected> {
        if self.is_shadow() {
            self.tally.count(Decision::WouldDeny);
            self.environment.emit(&Event::WouldReject(&rejected));
            return Ok(());
        }
        self.tally.count(Decision::Denied);
        self.environment.emit(&Event::Rejected(&rejected));
        Err(rejected)
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

    /// Lets `act` work on the cells of a call, which are made where they are missing.
    fn visit<Q, R>(&self, whose: Whose<&Q>, now: Timestamp, act: impl FnOnce(Cells<'_>) -> R) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match whose {
            Whose::Key(key) if has_keys::<K>() => {
                let tier = self.tier_of(key);
                let make = || self.new_cell(tier);
                self.keys.with(key, now, make, |cell| {
                    self.update_tier(cell, now, tier);
                    self.with_global(Some(cell), act)
                })
            }
            Whose::Key(_) | Whose::Nobody => {
                self.keyless.with(|cell| self.with_global(Some(cell), act))
            }
            Whose::Exempt => self.with_global(None, act),
        }
    }

    /// Lets `act` work on the cells of a call as far as they are there.
    fn look<Q, R>(&self, whose: Whose<&Q>, now: Timestamp, act: impl FnOnce(Cells<'_>) -> R) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match whose {
            Whose::Key(key) if has_keys::<K>() => {
                let keys = &self.keys;
                keys.peek(key, now, |cell| self.with_global(cell, act))
            }
            Whose::Key(_) | Whose::Nobody => {
                self.keyless.with(|cell| self.with_global(Some(cell), act))
            }
            Whose::Exempt => self.with_global(None, act),
        }
    }

    fn with_global<R>(&self, own: Option<&mut Cell>, act: impl FnOnce(Cells<'_>) -> R) -> R {
        let mut global = self.global.as_ref().map(lock);
        act([own, global.as_deref_mut()])
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

    fn new_cell(&self, tier: Tier) -> Cell {
        Cell::new(lock(&self.rules).of_tier(tier), tier)
    }

    fn update_tier(&self, cell: &mut Cell, now: Timestamp, tier: Tier) {
        if cell.tier() != tier {
            self.update_rules(cell, now, tier);
        }
    }

    fn update_rules(&self, cell: &mut Cell, now: Timestamp, tier: Tier) {
        let rules = lock(&self.rules);
        cell.follow(now, rules.of_tier(tier), tier);
    }

    /// Asks the closure of [`with_tiers`](super::RateLimiter::with_tiers), where there is one.
    fn tier_of<Q>(&self, key: &Q) -> Tier
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        match &self.tier_of {
            None => Tier::None,
            Some(tier_of) => {
                let name = tier_of(&key.to_owned());
                let index = self.tiers.iter().position(|tier| *tier == name);
                index.map_or(Tier::None, Tier::Index)
            }
        }
    }
}

const fn has_keys<K>() -> bool {
    // A type without a size has one value, which needs no map.
    size_of::<K>() > 0
}
