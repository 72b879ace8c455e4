//! Units that wait to go back, and who gives them.

use std::sync::Arc;

use super::{lane::Lane, refund::Refund};

/// What goes back as soon as the server can be heard.
#[derive(Debug, Default)]
pub(super) struct Refunds {
    waiting: Vec<Refund>,
    /// Whether somebody gives them back.
    running: bool,
}

impl Refunds {
    /// Adds `refunds`, and says whether somebody must be sent to give them back.
    pub(super) fn add(&mut self, refunds: impl IntoIterator<Item = Refund>) -> bool {
        self.waiting.extend(refunds);
        !self.waiting.is_empty() && !std::mem::replace(&mut self.running, true)
    }

    /// Up to `count` of them; none where nobody need run any more.
    fn next(&mut self, count: usize) -> Vec<Refund> {
        let count = self.waiting.len().min(count);
        self.running = count > 0;
        self.waiting.drain(..count).collect()
    }
}

/// One who gives back, as long as there is anything.
pub(super) struct Run {
    lane: Arc<Lane>,
    is_over: bool,
}

impl Run {
    pub(super) const fn new(lane: Arc<Lane>) -> Self {
        let is_over = false;
        Self { lane, is_over }
    }

    pub(super) async fn run(mut self) {
        while !self.is_over {
            let refunds = self.lane.refunds().next(self.lane.keys);
            self.is_over = refunds.is_empty();
            // Units that cannot be given back stay taken: never too much is allowed.
            let _ = self.lane.send_refunds(&refunds).await;
        }
    }
}

impl Drop for Run {
    /// Where it is not over the runtime goes down; on the next one the next refund sends another.
    fn drop(&mut self) {
        if !self.is_over {
            self.lane.refunds().running = false;
        }
    }
}
