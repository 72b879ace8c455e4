//! Rate limits that a whole fleet shares: what a client may do does not grow with the number of
//! your servers, and does not start anew on the next one.
//!
//! Not for a limit that protects one process from overload: that is nobody else's business, and
//! the limits in `resilience_core` decide it without a network in between.
//!
//! # Algorithm
//!
//! A strict sliding window. The window is cut into ten steps; the current one and the ten before
//! it are counted whole. So *no* window of the quota's length ever holds more than its limit,
//! wherever it begins; in return a unit comes back up to a tenth of the window late. Of several
//! quotas all are taken from, or none.
//!
//! The clock is the server's own, read by the script that decides. If somebody sets it back, counts
//! stay longer than they should; if somebody sets it ahead, they are forgotten early: the quota is
//! granted once more.
//!
//! # Cost
//!
//! One round trip for each decision and one key of about 200 bytes for each client and quota, gone
//! by itself after 1.2 windows.
//!
//! # Sharing
//!
//! Limiters of one name share their counts if their stores share server, database and prefix,
//! whatever process they are in. A quota is known by its window: a limit can be changed from one
//! process to the next, and what was taken stays taken.
//!
//! # Cancellation
//!
//! A call that is dropped, or that hears [`StoreError::Timeout`], may have taken its units: they
//! come back with the window. It never takes them twice.

use std::{fmt, sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError, RedisResult, Value};
use resilience_core::{
    Error, InvalidPolicy, QuotaStatus, Reason, Rejected,
    rate_limit::{Algorithm, Charge, Mode, Term},
};

pub use resilience_core::rate_limit::{Policy, Quota};

use crate::{RedisStore, StoreError, StoreKey, key, script::Script};

/// A rate limit whose counts stand in a [`RedisStore`].
///
/// Clones are the same limiter.
#[derive(Clone)]
pub struct RateLimiter(Arc<Shared>);

struct Shared {
    name: &'static str,
    windows: Box<[Window]>,
    store: RedisStore,
    script: Script,
    /// What all keys of this policy begin with, the name included.
    key_start: String,
}

/// A quota as the script sees it.
#[derive(Clone, Copy, Debug)]
struct Window {
    name: &'static str,
    limit: u64,
    length: Duration,
    step_micros: u64,
}

impl RateLimiter {
    pub(crate) fn new(policy: &Policy, store: &RedisStore) -> Result<Self, InvalidPolicy> {
        let windows = windows(policy)?;
        let name = policy.name();
        let prefix = store.connection().settings().key_prefix();
        let key_start = key::start(prefix, "rate_limit", name)?;
        Ok(Self(Arc::new(Shared {
            name,
            windows,
            store: store.clone(),
            script: Script::new(include_str!("lua/sliding_window.lua")),
            key_start,
        })))
    }

    /// Takes one unit of `key` from every quota, or nothing.
    ///
    /// # Errors
    ///
    /// As [`try_take_n`](Self::try_take_n).
    pub async fn try_take<K>(&self, key: &K) -> Result<QuotaStatus, Error<StoreError>>
    where
        K: StoreKey + ?Sized,
    {
        self.try_take_n(key, 1).await
    }

    /// Takes `cost` units of `key` from every quota, or nothing; a cost of zero only looks.
    ///
    /// Returns where the quota stands that has the fewest units left.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] where a quota is used up; its `retry_after` is the shortest wait after
    /// which the same call succeeds if nobody else takes from the key, and it names the quota that
    /// asks for this wait. [`Error::Inner`] where Redis gave no decision within
    /// [`Settings::decision_timeout`](crate::Settings::decision_timeout).
    pub async fn try_take_n<K>(&self, key: &K, cost: u64) -> Result<QuotaStatus, Error<StoreError>>
    where
        K: StoreKey + ?Sized,
    {
        let shared = &*self.0;
        if let Some(quota) = shared.windows.iter().find(|window| cost > window.limit) {
            return Err(Rejected::new(Reason::CostExceedsQuota, quota.name).into());
        }
        let keys = shared.keys(key);
        let arguments = shared.arguments(cost);
        let (keys, arguments) = (&keys[..], &arguments[..]);
        let reply = shared
            .store
            .connection()
            .run(
                &keys[0],
                shared.store.connection().settings().time_to_decide(),
                async |mut connection| {
                    let reply = shared.script.run(&mut connection, keys, arguments).await?;
                    Reply::parse(&reply, keys.len())
                },
            )
            .await
            .map_err(Error::Inner)?;
        shared.decision(&reply).map_err(Error::Rejected)
    }

