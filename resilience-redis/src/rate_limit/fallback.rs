//! What holds while the server gives no decision.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience_core::{
    Environment, Event, InvalidPolicy, QuotaStatus, RateLimiter, Reason, Rejected, Timestamp,
    rate_limit::Policy,
};

/// What a limiter does when Redis gives no decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fallback {
    /// Each process allows its part of the quota: the limit divided by the number of processes that
    /// were last seen to have the limiter, but at least one unit. The default.
    ///
    /// A key begins with its part of what the server said last. For one window after the server is
    /// back (and a tenth, of the longest quota), both the server and the part must have room.
    ///
    /// All processes together therefore allow, of each key,
    ///
    /// - in a window without Redis: the limit, or one unit each where that is more;
    /// - in a window in which Redis came back: the same, although it may have forgotten all counts;
    /// - in a window in which it went away, for all of them or for some: twice that at the most, and
    ///   hardly more than the limit where all had just heard how much was used.
    ///
    /// A process that goes away counts for half a minute more. Of a new one the others hear within a
    /// second, and until then its part comes on top.
    #[default]
    LocalShare,
    /// Every call goes on: nothing bounds what the fleet allows.
    Allow,
    /// Every call is refused, as [`Reason::StoreUnavailable`](resilience_core::Reason), which is
    /// answered with 503 and `Retry-After`, never as a quota that is used up. The fleet allows no
    /// more than the limit, unless Redis comes back without its counts.
    Deny,
}

/// This process' part of the quotas, and whether it holds.
#[derive(Debug)]
pub(super) struct Share {
    limiter: RateLimiter<String>,
    policy: Mutex<Policy>,
    count: Mutex<Count>,
    nodes: AtomicU64,
    /// Outages so far; keys remember in which of them they began.
    outages: AtomicU64,
    /// When the part holds no more, in nanoseconds; `u64::MAX` during an outage.
    until: AtomicU64,
}

impl Share {
    pub(super) fn new(policy: &Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        // Whoever is refused is told of by the limiter that asks.
        let environment = environment.clone().observer(|_: &Event<'_>| ());
        Ok(Self {
            limiter: RateLimiter::new_in(policy.clone(), &environment)?,
            policy: Mutex::new(policy.clone()),
            count: Mutex::new(Count::new()),
            nodes: AtomicU64::new(1),
            outages: AtomicU64::new(0),
            until: AtomicU64::new(0),
        })
    }

    /// So many processes have the limiter, as the server said at `now`.
    pub(super) fn saw(&self, nodes: u64, now: Timestamp) {
        let policy = self.policy();
        let holds = self.holds(now);
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nodes) = count.hear(nodes, holds, now) {
            self.nodes.store(nodes, Ordering::Relaxed);
            // The same policy in another size: it can always be taken over.
            let _ = self.resize(&policy);
        }
    }

    pub(super) fn nodes(&self) -> u64 {
        self.nodes.load(Ordering::Relaxed)
    }

    /// Takes over what `policy` allows.
    pub(super) fn follow(&self, policy: &Policy) -> Result<(), InvalidPolicy> {
        let mut held = self.policy();
        held.clone_from(policy);
        self.resize(&held)
    }

    /// The server gave no decision.
    pub(super) fn lost(&self) {
        if self.until.swap(u64::MAX, Ordering::Relaxed) != u64::MAX {
            self.outages.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The server decided, at `now`; what was taken meanwhile counts for `window` more nanoseconds.
    pub(super) fn found(&self, now: Timestamp, window: u64) {
        let until = &self.until;
        if until.load(Ordering::Relaxed) == u64::MAX {
            let end = now.as_nanos().saturating_add(window).min(u64::MAX - 1);
            // Where it fails somebody else has seen the server as well.
            let _ = until.compare_exchange(u64::MAX, end, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether the server has always decided so far.
    pub(super) fn is_calm(&self) -> bool {
        self.until.load(Ordering::Relaxed) == 0
    }

    /// Whether the part holds at `now`.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        now.as_nanos() < self.until.load(Ordering::Relaxed)
    }

    pub(super) fn outages(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }

    /// Takes `cost` units of the key `name`, of which the whole fleet had used `known` when the
    /// outage began, if this is the first call in it.
    pub(super) fn take(
        &self,
        name: &str,
        cost: u64,
        known: Option<u64>,
    ) -> Result<QuotaStatus, Rejected> {
        if let Some(used) = known {
            let stands = self.limiter.peek(name);
            // An outage shortly before left units here, which are among those that are known.
            let ours = stands.limit.saturating_sub(stands.remaining);
            let missing = used.div_ceil(self.nodes()).saturating_sub(ours);
            let _ = self.limiter.try_take_n(name, missing.min(stands.remaining));
        }
        self.limiter.try_take_n(name, cost).map_err(|rejected| {
            match rejected.reason() {
                // It is only the part that is too small, and not for long.
                Reason::CostExceedsQuota => {
                    Rejected::new(Reason::StoreUnavailable, rejected.policy())
                }
                _ => rejected,
            }
        })
    }

    /// The part, while `policy` is held still.
    fn resize(&self, policy: &Policy) -> Result<(), InvalidPolicy> {
        self.limiter.reconfigure(policy.clone().share(self.nodes()))
    }

    fn policy(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many processes there are, as far as can be believed.
///
/// More are believed at once, fewer after a while: a server that was started again has forgotten
/// most, and the parts of those who lose Redis one after the other must not grow on the way.
#[derive(Debug)]
struct Count {
    nodes: u64,
    /// Since when there were fewer, and the most of them.
    fewer: Option<(Timestamp, u64)>,
}

impl Count {
    const fn new() -> Self {
        Self {
            nodes: 1,
            fewer: None,
        }
    }

    /// The server counted `heard`; gives the number that is believed, if it is another. Never fewer
    /// while parts are in use, as `holds` says.
    fn hear(&mut self, heard: u64, holds: bool, now: Timestamp) -> Option<u64> {
        let heard = heard.max(1);
        if heard >= self.nodes {
            self.fewer = None;
            return (std::mem::replace(&mut self.nodes, heard) != heard).then_some(heard);
        }
        let (since, most) = match self.fewer {
            Some((since, most)) if !holds => (since, most.max(heard)),
            Some(_) | None => (now, heard),
        };
        self.fewer = Some((since, most));
        if now.saturating_since(since) < DISBELIEF {
            return None;
        }
        (self.nodes, self.fewer) = (most, None);
        Some(most)
    }
}

const DISBELIEF: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_processes_are_believed_at_once_and_fewer_after_half_a_minute() {
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        let mut count = Count::new();
        assert_eq!(count.hear(1, false, at(0)), None);
        assert_eq!(count.hear(4, false, at(1)), Some(4));
        // Two are gone, and for a moment three.
        for second in 2..32 {
            let heard = if second == 20 { 1 } else { 2 };
            assert_eq!(count.hear(heard, false, at(second)), None);
        }
        assert_eq!(count.hear(1, false, at(32)), Some(2));
        // The server was started again.
        assert_eq!(count.hear(1, false, at(33)), None);
        assert_eq!(count.hear(2, false, at(34)), None);
        assert_eq!(count.hear(1, false, at(62)), None);
        // No part grows while it holds.
        assert_eq!(count.hear(1, true, at(70)), None);
        assert_eq!(count.hear(1, true, at(200)), None);
        assert_eq!(count.hear(1, false, at(201)), None);
        assert_eq!(count.hear(1, false, at(230)), Some(1));
        assert_eq!(count.hear(0, false, at(231)), None);
    }
}
