//! Keys of which units are taken ahead, and what became of the units.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use super::Refund;
use crate::rate_limit::{lane::Lane, line::Entry, quota::Rule};

/// All leases of one limiter in this process.
#[derive(Debug, Default)]
pub(in crate::rate_limit) struct Leases {
    watched: Mutex<Watched>,
    granted: AtomicU64,
    returned: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Watched {
    entries: Vec<Arc<Entry>>,
    /// Whether somebody gives back what nobody used in time.
    running: bool,
}

impl Leases {
    /// Units that were taken ahead so far, and those of them that came back.
    pub(in crate::rate_limit) fn counts(&self) -> [u64; 3] {
        [&self.granted, &self.returned, &self.lost].map(|count| count.load(Ordering::Relaxed))
    }

    pub(in crate::rate_limit) fn grant(&self, units: u64) {
        self.granted.fetch_add(units, Ordering::Relaxed);
    }

    /// Units went back to the server, or it did not say so.
    pub(in crate::rate_limit) fn settle(&self, units: u64, is_back: bool) {
        let count = if is_back { &self.returned } else { &self.lost };
        count.fetch_add(units, Ordering::Relaxed);
    }

    /// Everything that is held, to be given back now.
    pub(in crate::rate_limit) fn surrender(&self, rules: &[Rule]) -> Vec<Refund> {
        let entries = self.watched().entries.clone();
        let unused = entries.iter().filter_map(|entry| {
            let unused = entry.line().surrender()?;
            Some(Refund::unused(entry, unused, rules))
        });
        unused.collect()
    }

    /// Adds keys to look after; says whether somebody must be sent to do so.
    fn watch(&self, entries: Vec<Arc<Entry>>) -> bool {
        let mut watched = self.watched();
        watched.entries.extend(entries);
        !watched.entries.is_empty() && !std::mem::replace(&mut watched.running, true)
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// Sees to it that what is held of `entries` goes back when it can be used no more.
    pub(in crate::rate_limit) fn look_after(self: &Arc<Self>, entries: Vec<Arc<Entry>>) {
        let steps = self.rules.iter().filter_map(Rule::step_length);
        if let Some(step) = steps.min()
            && self.leases.watch(entries)
        {
            self.runtime().spawn(run(Arc::downgrade(self), step));
        }
    }

    /// Whether there is something to look after still.
    fn sweep(self: &Arc<Self>) -> bool {
        let (now, mut unused) = (self.now(), Vec::new());
        let goes_on = {
            let mut watched = self.leases.watched();
            watched.entries.retain(|entry| {
                let (expired, goes_on) = entry.line().expire(now);
                unused.extend(expired.map(|it| Refund::unused(entry, it, &self.rules)));
                goes_on
            });
            watched.running = !watched.entries.is_empty();
            watched.running
        };
        self.give_back(unused);
        goes_on
    }
}

/// Looks once in each step, as long as there are leases and the limiter is there.
async fn run(lane: Weak<Lane>, step: Duration) {
    loop {
        sleep(step).await;
        if !lane.upgrade().is_some_and(|lane| lane.sweep()) {
            return;
        }
    }
}
