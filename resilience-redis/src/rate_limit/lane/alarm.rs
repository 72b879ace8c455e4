//! Who rings for those who wait until there is room.

use std::sync::{Arc, Weak};

use resilience_core::Timestamp;
use tokio::time::sleep;

use super::Lane;
use crate::{
    StoreError,
    rate_limit::line::{Aftermath, Entry},
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
