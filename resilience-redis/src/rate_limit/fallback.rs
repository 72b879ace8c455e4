//! What holds while the server gives no decision.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience_core::{
    Environment, Event, InvalidPolicy, QuotaStatus, Reason, Rejected, Timestamp,
    rate_limit::{Reservation, Terms},
};

use super::part::Part;

/// What a limiter does when Redis gives no decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fallback {
    /// Each process allows its part of the quota: the limit divided by the number of processes that
    /// were last seen to have the limiter, but at least one unit. The default.
    ///
    /// A key begins with its part of what the server said last, as far as that counts still. Of a
    /// key of which a process has allowed units like this, both the server and the part must have
    /// room for as long as these count: for a window and a tenth. For others one answer that came
    /// too late changes nothing.
    ///
    /// All processes together therefore allow, of each key,
    ///
    /// - in a window without Redis: the limit, or one unit each where that is more;
    /// - in a window in which Redis came back: the same where every process had allowed some,
    ///   although it may have forgotten all counts; else the limit, and beside it the parts of
    ///   those that had;
    /// - in a window in which it went away, for all of them or for some: twice the limit at the most,
    ///   and hardly more than once where all had just heard how much was used. What Redis granted
    ///   in it and has forgotten comes on top: the limit at the most.
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
    /// One of each quota.
    parts: Box<[Part]>,
    /// What they are parts of.
    terms: Mutex<Terms>,
    count: Mutex<Count>,
    nodes: AtomicU64,
    /// Until when units count that were allowed of any key, in nanoseconds.
    until: AtomicU64,
}

impl Share {
    pub(super) fn new(terms: &Terms, environment: &Environment) -> Result<Self, InvalidPolicy> {
        // Whoever is refused is told of by the limiter that asks.
        let environment = environment.clone().observer(|_: &Event<'_>| ());
        let part = |term| Part::new(term, terms.capacity, &environment);
        Ok(Self {
            parts: terms.quotas.iter().map(part).collect::<Result<_, _>>()?,
            terms: Mutex::new(terms.clone()),
            count: Mutex::new(Count::new()),
            nodes: AtomicU64::new(1),
            until: AtomicU64::new(0),
        })
    }

    /// So many processes have the limiter, as the server said at `now`.
    pub(super) fn saw(&self, nodes: u64, now: Timestamp) {
        let terms = self.terms();
        let in_use = self.is_in_use(now);
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nodes) = count.hear(nodes, in_use, now) {
            self.nodes.store(nodes, Ordering::Relaxed);
            // The same quotas in another size: they can always be taken over.
            let _ = self.resize(&terms);
        }
    }

    pub(super) fn nodes(&self) -> u64 {
        self.nodes.load(Ordering::Relaxed)
    }

    /// Takes over what `terms` allow.
    pub(super) fn follow(&self, terms: &Terms) -> Result<(), InvalidPolicy> {
        let mut held = self.terms();
        held.clone_from(terms);
        self.resize(&held)
    }

    /// Units count until `until` that were taken of some key while the server gave no decision.
    pub(super) fn allowed(&self, until: Timestamp) {
        self.until.fetch_max(until.as_nanos(), Ordering::Relaxed);
    }

    /// Whether the server has always decided so far.
    pub(super) fn is_calm(&self) -> bool {
        self.until.load(Ordering::Relaxed) == 0
    }

    /// Whether units of any key count at `now` that were taken while the server gave no decision.
    fn is_in_use(&self, now: Timestamp) -> bool {
        now.as_nanos() < self.until.load(Ordering::Relaxed)
    }

    /// The whole fleet has used so much of the key `name`, of each quota.
    pub(super) fn seed(&self, name: &str, used: impl IntoIterator<Item = u64>) {
        let nodes = self.nodes();
        for (part, used) in self.parts.iter().zip(used) {
            part.seed(name, used.div_ceil(nodes));
        }
    }

