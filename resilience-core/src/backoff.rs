//! How long to wait before the next attempt.
//!
//! Callers that come back at once, and all at the same time, keep a failing dependency down.
//! [`Backoff`] lets each wait longer than the one before, up to a maximum, and spreads the callers
//! by jitter. Not for waits that the other side has named: a `Retry-After` is an answer, this is
//! a guess.
//!
//! # Place in a stack
//!
//! Whatever tries again owns one; [`supervise`](crate::supervise) restarts tasks by it.
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::backoff::{Backoff, Jitter};
//!
//! let backoff = Backoff::exponential(Duration::from_millis(100))
//!     .max(Duration::from_secs(10))
//!     .jitter(Jitter::Full);
//! assert_eq!(backoff.delay(3, 0.5), Duration::from_millis(400));
//! assert_eq!(backoff.delay(u32::MAX, 0.5), Duration::from_secs(5));
//! ```
//!
//! # Sharing
//!
//! A plain value: it counts nothing and remembers nothing. Whoever tries counts the attempts.
//!
//! # Cancellation
//!
//! Nothing waits here.

use std::time::Duration;

use crate::{InvalidPolicy, clock::nanos, float::saturate};

/// How the wait before an attempt follows from how many went before it.
///
/// Every value gives a wait, for every attempt and every draw. What makes no sense as a policy (a
/// factor that is no number, or shrinks) is refused by [`check`](Self::check), which the engines
/// that are given a backoff call when they are built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    base: Duration,
    growth: Growth,
    max: Duration,
    jitter: Jitter,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Growth {
    Constant,
    Linear,
    Exponential { factor: f64 },
}

/// How much of a wait is left to chance.
///
/// The forms and their names are those of Marc Brooker, "Exponential Backoff And Jitter" (AWS
/// Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jitter {
    /// Nothing: callers that failed together come back together.
    #[default]
    None,
    /// All of it: anything from nothing up to the whole wait. Spreads callers best.
    Full,
    /// Half of it: between half of the wait and the whole. Never comes back at once.
    Equal,
}

impl Backoff {
    /// `base` before every attempt.
    #[must_use]
    pub const fn constant(base: Duration) -> Self {
        Self::new(base, Growth::Constant)
    }

    /// `base`, then twice `base`, three times, and so on.
    #[must_use]
    pub const fn linear(base: Duration) -> Self {
        Self::new(base, Growth::Linear)
    }

    /// `base`, then each time [`factor`](Self::factor) times as long: twice, unless set.
    #[must_use]
    pub const fn exponential(base: Duration) -> Self {
        Self::new(base, Growth::Exponential { factor: 2.0 })
    }

    const fn new(base: Duration, growth: Growth) -> Self {
        Self {
            base,
            growth,
            max: Duration::MAX,
            jitter: Jitter::None,
        }
    }

    /// Sets by how much an exponential wait grows at each attempt; the other kinds have no factor
    /// and ignore it. Default 2.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        if let Growth::Exponential { .. } = self.growth {
            self.growth = Growth::Exponential { factor };
        }
        self
    }

    /// Sets the longest wait, before jitter. Default: none; waits saturate at 2^64 nanoseconds,
    /// 584 years.
    #[must_use]
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Sets how much of a wait is left to chance. Default: nothing.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Whether these settings can be meant.
    ///
    /// # Errors
    ///
    /// The factor must be a finite number, at least 1.
    pub const fn check(&self) -> Result<(), InvalidPolicy> {
        match self.growth {
            Growth::Exponential { factor } if !(factor.is_finite() && factor >= 1.0) => Err(
                InvalidPolicy::new("factor", "must be a finite number, at least 1"),
            ),
            Growth::Constant | Growth::Linear | Growth::Exponential { .. } => Ok(()),
        }
    }

    /// The wait before attempt `attempt`, counted from 0; `random` in `[0, 1)` decides the jitter.
    ///
    /// Exact to the nanosecond, an exponential wait to within a microsecond up to a hundred years.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let base = nanos(self.base);
        let grown = match self.growth {
            Growth::Constant => base,
            Growth::Linear => base.saturating_mul(u64::from(attempt) + 1),
            Growth::Exponential { factor } => grow(base, factor, attempt),
        };
        let whole = grown.min(nanos(self.max));
        Duration::from_nanos(match self.jitter {
            Jitter::None => whole,
            Jitter::Full => share(whole, random),
            Jitter::Equal => whole - whole / 2 + share(whole / 2, random),
        })
    }
}

/// `base * factor^attempt`, at most `u64::MAX`.
fn grow(base: u64, factor: f64, attempt: u32) -> u64 {
    if base == 0 || attempt == 0 {
        // Zero times infinity is no number, and a base needs no rounding.
        return base;
    }
    let grown = base as f64 * factor.powf(f64::from(attempt));
    if grown.is_nan() {
        // No wait at all would be the worst answer to a broken factor.
        return u64::MAX;
    }
    saturate(grown.round())
}

/// `whole * random`, in integers so that the longest waits lose nothing.
fn share(whole: u64, random: f64) -> u64 {
    /// 2^64: a draw becomes a fraction of 64 bits, saturating below 0 and above 1.
    const ONE: f64 = 18_446_744_073_709_551_616.0;
    let fraction = saturate(random * ONE);
    let product = u128::from(whole) * u128::from(fraction);
    (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn every_value_gives_a_wait_for_every_attempt_and_every_draw() {
        let durations = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
        let odd = [f64::NAN, f64::INFINITY, -3.0, 0.0, 0.5, 1.0, 1e308];
        for base in durations {
            for max in durations {
                for factor in odd {
                    let backoff = Backoff::exponential(base).factor(factor).max(max);
                    for jitter in [Jitter::None, Jitter::Full, Jitter::Equal] {
                        for attempt in [0, 1, 31, 63, 64, 1025, u32::MAX] {
                            for random in odd {
                                let delay = backoff.jitter(jitter).delay(attempt, random);
                                assert!(delay <= max);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_factor_that_is_no_number_or_shrinks_is_refused() {
        for factor in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -2.0, 0.0, 0.99] {
            let refused = Backoff::exponential(SECOND).factor(factor).check();
            assert_eq!(refused.unwrap_err().field(), "factor", "{factor}");
        }
        assert_eq!(Backoff::exponential(SECOND).factor(1.0).check(), Ok(()));
        assert_eq!(Backoff::linear(SECOND).factor(f64::NAN).check(), Ok(()));
    }

    #[test]
    fn a_broken_factor_waits_long_rather_than_not_at_all() {
        let backoff = Backoff::exponential(SECOND)
            .factor(f64::NAN)
            .max(SECOND * 9);
        assert_eq!(backoff.delay(1, 0.0), SECOND * 9);
    }

    #[test]
    fn equal_jitter_never_comes_back_at_once() {
        let backoff = Backoff::constant(Duration::from_nanos(3)).jitter(Jitter::Equal);
        assert_eq!(backoff.delay(0, 0.0), Duration::from_nanos(2));
        assert!(backoff.delay(0, 0.999) <= Duration::from_nanos(3));
    }

    #[test]
    fn the_longest_waits_are_exact() {
        let max = Duration::from_nanos(u64::MAX);
        let backoff = Backoff::exponential(SECOND).jitter(Jitter::Full);
        assert_eq!(Backoff::exponential(SECOND).delay(64, 0.0), max);
        assert_eq!(backoff.delay(64, 0.5), max / 2);
    }
}
