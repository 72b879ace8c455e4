use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use resilience_core::{
    Event, InvalidPolicy, QuotaStatus, Reason, Rejected,
    rate_limit::{Charge, Mode, Policy},
};

use super::{
    decision::{Decision, Source},
    grant::Verdict,
    lane::Lane,
    line::{Answer, Entered, Line},
    options::Options,
    refund::Refund,
    rules::{Kind, MOST_UNITS, Rule, rules},
    server_clock::since_1970,
    table::{Entry, Table},
};
use crate::{RedisStore, StoreError, StoreKey, key};

/// A rate limit whose counts stand in a [`RedisStore`].
///
/// Clones are the same limiter.
#[derive(Clone)]
pub struct RateLimiter(pub(super) Arc<Shared>);

pub(super) struct Shared {
    name: &'static str,
    store: RedisStore,
    /// What all keys of this policy begin with, the name included.
    key_start: String,
    table: Table,
    lane: Arc<Lane>,
    /// Taken by whoever changes the rules.
    changing: Mutex<()>,
}

impl RateLimiter {
    pub(crate) fn new(
        policy: &Policy,
        store: &RedisStore,
        options: &Options,
    ) -> Result<Self, InvalidPolicy> {
        let terms = policy.terms()?;
        let unsupported = |field| InvalidPolicy::new(field, "is not supported by this store");
        if terms.mode != Mode::Enforce {
            return Err(unsupported("mode"));
        }
        if terms.charge != Charge::Every {
            return Err(unsupported("charge"));
        }
        let rules = rules(&terms)?;
        let connection = store.connection().clone();
        let prefix = connection.settings().key_prefix();
        let key_start = key::start(prefix, KIND, policy.name())?;
        Ok(Self(Arc::new(Shared {
            name: policy.name(),
            store: store.clone(),
            key_start,
            table: Table::new(terms.capacity),
            lane: Arc::new(Lane::new(
                connection,
                store.runtime().clone(),
                rules.into(),
                options.environment.clone(),
            )),
            changing: Mutex::new(()),
        })))
    }

    /// Takes one unit of `key` from every quota, or nothing.
    ///
    /// # Errors
    ///
    /// As [`try_take_n`](Self::try_take_n).
    pub async fn try_take<K>(&self, key: &K) -> Result<QuotaStatus, Rejected>
    where
        K: StoreKey + ?Sized,
    {
        self.decide(key, 1).await.outcome
    }

    /// Takes `cost` units of `key` from every quota, or nothing; a cost of zero only looks.
    ///
    /// Returns where the quota stands that has the fewest units left.
    ///
    /// # Errors
    ///
    /// [`Reason::RateLimited`] where a quota is used up; its `retry_after` is the shortest wait
    /// after which the same call succeeds if nobody else takes from the key, and it names the quota
    /// that asks for this wait. [`Reason::CostExceedsQuota`] where no wait would help.
    /// [`Reason::StoreUnavailable`] where Redis gave no decision within
    /// [`Settings::decision_timeout`](crate::Settings::decision_timeout).
    pub async fn try_take_n<K>(&self, key: &K, cost: u64) -> Result<QuotaStatus, Rejected>
    where
        K: StoreKey + ?Sized,
    {
        self.decide(key, cost).await.outcome
    }

    /// Takes `cost` units as [`try_take_n`](Self::try_take_n) does, and says also who decided, when,
    /// and why Redis did not.
    ///
    /// Dropped, it takes nothing, as far as the server can be heard.
    pub fn decide<K>(&self, key: &K, cost: u64) -> impl Future<Output = Decision> + Send + use<K>
    where
        K: StoreKey + ?Sized,
    {
        self.0.ask(key, cost)
    }

    /// Where the tightest quota of `key` stands; takes nothing.
    ///
    /// # Errors
    ///
    /// As [`try_take_n`](Self::try_take_n), of which only the last can be.
    pub async fn peek<K>(&self, key: &K) -> Result<QuotaStatus, Rejected>
    where
        K: StoreKey + ?Sized,
    {
        self.decide(key, 0).await.outcome
    }

