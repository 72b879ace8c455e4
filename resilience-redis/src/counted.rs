//! What became of calls, whatever becomes of them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Awaits `call`, and counts it where `outcome` says; dropped before that it counts as `canceled`.
pub(crate) async fn counted<'a, T>(
    canceled: &'a AtomicU64,
    call: impl Future<Output = T>,
    outcome: impl FnOnce(&T) -> &'a AtomicU64,
) -> T {
    let mut counts = Counts(canceled);
    let answer = call.await;
    counts.0 = outcome(&answer);
    answer
}

/// Where a call counts, as far as is known.
struct Counts<'a>(&'a AtomicU64);

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
