//! Refusals that need no question.

use resilience_core::Timestamp;

use super::grant::Verdict;

/// What the server refused last, as long as that holds.
#[derive(Debug, Default)]
pub(super) struct Denial(Option<Denied>);

/// A refusal that holds until a time that the server named.
#[derive(Clone, Copy, Debug)]
struct Denied {
    /// The smallest cost that was refused.
    cost: u64,
    since: Timestamp,
    until: Timestamp,
    verdict: Verdict,
}

impl Denial {
    /// What a caller hears who wants `cost`; `None` where that is for the server to say.
    pub(super) fn verdict(&mut self, cost: u64, now: Timestamp) -> Option<Verdict> {
        let denied = self.0?;
        // A clock that was set back would prolong it.
        if now >= denied.until || now < denied.since {
            self.0 = None;
            return None;
        }
        // What a larger call would have to wait is for the server to say.
        (cost == denied.cost).then(|| Verdict {
            wait: denied.until.saturating_since(now),
            ..denied.verdict
        })
    }

    /// The server refused `cost` when it was asked at `sent`.
    pub(super) fn note(&mut self, cost: u64, verdict: Verdict, sent: Timestamp) {
        if cost > 0 && self.0.is_none_or(|denied| cost <= denied.cost) {
            // The server read its clock after `sent`: its time comes no later than this.
            let until = sent.saturating_add(verdict.wait);
            self.0 = Some(Denied {
                cost,
                since: sent,
                until,
                verdict,
            });
        }
    }

    /// Somebody took units: who was refused for more than was left has to wait longer.
    pub(super) fn took(&mut self) {
        if self.0.is_some_and(|denied| denied.cost > 1) {
            self.0 = None;
        }
    }

    pub(super) const fn forget(&mut self) {
        self.0 = None;
    }

    /// Whether somebody is held back by `now`.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        self.0.is_some_and(|denied| now < denied.until)
    }
}
