//! When there will be room for those who wait, as far as is known.
//!
//! What the server answered says what stands in each quota, and when that leaves. Those who wait take
//! what leaves in the order in which they came, as soon as it does, and it leaves again a window later.
//! Other processes may take it first, or give units back: so nobody is granted or refused for good by
//! this, but one who would have to wait too long although nobody else takes anything.

#[cfg(test)]
mod tests;

use std::{iter::repeat_n, time::Duration};

use resilience_core::Timestamp;

use super::{
    grant::{Before, Verdict},
    rules::{Kind, Rule},
    window::{PAST, Window},
};

/// What stood in the quotas of a key when the server was last heard.
#[derive(Debug)]
pub(in crate::rate_limit) struct Outlook {
    /// When the server was asked, and what its clock showed.
    sent: Timestamp,
    now: u64,
    quotas: Box<[Quota]>,
    /// Units that may have been taken since.
    assumed: u64,
}

#[derive(Debug)]
struct Quota {
    limit: u64,
    burst: u64,
    pause: Duration,
    stands: Stands,
}

#[derive(Debug)]
enum Stands {
    /// With how long a step is.
    Window { window: Window, step: u64 },
    /// The time of every unit, the oldest first, and how long each counts.
    Log { times: Box<[u64]>, length: u64 },
    /// The level, of which the length of the window makes a unit.
    Cells { level: u64, length: u64 },
}

impl Outlook {
    /// The server said at `now`, when asked at `sent`, what stood `before` somebody took `taken`.
    pub(in crate::rate_limit) fn new(
        rules: &[Rule],
        (before, taken): (&[Before<'_>], u64),
        (sent, now): (Timestamp, u64),
    ) -> Self {
        let quotas = rules.iter().zip(before);
        let quota = |(rule, before): (&Rule, &Before<'_>)| Quota {
            limit: rule.limit(),
            burst: rule.burst(),
            pause: rule.pause(),
            stands: Stands::new(rule, before, taken, now),
        };
        Self {
            sent,
            now,
            quotas: quotas.map(quota).collect(),
            assumed: 0,
        }
    }

    /// What one hears at `now` who wants `cost` after others who wait for `ahead` units: how long
    /// until there is room, which is zero where there is by now, and the quota that asks for it.
    ///
    /// Each quota is looked at by itself, and each unit of those ahead for itself. What one quota holds
    /// up leaves the others later, and who wants many waits for all of them: there may be room later
    /// than this, and there is none sooner.
    pub(in crate::rate_limit) fn verdict(&self, ahead: u64, cost: u64, now: Timestamp) -> Verdict {
        let units = ahead.saturating_add(self.assumed).saturating_add(cost);
        let (mut longest, mut slowest) = (0, 0);
        for (index, quota) in self.quotas.iter().enumerate() {
            let wait = quota.wait(units, self.now);
            if wait > longest {
                (longest, slowest) = (wait, index);
            }
        }
        // A clock that was set back would prolong it.
        let since = self.sent.min(now);
        let due = since.saturating_add(Duration::from_nanos(longest));
        let wait = due.saturating_since(now);
        Verdict {
            wait,
            rule: slowest,
            remaining: self.quotas.get(slowest).map_or(0, Quota::remaining),
            next_back: wait,
        }
    }

    /// Somebody may have taken so many `units` of whom the server knows nothing.
    pub(in crate::rate_limit) const fn assume(&mut self, units: u64) {
        self.assumed = self.assumed.saturating_add(units);
    }

    /// Units that a call can have at most.
    pub(in crate::rate_limit) fn most(&self) -> u64 {
        self.quotas.iter().map(|it| it.burst).min().unwrap_or(0)
    }

    /// How long nobody looks whether units came back sooner.
    pub(in crate::rate_limit) fn pause(&self) -> Duration {
        let pauses = self.quotas.iter().map(|it| it.pause);
        pauses.min().unwrap_or_default()
    }

    /// Whether this was said after `now`, so that the clock was set back since.
    pub(in crate::rate_limit) fn is_ahead_of(&self, now: Timestamp) -> bool {
        now < self.sent
    }
}

impl Quota {
    /// Nanoseconds until so many `units` more have room.
    fn wait(&self, units: u64, now: u64) -> u64 {
        if units == 0 {
            return 0;
        }
        // A window's worth of units after the first leaves just as that did, once more.
        let (laps, units_left) = match self.stands {
            Stands::Cells { .. } => (0, units),
            Stands::Window { .. } | Stands::Log { .. } => {
                let laps = (units - 1) / self.limit;
                (laps, units - laps * self.limit)
            }
        };
        let until = |micros: u64| micros.saturating_sub(now).saturating_mul(1000);
        match &self.stands {
            Stands::Window { window, step } => {
                // Where there is room by now it is the present step that leaves, which began before.
                let room = window.room(0, units_left, self.limit);
                let room = room.unwrap_or_else(|| window.step());
                let later = laps.saturating_mul(PAST as u64 + 1);
                until(room.saturating_add(later).saturating_mul(*step))
            }
            Stands::Log { times, length } => {
                let excess = (times.len() as u64 + units_left).saturating_sub(self.limit);
                let last = usize::try_from(excess)
                    .ok()
                    .and_then(|it| it.checked_sub(1));
                let last = last.and_then(|index| times.get(index));
                let wait = last.map_or(0, |last| until(last + length));
                wait.saturating_add(laps.saturating_mul(*length).saturating_mul(1000))
            }
            Stands::Cells { level, length } => {
                let level = u128::from(*level) + u128::from(units) * u128::from(*length);
                let most = u128::from(self.burst) * u128::from(*length);
                let nanos = (level.saturating_sub(most) * 1000).div_ceil(u128::from(self.limit));
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        }
    }

    /// Units that one call could take.
    fn remaining(&self) -> u64 {
        match &self.stands {
            Stands::Window { window, .. } => self.limit.saturating_sub(window.used()),
            Stands::Log { times, .. } => self.limit.saturating_sub(times.len() as u64),
            Stands::Cells { level, length } => {
                (self.burst * length).saturating_sub(*level) / length
            }
        }
    }
}

impl Stands {
    fn new(rule: &Rule, before: &Before<'_>, taken: u64, now: u64) -> Self {
        let (Kind::Window { step: length } | Kind::Log { length } | Kind::Cells { length }) =
            rule.kind;
        match *before {
            Before::Window(window) => Self::Window {
                window: window.with(taken),
                step: length,
            },
            Before::Log {
                used,
                oldest,
                times,
                ..
            } => {
                // Where times are not told, all can be as old as the oldest: who waits in vain for
                // one of them hears so when his time is over.
                let oldest = if oldest > 0 { oldest } else { now };
                let all = usize::try_from(used + taken).unwrap_or(usize::MAX);
                let untold = repeat_n(oldest, all.saturating_sub(times.len()));
                Self::Log {
                    times: times.iter().copied().chain(untold).collect(),
                    length,
                }
            }
            Before::Cells { level } => Self::Cells {
                level: level.saturating_add(taken.saturating_mul(length)),
                length,
            },
        }
    }
}