    /// Forgets what `key` has taken.
    ///
    /// # Errors
    ///
    /// Where Redis did not confirm it in time.
    pub async fn clear<K>(&self, key: &K) -> Result<(), StoreError>
    where
        K: StoreKey + ?Sized,
    {
        let keys = self.0.keys(key);
        let mut command = redis::cmd("UNLINK");
        command.arg(&keys);
        let connection = self.0.store.connection();
        connection
            .run(
                &keys[0],
                connection.settings().time_to_decide(),
                async |mut connection| command.query_async(&mut connection).await,
            )
            .await
    }

    /// Forgets what everyone has taken; returns how many counts were deleted.
    ///
    /// For an operator's hand: it looks at every key of the database, in steps between which the
    /// server serves others, over a connection of its own. Counts made meanwhile may stay.
    ///
    /// # Errors
    ///
    /// Where Redis stopped answering; part of the counts may be deleted by then.
    pub async fn clear_all(&self) -> Result<u64, StoreError> {
        // After the name comes a key's first part, or for the key `()` the end of the hash tag.
        let pattern = format!("{}[:}}]*", self.0.key_start);
        self.0.store.blocking().delete_all(&pattern).await
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("name", &self.0.name)
            .field("windows", &self.0.windows)
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// One key for each quota, all on one node: the hash tag is the policy's name and the key.
    fn keys<K: StoreKey + ?Sized>(&self, key: &K) -> Vec<String> {
        let mut start = self.key_start.clone();
        key::push_parts(&mut start, key);
        let name = |window: &Window| format!("{start}}}:{}", window.step_micros);
        self.windows.iter().map(name).collect()
    }

    fn arguments(&self, cost: u64) -> Vec<u64> {
        let quotas = self.windows.iter();
        let quotas = quotas.flat_map(|window| [window.limit, window.step_micros]);
        std::iter::once(cost).chain(quotas).collect()
    }

    /// [`Reply::read`] has seen to it that the reply speaks of every window, and of no other.
    fn decision(&self, reply: &Reply) -> Result<QuotaStatus, Rejected> {
        let standing = |(window, used): (&Window, &u64)| QuotaStatus {
            limit: window.limit,
            window: window.length,
            remaining: window.limit.saturating_sub(*used),
        };
        if let Some((wait, index)) = reply.refusal {
            let window = &self.windows[index];
            return Err(Rejected::new(Reason::RateLimited, window.name)
                .with_retry_after(wait)
                .with_quota(standing((window, &reply.used[index]))));
        }
        let all = self.windows.iter().zip(&reply.used).map(standing);
        let first = standing((&self.windows[0], &reply.used[0]));
        Ok(all.fold(first, |least, quota| {
            if quota.remaining < least.remaining {
                quota
            } else {
                least
            }
        }))
    }
}

/// What the script answered.
#[derive(Debug, PartialEq)]
struct Reply {
    /// The wait, and which quota asks for it.
    refusal: Option<(Duration, usize)>,
    /// Units in each quota's window.
    used: Vec<u64>,
}

impl Reply {
    /// Anything but the promised shape may be the answer to somebody else's command: as a parse
    /// error it ends the connection.
    fn parse(reply: &Value, quotas: usize) -> RedisResult<Self> {
        Self::read(reply, quotas)
            .ok_or_else(|| RedisError::from((ErrorKind::Parse, "unexpected reply of a script")))
    }

