use std::time::Duration;

use crate::{InvalidPolicy, clock::nanos, invalid::check_name};

/// So many units in such a time, and how they are counted.
///
/// ```
/// use resilience_core::rate_limit::{Algorithm, Quota};
///
/// let exact = Quota::per_minute(200).algorithm(Algorithm::SlidingLog);
/// let paced = Quota::per_second(10).algorithm(Algorithm::Gcra).burst(3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    limit: u64,
    per: Duration,
    burst: Option<u64>,
    algorithm: Algorithm,
    name: Option<&'static str>,
}

/// How units are counted.
///
/// | | most units in any window of length `per` | a unit is free again | memory of a key |
/// | --- | --- | --- | --- |
/// | `SlidingLog` | `limit` | `per` after it was taken, to the nanosecond | once units count that were taken at several instants, 24 bytes for each of these, at most `limit` of them |
/// | `SlidingWindow` | `limit` | up to a tenth of `per` later | once units count that were taken in several tenths, 11 counters at most |
/// | `Gcra` | `burst + limit` | one each `per / limit` | 16 bytes for each of at most 32 gaps where units were given back out of turn |
///
/// Beside that a key takes 16 bytes where it has one quota and there are no tiers, and some 300
/// more while the table speaks of counters, instants or gaps. Units booked ahead of time take
/// memory as well, in the first two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Remembers each instant at which units were taken: exact, for small limits.
    SlidingLog,
    /// Counts in tenths of the window, the oldest of them whole: never more than the limit in any
    /// window, wherever it starts. The default.
    #[default]
    SlidingWindow,
    /// The generic cell rate algorithm (ITU-T I.371), which is a leaky bucket and a token bucket:
    /// a burst, then evenly spaced units. Any window of length `w` holds at most
    /// `burst + limit × w / per` units, rounded up.
    ///
    /// That holds as long as bookings are given back from the end of the line. Units given back
    /// from under a later booking are lent again at the end, where they fall due beside it: where
    /// callers who wait may go away and no instant may hold more than the burst, use a window.
    Gcra,
}

impl Quota {
    /// `limit` units in any window of length `per`, by a [sliding
    /// window](Algorithm::SlidingWindow).
    ///
    /// Neither may be zero. `per` counts in nanoseconds, up to 584 years.
    #[must_use]
    pub const fn new(limit: u64, per: Duration) -> Self {
        Self {
            limit,
            per,
            burst: None,
            algorithm: Algorithm::SlidingWindow,
            name: None,
        }
    }

    /// `limit` units a second.
    #[must_use]
    pub const fn per_second(limit: u64) -> Self {
        Self::new(limit, Duration::from_secs(1))
    }

    /// `limit` units a minute.
    #[must_use]
    pub const fn per_minute(limit: u64) -> Self {
        Self::new(limit, Duration::from_secs(60))
    }

    /// `limit` units an hour.
    #[must_use]
    pub const fn per_hour(limit: u64) -> Self {
        Self::new(limit, Duration::from_secs(3600))
    }

    /// Sets how units are counted. Default: [`Algorithm::SlidingWindow`].
    #[must_use]
    pub const fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Sets how many units an idle key can take at once, for [`Algorithm::Gcra`] alone. Default:
    /// the limit.
    #[must_use]
    pub const fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Names the quota in refusals and in the `RateLimit` fields. Default: the policy's name.
    #[must_use]
    pub const fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// One part in `shares`, but at least a unit.
    pub(super) fn share(self, shares: u64) -> Self {
        // A quota that cannot work stays one, and one that can still can.
        let share = |units: u64| (units / shares.max(1)).max(units.min(1));
        Self {
            limit: share(self.limit),
            burst: self.burst.map(share),
            ..self
        }
    }

    /// The same in the machine's terms.
    pub(super) fn rule(&self, policy: &'static str) -> Result<Rule, InvalidPolicy> {
        let name = self.name.unwrap_or(policy);
        check_name(name)?;
        if self.limit == 0 {
            let problem = "must not be zero; to refuse everything, use no limiter";
            return Err(InvalidPolicy::new("limit", problem));
        }
        if self.per.is_zero() {
            return Err(InvalidPolicy::new("per", "must not be zero"));
        }
        let burst = match (self.algorithm, self.burst) {
            (Algorithm::Gcra, Some(0)) => {
                return Err(InvalidPolicy::new("burst", "must not be zero"));
            }
            (Algorithm::Gcra, burst) => burst.unwrap_or(self.limit),
            (Algorithm::SlidingLog | Algorithm::SlidingWindow, None) => self.limit,
            (Algorithm::SlidingLog | Algorithm::SlidingWindow, Some(_)) => {
                let problem = "is for `Algorithm::Gcra`; a window's burst is its limit";
                return Err(InvalidPolicy::new("burst", problem));
            }
        };
        Ok(Rule {
            algorithm: self.algorithm,
            limit: self.limit,
            per: nanos(self.per),
            most: burst,
            grain: greatest_divisor(self.limit, nanos(self.per)),
            name,
        })
    }
}

/// A quota that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) algorithm: Algorithm,
    /// Units in one window; never zero.
    pub(super) limit: u64,
    /// Length of the window in nanoseconds; never zero.
    pub(super) per: u64,
    /// Units that an idle key can take at once; never zero.
    pub(super) most: u64,
    /// The greatest number that divides both the limit and the length.
    pub(super) grain: u64,
    pub(super) name: &'static str,
}

impl Rule {
    /// Width of the buckets in which a log counts: a tenth of the window, or one instant.
    pub(super) fn bucket(&self) -> u64 {
        match self.algorithm {
            Algorithm::SlidingLog | Algorithm::Gcra => 1,
            Algorithm::SlidingWindow => (self.per / BUCKETS).max(1),
        }
    }

    /// Places in a line that no more units than so many nanoseconds can pass: more than drain in
    /// that time.
    pub(super) const fn places(&self, nanos: u64) -> u64 {
        nanos.saturating_mul((self.limit / self.per).saturating_add(1))
    }

    /// How much `used` units are of the most, so that keys of several tiers compare.
    pub(super) fn share_of(&self, used: u64) -> u64 {
        let share = match used.checked_mul(SHARE) {
            Some(parts) => return parts / self.most,
            None => u128::from(used) * u128::from(SHARE) / u128::from(self.most),
        };
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    pub(super) const fn window(&self) -> Duration {
        Duration::from_nanos(self.per)
    }
}

/// Euclid's; neither number is zero.
const fn greatest_divisor(mut larger: u64, mut smaller: u64) -> u64 {
    while smaller > 0 {
        (larger, smaller) = (smaller, larger % smaller);
    }
    larger
}

/// Buckets in a window. A unit comes back late by less than one of them.
const BUCKETS: u64 = 10;

/// In what a used share is counted.
const SHARE: u64 = 1 << 20;
