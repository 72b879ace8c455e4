//! What happens to a line beside questions and answers, and what follows from that.

use std::sync::Arc;

use super::Lane;
use crate::rate_limit::{
    line::{Aftermath, Entry},
    refund::Refund,
};

impl Lane {
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

    /// Takes back what was spent of the lease of `entry` until `end`, for those who wait or come, and
    /// says whether that is still there.
    pub(in crate::rate_limit) fn put_back(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        units: u64,
        end: u64,
    ) -> bool {
        let mut is_there = false;
        self.change(entry, |aftermath| {
            let mut line = entry.line();
            is_there = line.put_back(units, end);
            is_there && line.serve(self.now(), aftermath)
        });
        is_there
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
    pub(super) fn change(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        act: impl FnOnce(&mut Aftermath) -> bool,
    ) {
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