    /// Nothing of the key `name` is used any more.
    pub(super) fn forget(&self, name: &str) {
        for part in &self.parts {
            part.forget(name);
        }
    }

    /// Takes `cost` units of the key `name` from the parts of those quotas that are `meant`, by their
    /// places, or from none; says where the tightest of them stands, if any is meant.
    pub(super) fn take(
        &self,
        name: &str,
        cost: u64,
        meant: impl Fn(usize) -> bool,
    ) -> Result<Option<QuotaStatus>, Rejected> {
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for (index, part) in self.parts.iter().enumerate() {
            if meant(index) {
                match part.take(name, cost) {
                    Ok(reservation) => taken.push(reservation),
                    Err(rejected) => refused.push(rejected),
                }
            }
        }
        let Some(slowest) = refused.into_iter().max_by_key(wait) else {
            let standings = taken.iter().map(Reservation::status);
            return Ok(standings.min_by_key(|status| status.remaining));
        };
        taken.into_iter().for_each(Reservation::cancel);
        Err(match slowest.reason() {
            // It is only the part that is too small, and not for long.
            Reason::CostExceedsQuota => Rejected::new(Reason::StoreUnavailable, slowest.policy()),
            _ => slowest,
        })
    }

    /// The parts, while `terms` are held still.
    fn resize(&self, terms: &Terms) -> Result<(), InvalidPolicy> {
        let mut parts = self.parts.iter().zip(&terms.quotas);
        parts.try_for_each(|(part, term)| part.resize(term, self.nodes()))
    }

    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait after a refusal; what no wait helps waits longest.
fn wait(rejected: &Rejected) -> Duration {
    rejected.retry_after().unwrap_or(Duration::MAX)
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
    /// while parts are `in_use`.
    fn hear(&mut self, heard: u64, in_use: bool, now: Timestamp) -> Option<u64> {
        let heard = heard.max(1);
        if heard >= self.nodes {
            self.fewer = None;
            return (std::mem::replace(&mut self.nodes, heard) != heard).then_some(heard);
        }
        let (since, most) = match self.fewer {
            Some((since, most)) if !in_use => (since, most.max(heard)),
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
    use resilience_core::{
        ManualClock,
        rate_limit::{Policy, Quota},
    };

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
        // No part grows while it is in use.
        assert_eq!(count.hear(1, true, at(70)), None);
        assert_eq!(count.hear(1, true, at(200)), None);
        assert_eq!(count.hear(1, false, at(201)), None);
        assert_eq!(count.hear(1, false, at(230)), Some(1));
        assert_eq!(count.hear(0, false, at(231)), None);
    }
    #[test]
    fn each_quota_begins_with_its_own_part_of_what_was_used() {
        let clock = ManualClock::new();
        let minute = Duration::from_secs(60);
        let policy = Policy::new("minute", Quota::new(10, minute))
            .and(Quota::new(100, minute * 600).named("hours"));
        let terms = policy.terms().expect("quotas");
        let environment = Environment::new().clock(clock.clone());
        let share = Share::new(&terms, &environment).expect("a valid policy");
        share.seed("key", [0, 80]);
        let refusal = |minutes| {
            let taken = share.take("key", 1, |_| true);
            let rejected = taken.expect_err("no room");
            assert!(rejected.retry_after() >= Some(minute * minutes));
            rejected.policy()
        };
        let take = |units| share.take("key", units, |_| true).expect("room");
        assert_eq!(take(10).map(|it| it.remaining), Some(0));
        assert_eq!(refusal(1), "minute");
        clock.advance(2 * minute);
        assert_eq!(take(10).map(|it| it.remaining), Some(0));
        assert_eq!(refusal(500), "hours");
        clock.advance(2 * minute);
        assert_eq!(refusal(500), "hours");
        // Whoever was refused for want of one has taken of none.
        let minute = |index| index == 0;
        let left = share.take("key", 10, minute).expect("room");
        assert_eq!(left.map(|it| it.limit), Some(10));
    }
}
