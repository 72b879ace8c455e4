//! Who rings for those who wait until there is room.

use std::sync::{Arc, Weak};

use resilience_core::Timestamp;
use tokio::time::sleep;

use super::Lane;
use crate::{
    StoreError,
    rate_limit::{
        line::{Aftermath, Entry},
        refund::Refund,
    },
};

impl Lane {
    /// Sees to it that somebody rings at their times for those who wait for the entries.
    pub(super) fn set_alarms(self: &Arc<Self>, alarms: &mut Vec<(Arc<Entry>, Timestamp)>) {
        for (entry, time) in alarms.drain(..) {
            self.set_alarm(entry, time);
        }
    }

    pub(in crate::rate_limit) fn set_alarm(self: &Arc<Self>, entry: Arc<Entry>, time: Timestamp) {
        let alarm = Alarm {
            lane: Arc::downgrade(self),
            entry,
            time,
            is_over: false,
        };
        self.runtime().spawn(alarm.run());
    }

    /// What was known of `entries` is so no more: those who wait for them are asked for.
    pub(in crate::rate_limit) fn doubt<'a>(
        self: &Arc<Self>,
        entries: impl IntoIterator<Item = &'a Arc<Entry>>,
    ) {
        for entry in entries {
            if self.recall(entry) {
                self.push(Arc::clone(entry));
            }
        }
    }

    /// What was known of `entry` is so no more. Says whether somebody must be sent to ask for those who
    /// wait.
    pub(in crate::rate_limit) fn recall(&self, entry: &Entry) -> bool {
        let mut line = entry.line();
        line.doubt();
        line.recall(self.now())
    }

    /// The caller at `place` of `entry` goes away.
    pub(in crate::rate_limit) fn leave(self: &Arc<Self>, entry: &Arc<Entry>, place: usize) {
        self.change(entry, |aftermath| {
            let now = self.now();
            entry.line().leave(place, now, aftermath)
        });
    }

    /// Does something with the line of `entry`, which says whether somebody must be sent to ask, and
    /// sees to what follows.
    fn change(self: &Arc<Self>, entry: &Arc<Entry>, act: impl FnOnce(&mut Aftermath) -> bool) {
        let mut aftermath = Aftermath::default();
        if act(&mut aftermath) {
            self.push(Arc::clone(entry));
        }
        if let Some(time) = aftermath.alarm {
            self.set_alarm(Arc::clone(entry), time);
        }
        let orphans = aftermath.orphans.drain(..);
        let refund = |(units, taken)| Refund::exact(entry, units, self.rules(), taken);
        let refunds: Vec<_> = orphans.map(refund).collect();
        if !refunds.is_empty() {
            self.give_back(refunds);
        }
        aftermath.wake();
    }
}

/// One who rings at a time, for whoever waits for an entry then.
struct Alarm {
    lane: Weak<Lane>,
    entry: Arc<Entry>,
    time: Timestamp,
    is_over: bool,
}

impl Alarm {
    async fn run(mut self) {
        let Some(wait) = self
            .lane
            .upgrade()
            .map(|lane| self.time.saturating_since(lane.now()))
        else {
            return;
        };
        sleep(wait).await;
        self.is_over = true;
        // Whoever waits keeps the lane.
        if let Some(lane) = self.lane.upgrade() {
            let (entry, time) = (&self.entry, self.time);
            lane.change(entry, |aftermath| {
                entry.line().ring(time, lane.now(), aftermath)
            });
        }
    }
}

impl Drop for Alarm {
    /// Where it did not ring the runtime goes down, and nobody will ask any more.
    fn drop(&mut self) {
        let Some(lane) = self.lane.upgrade().filter(|_| !self.is_over) else {
            return;
        };
        let mut aftermath = Aftermath::default();
        let mut line = self.entry.line();
        line.abandon(&StoreError::Unavailable, lane.now(), &mut aftermath);
        drop(line);
        aftermath.wake();
    }
}
