//! Units that wait to go back, and who gives them.

use std::{collections::VecDeque, sync::Arc};

use super::Refund;
use crate::rate_limit::lane::Lane;

/// What goes back as soon as the server can be heard.
#[derive(Debug, Default)]
pub(in crate::rate_limit) struct Refunds {
    waiting: VecDeque<Refund>,
    /// How many give them back.
    running: usize,
    /// How many there was no room for.
    dropped: u64,
}

impl Refunds {
    /// Adds `refunds`, as far as there is room. Gives what somebody each must be sent to give back,
    /// where fewer than `most` do so, `count` at a time, and then those for which there was no room.
    pub(in crate::rate_limit) fn add(
        &mut self,
        refunds: impl IntoIterator<Item = Refund>,
        (count, most): (usize, usize),
    ) -> (Vec<Vec<Refund>>, Vec<Refund>) {
        self.waiting.extend(refunds);
        let mut batches = Vec::new();
        // Who is under way may be so for long: nothing waits for them but what fills no batch.
        while self.running < most && self.waiting.len() >= self.enough(count) {
            self.running += 1;
            batches.push(self.take(count));
        }
        // The oldest are over first.
        let excess = self.waiting.len().saturating_sub(MOST_WAITING);
        self.dropped += excess as u64;
        (batches, self.take(excess))
    }

    /// How many must wait for somebody to be sent.
    const fn enough(&self, count: usize) -> usize {
        if self.running == 0 { 1 } else { count }
    }

    /// How many there was no room for so far.
    pub(in crate::rate_limit) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Up to `count` of them; none where one fewer need run.
    fn next(&mut self, count: usize) -> Vec<Refund> {
        if self.waiting.is_empty() {
            self.running -= 1;
        }
        self.take(count)
    }

    /// The oldest, up to `count`.
    fn take(&mut self, count: usize) -> Vec<Refund> {
        let count = self.waiting.len().min(count);
        self.waiting.drain(..count).collect()
    }
}

/// One who gives back, as long as there is anything.
pub(in crate::rate_limit) struct Run {
    lane: Arc<Lane>,
    refunds: Vec<Refund>,
}

impl Run {
    pub(in crate::rate_limit) const fn new(lane: Arc<Lane>, refunds: Vec<Refund>) -> Self {
        Self { lane, refunds }
    }

    pub(in crate::rate_limit) async fn run(mut self) {
        while !self.refunds.is_empty() {
            // Units that cannot be given back stay taken: never too much is allowed.
            let _ = self.lane.send_refunds(&self.refunds).await;
            self.refunds = self.lane.refunds().next(self.lane.keys);
        }
    }
}

impl Drop for Run {
    /// Where some are left the runtime goes down; on the next one the next refund sends another.
    fn drop(&mut self) {
        if !self.refunds.is_empty() {
            self.lane.refunds().running -= 1;
        }
    }
}

/// Refunds that wait, at some 200 bytes each.
const MOST_WAITING: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn refunds(count: usize) -> impl Iterator<Item = Refund> {
        (0..count).map(|_| Refund::oldest("key", 1, &[], 0))
    }

    #[test]
    fn each_goes_back_at_once_until_as_many_are_under_way_as_may_be() {
        let mut all = Refunds::default();
        let mut sent = |count| all.add(refunds(count), (1, 128)).0.len();
        assert_eq!([sent(3), sent(1), sent(200)], [3, 1, 124]);
        for _ in 0..76 {
            assert_eq!(all.next(1).len(), 1);
        }
        assert!(all.next(1).is_empty());
        assert_eq!(all.add(refunds(2), (1, 128)).0.len(), 1);
    }

    #[test]
    fn who_comes_while_somebody_is_under_way_waits_for_a_full_batch() {
        let mut all = Refunds::default();
        let mut sent = |count| {
            let (batches, _) = all.add(refunds(count), (128, 4));
            batches.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sent(1), [1]);
        assert!(sent(127).is_empty());
        assert_eq!(sent(400), [128, 128, 128]);
        assert_eq!(all.next(128).len(), 128);
        assert_eq!(all.next(128).len(), 15);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut all = Refunds::default();
        let (batches, dropped) = all.add(refunds(MOST_WAITING + 7), (1, 4));
        assert_eq!((batches.len(), dropped.len()), (4, 3));
        assert_eq!((all.waiting.len(), all.dropped()), (MOST_WAITING, 3));
    }
}