    /// Gives `cost` units back that `key` took earlier, from every quota they were taken from.
    ///
    /// Nobody can know which units are meant: the oldest go back, which would be free again the
    /// soonest.
    ///
    /// # Errors
    ///
    /// Where Redis did not confirm it in time.
    pub async fn refund<K>(&self, key: &K, cost: u64) -> Result<(), StoreError>
    where
        K: StoreKey + ?Sized,
    {
        let units = cost.min(MOST_UNITS);
        if units == 0 {
            return Ok(());
        }
        let outcome = self.0.lane.refund_oldest(&self.0.name_of(key), units).await;
        self.0.doubt(key);
        outcome
    }

    /// Forgets what `key` has taken.
    ///
    /// Other processes may go on refusing until the time that they were named.
    ///
    /// # Errors
    ///
    /// Where Redis did not confirm it in time.
    pub async fn clear<K>(&self, key: &K) -> Result<(), StoreError>
    where
        K: StoreKey + ?Sized,
    {
        let outcome = self.0.lane.clear(&self.0.name_of(key)).await;
        self.0.doubt(key);
        outcome
    }

    /// Forgets what everyone has taken; returns how many counts were deleted.
    ///
    /// For an operator's hand: it looks at every key of the database, in steps between which the
    /// server serves others, over a connection of its own. Counts made meanwhile may stay, and other
    /// processes may go on refusing until the time that they were named.
    ///
    /// # Errors
    ///
    /// Where Redis stopped answering; part of the counts may be deleted by then.
    pub async fn clear_all(&self) -> Result<u64, StoreError> {
        // After the name comes a key's first part, or for the key `()` the end of the hash tag.
        let pattern = format!("{}[:}}]*", self.0.key_start);
        let deleted = self.0.store.blocking().delete_all(&pattern).await;
        self.0.table.for_each(|entry| entry.line().doubt());
        deleted
    }

