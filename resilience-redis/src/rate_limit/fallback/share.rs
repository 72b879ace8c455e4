//! What this process may allow while the server gives no decision.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience_core::{Environment, Event, InvalidPolicy, Timestamp, rate_limit::Terms};

use super::part::{Part, Whole};

/// This process' part of the quotas, and whether it holds.
#[derive(Debug)]
pub(in crate::rate_limit) struct Share {
    /// One of each quota of a key, and then one of the quota that all keys share, where there is one.
    parts: Box<[Part]>,
    /// How many of them are of a key's.
    of_keys: usize,
    /// Whether keys move from one tier to another.
    pub(super) has_tiers: bool,
    /// What they are parts of.
    terms: Mutex<Terms>,
    count: Mutex<Count>,
    nodes: AtomicU64,
    /// Until when units count that were allowed of any key, in nanoseconds.
    until: AtomicU64,
    /// From when on the next outage is worth a line in the log, in nanoseconds.
    quiet_until: AtomicU64,
}

impl Share {
    pub(in crate::rate_limit) fn new(
        terms: &Terms,
        environment: &Environment,
    ) -> Result<Self, InvalidPolicy> {
        // Whoever is refused is told of by the limiter that asks.
        let environment = environment.clone().observer(|_: &Event<'_>| ());
        let part = |whole| Part::new(whole, terms.capacity, &environment);
        Ok(Self {
            parts: wholes(terms).map(part).collect::<Result<_, _>>()?,
            of_keys: terms.quotas.len(),
            has_tiers: !terms.tiers.is_empty(),
            terms: Mutex::new(terms.clone()),
            count: Mutex::new(Count::new()),
            nodes: AtomicU64::new(1),
            until: AtomicU64::new(0),
            quiet_until: AtomicU64::new(0),
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

    pub(in crate::rate_limit) fn nodes(&self) -> u64 {
        self.nodes.load(Ordering::Relaxed)
    }

    /// What in `new` terms cannot be taken over, if anything, beside what is counted.
    pub(in crate::rate_limit) fn fixed_field(&self, new: &Terms) -> Option<&'static str> {
        let old = self.terms();
        let fixed = [
            ("capacity", old.capacity == new.capacity),
            ("missing_key", old.missing_key == new.missing_key),
            ("charge", old.charge == new.charge),
        ];
        let changed = fixed.iter().find(|(_, is_same)| !is_same);
        changed.map(|(field, _)| *field)
    }

    /// Takes over what `terms` allow.
    pub(in crate::rate_limit) fn follow(&self, terms: &Terms) -> Result<(), InvalidPolicy> {
        let mut held = self.terms();
        held.clone_from(terms);
        self.resize(&held)
    }

    /// Units count until `until` that were taken of some key while the server gave no decision.
    pub(in crate::rate_limit) fn allowed(&self, until: Timestamp) {
        self.until.fetch_max(until.as_nanos(), Ordering::Relaxed);
    }

    /// Whether the server has always decided so far.
    pub(in crate::rate_limit) fn is_calm(&self) -> bool {
        self.until.load(Ordering::Relaxed) == 0
    }

    /// Whether units of any key count at `now` that were taken while the server gave no decision.
    pub(super) fn is_in_use(&self, now: Timestamp) -> bool {
        now.as_nanos() < self.until.load(Ordering::Relaxed)
    }

    /// Whether an outage is worth a line in the log at `now`.
    pub(in crate::rate_limit) fn warns(&self, now: Timestamp) -> bool {
        let until = self.quiet_until.load(Ordering::Relaxed);
        let next = now.saturating_add(BETWEEN_WARNINGS).as_nanos();
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let quiet = &self.quiet_until;
        let exchange = || quiet.compare_exchange(until, next, success, failure);
        now.as_nanos() >= until && exchange().is_ok()
    }

    /// Those of the quotas of keys, in their order.
    pub(super) fn of_keys(&self) -> &[Part] {
        &self.parts[..self.of_keys]
    }

    /// That of the quota of all keys, where there is one.
    pub(super) fn of_all(&self) -> &[Part] {
        &self.parts[self.of_keys..]
    }

    /// The parts, while `terms` are held still.
    fn resize(&self, terms: &Terms) -> Result<(), InvalidPolicy> {
        let mut parts = self.parts.iter().zip(wholes(terms));
        parts.try_for_each(|(part, whole)| part.resize(whole, self.nodes()))
    }

    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each quota, the first with those that tiers have in its place, and that of all keys the last.
fn wholes(terms: &Terms) -> impl Iterator<Item = Whole<'_>> {
    let whole = |(index, term)| {
        let tiers = if index == 0 { &terms.tiers[..] } else { &[] };
        Whole { term, tiers }
    };
    let quotas = terms.quotas.iter().chain(&terms.global);
    quotas.enumerate().map(whole)
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

const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);
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
        // No part grows while it is in use.
        assert_eq!(count.hear(1, true, at(70)), None);
        assert_eq!(count.hear(1, true, at(200)), None);
        assert_eq!(count.hear(1, false, at(201)), None);
        assert_eq!(count.hear(1, false, at(230)), Some(1));
        assert_eq!(count.hear(0, false, at(231)), None);
    }
}
