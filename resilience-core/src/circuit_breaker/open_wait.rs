use std::time::Duration;

use crate::{InvalidPolicy, backoff::Backoff};

/// How long an open circuit leaves the dependency alone before it sends probes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenWait {
    backoff: Backoff,
    initial: Duration,
    max: Duration,
    jitter: f64,
}

impl OpenWait {
    /// The same wait every time.
    #[must_use]
    pub const fn fixed(wait: Duration) -> Self {
        Self {
            backoff: Backoff::constant(wait),
            initial: wait,
            max: wait,
            jitter: 0.0,
        }
    }

    /// `initial` at first, then `factor` times as long with each half-open that fails or runs out
    /// of time, at most `max`. Closing starts over.
    #[must_use]
    pub const fn exponential(initial: Duration, factor: f64, max: Duration) -> Self {
        Self {
            backoff: Backoff::exponential(initial).factor(factor).max(max),
            initial,
            max,
            jitter: 0.0,
        }
    }

    /// Lengthens each wait by chance, by up to this share of it, so that a fleet that opened
    /// together does not probe together. Between 0 and 1; default 0.
    ///
    /// A wait is never shorter than configured; it may exceed the maximum by the share.
    #[must_use]
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        self.backoff.check()?;
        if self.initial.is_zero() {
            return Err(InvalidPolicy::new("open", "must wait longer than zero"));
        }
        if self.max < self.initial {
            return Err(InvalidPolicy::new(
                "open",
                "must have a maximum of at least the initial wait",
            ));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(InvalidPolicy::new("jitter", "must be between 0 and 1"));
        }
        Ok(())
    }

    pub(super) fn is_random(&self) -> bool {
        self.jitter > 0.0
    }

    /// The wait after `failed` half-opens in a row, lengthened by `random` in `[0, 1)`.
    pub(super) fn wait(&self, failed: u32, random: f64) -> Duration {
        // Below 2^64 nanoseconds, times at most 1: never more than a duration holds.
        let wait = self.backoff.delay(failed, 0.0);
        wait.saturating_add(wait.mul_f64(self.jitter * random))
    }
}