    fn read(reply: &Value, quotas: usize) -> Option<Self> {
        let Value::Array(items) = reply else {
            return None;
        };
        let number = |item: &Value| match item {
            Value::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        let numbers: Vec<u64> = items.iter().map(number).collect::<Option<_>>()?;
        let [_now, wait, refusing, used @ ..] = &numbers[..] else {
            return None;
        };
        let refusal = match (*wait, usize::try_from(*refusing).ok()?) {
            (0, 0) => None,
            (0, _) | (_, 0) => return None,
            (wait, quota) if quota <= quotas => Some((Duration::from_micros(wait), quota - 1)),
            _ => return None,
        };
        (used.len() == quotas).then(|| Self {
            refusal,
            used: used.to_vec(),
        })
    }
}

fn windows(policy: &Policy) -> Result<Box<[Window]>, InvalidPolicy> {
    let terms = policy.terms()?;
    let unsupported = |field| InvalidPolicy::new(field, "is not supported by this store");
    if terms.mode != Mode::Enforce {
        return Err(unsupported("mode"));
    }
    if terms.charge != Charge::Every {
        return Err(unsupported("charge"));
    }
    let windows: Box<[Window]> = terms.quotas.iter().map(window).collect::<Result<_, _>>()?;
    for (i, one) in windows.iter().enumerate() {
        let same = |other: &Window| other.step_micros == one.step_micros;
        if windows[i + 1..].iter().any(same) {
            let problem = "must add another window: of two quotas for one, keep the smaller";
            return Err(InvalidPolicy::new("and", problem));
        }
    }
    Ok(windows)
}

fn window(quota: &Term) -> Result<Window, InvalidPolicy> {
    if quota.algorithm != Algorithm::SlidingWindow {
        let problem = "is not supported by this store";
        return Err(InvalidPolicy::new("algorithm", problem));
    }
    if quota.limit > MOST_UNITS {
        return Err(InvalidPolicy::new("limit", "must be at most 2^53"));
    }
    // Rounded up, so that ten steps are never shorter than the window.
    match u64::try_from(quota.window.as_nanos().div_ceil(STEPS * 1000)) {
        Ok(step_micros @ ..=LONGEST_STEP) => Ok(Window {
            name: quota.name,
            limit: quota.limit,
            length: quota.window,
            step_micros,
        }),
        _ => Err(InvalidPolicy::new("per", "must be at most 100 years")),
    }
}

/// Steps in a window, as in the script.
const STEPS: u128 = 10;
/// Lua counts in doubles, which are exact to here.
const MOST_UNITS: u64 = 1 << 53;
/// A tenth of 100 years of 365.25 days. Eleven of these behind today's date in microseconds since
/// 1970 are below 2^53, so the script's times stay exact.
const LONGEST_STEP: u64 = 100 * 31_557_600 * 1_000_000 / 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(numbers: &[i64]) -> Option<Reply> {
        let items = numbers.iter().copied().map(Value::Int).collect();
        Reply::read(&Value::Array(items), 2)
    }

    #[test]
    fn a_reply_of_another_shape_is_none_of_ours() {
        let ours = |refusal| {
            let used = vec![3, 4];
            Some(Reply { refusal, used })
        };
        let wait = Duration::from_micros(7);
        assert_eq!(read(&[1, 0, 0, 3, 4]), ours(None));
        assert_eq!(read(&[1, 7, 2, 3, 4]), ours(Some((wait, 1))));
        for wrong in [
            &[][..],
            &[1, 0, 0],
            &[1, 0, 0, 3],
            &[1, 0, 0, 3, 4, 5],
            &[1, 7, 0, 3, 4],
            &[1, 0, 1, 3, 4],
            &[1, 7, 3, 3, 4],
            &[1, 7, -1, 3, 4],
            &[1, 0, 0, 3, -4],
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert!(Reply::read(&Value::Nil, 2).is_none());
        assert!(Reply::read(&Value::Array(vec![Value::Okay; 5]), 2).is_none());
    }
}