    /// Replaces what the quotas allow while calls go on; what was taken stays taken.
    ///
    /// Only in this process: tell the others as well. What cells drain is counted from the last call
    /// of a key, at the new rate. Takes time for each key that is remembered.
    ///
    /// # Errors
    ///
    /// What is wrong with `policy`, or what in it cannot change: everything but limits and bursts.
    pub fn reconfigure(&self, policy: &Policy) -> Result<(), InvalidPolicy> {
        self.0.reconfigure(policy)
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("policy", &self.0.name)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn ask<K: StoreKey + ?Sized>(self: &Arc<Self>, key: &K, cost: u64) -> Ask {
        if let Some(refused) = self.never_fits(cost) {
            return Ask::Told(Some(refused));
        }
        let now = self.lane.now();
        let (entry, entered) = PARTS.with_borrow_mut(|parts| {
            parts.clear();
            key::push_parts(parts, key);
            let make = || {
                let name = format!("{}{parts}}}", self.key_start).into();
                (name, Line::new(self.lane.rules()))
            };
            let enter = |entry: &Arc<Entry>| {
                let entered = entry.line().enter(cost, now);
                let denied = matches!(entered, Entered::Denied(_));
                ((!denied).then(|| Arc::clone(entry)), entered)
            };
            self.table.with(parts.as_bytes(), now, make, enter)
        });
        let place = match entered {
            Entered::Denied(verdict) => {
                let decision = self.decision(&verdict, Source::DeniedLocally, None);
                return Ask::Told(Some(decision));
            }
            Entered::Waits(place) | Entered::First(place) => place,
        };
        let Some(entry) = entry else {
            return Ask::Told(None);
        };
        if let Entered::First(_) = entered {
            self.lane.push(Arc::clone(&entry));
        }
        Ask::Waits(Wait {
            shared: Arc::clone(self),
            entry,
            place: Some(place),
        })
    }

    fn never_fits(&self, cost: u64) -> Option<Decision> {
        let rules = self.lane.rules();
        let rule = rules.iter().find(|rule| cost > rule.burst())?;
        let rejected = Rejected::new(Reason::CostExceedsQuota, rule.name);
        Some(self.refused(rejected, Source::DeniedLocally))
    }

    fn refused(&self, rejected: Rejected, source: Source) -> Decision {
        self.lane.environment().emit(&Event::Rejected(&rejected));
        Decision {
            outcome: Err(rejected),
            source,
            time: None,
            error: None,
        }
    }

    fn decision(&self, verdict: &Verdict, source: Source, micros: Option<u64>) -> Decision {
        let rule = &self.lane.rules()[verdict.rule];
        let status = rule.status(verdict.remaining);
        let decision = if verdict.is_grant() {
            Decision {
                outcome: Ok(status),
                source,
                time: None,
                error: None,
            }
        } else {
            let rejected = Rejected::new(Reason::RateLimited, rule.name);
            let rejected = rejected.with_retry_after(verdict.wait).with_quota(status);
            self.refused(rejected, source)
        };
        Decision {
            time: micros.map(since_1970),
            ..decision
        }
    }

    fn answered(&self, answer: Answer) -> Decision {
        match answer {
            Answer::Decided(verdict, micros) => {
                self.decision(&verdict, Source::Redis, Some(micros))
            }
            Answer::Failed(error) => {
                let rejected = Rejected::new(Reason::StoreUnavailable, self.name);
                Decision {
                    error: Some(error),
                    ..self.refused(rejected, Source::Degraded)
                }
            }
        }
    }

    /// What all keys of `key` on the server begin with, the hash tag included.
    fn name_of<K: StoreKey + ?Sized>(&self, key: &K) -> String {
        let mut name = self.key_start.clone();
        key::push_parts(&mut name, key);
        name.push('}');
        name
    }

    /// What is known of `key` is so no more.
    fn doubt<K: StoreKey + ?Sized>(&self, key: &K) {
        let mut parts = String::new();
        key::push_parts(&mut parts, key);
        if let Some(entry) = self.table.get(parts.as_bytes()) {
            entry.line().doubt();
        }
    }

    fn reconfigure(&self, policy: &Policy) -> Result<(), InvalidPolicy> {
        let fixed = |field| InvalidPolicy::new(field, "cannot change while in use");
        let terms = policy.terms()?;
        let new = rules(&terms)?;
        if policy.name() != self.name {
            return Err(fixed("name"));
        }
        let kinds = |rules: &[Rule]| -> Vec<Kind> { rules.iter().map(|rule| rule.kind).collect() };
        let old = self.lane.rules();
        if kinds(old) != kinds(&new) {
            return Err(fixed("quotas"));
        }
        let _changing = self.changing.lock();
        for (old, new) in old.iter().zip(&new) {
            old.follow(new);
        }
        self.table.for_each(|entry| entry.line().doubt());
        Ok(())
    }
}

/// A decision that is made, or for which somebody asks.
#[must_use = "futures do nothing unless polled"]
enum Ask {
    Told(Option<Decision>),
    Waits(Wait),
}

impl Future for Ask {
    type Output = Decision;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Decision> {
        match &mut *self {
            Self::Told(decision) => {
                Poll::Ready(decision.take().expect("polled after it was ready"))
            }
            Self::Waits(wait) => wait.poll(context),
        }
    }
}

/// A caller in line. One who goes away takes nothing, and gives back what he was granted meanwhile.
struct Wait {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    place: Option<usize>,
}

impl Wait {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Decision> {
        let place = self.place.expect("polled after it was ready");
        let answer = self.entry.line().poll(place, context.waker());
        match answer {
            None => Poll::Pending,
            Some(answer) => {
                self.place = None;
                Poll::Ready(self.shared.answered(answer))
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let back = self.entry.line().leave(place);
        if let Some((units, taken)) = back {
            let rules = self.shared.lane.rules();
            let refund = Refund::exact(&self.entry, units, rules, taken);
            self.shared.lane.give_back([refund]);
        }
    }
}

thread_local! {
    /// Where keys are written to be looked up, so that a known one allocates nothing.
    static PARTS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What stands in a key after the prefix, for a rate limit.
const KIND: &str = "rl";
