use std::time::Duration;

use crate::{Timestamp, clock::nanos, float::saturate};

/// When a value is loaded again although it is still fresh, so that nobody ever waits for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EarlyRefresh {
    /// Never: the first who asks after its end waits, or gets the stale value.
    Never,
    /// From this share of its time to live on, in `(0, 1]`.
    AtAge(f64),
    /// The sooner before its end, the longer its load took, and each reader draws for itself, so
    /// that many servers do not load at the same time: XFetch, with a `beta` of 1 as the best
    /// choice and more for earlier (Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic
    /// Cache Stampede Prevention", VLDB 2015).
    Probabilistic {
        /// By how much refreshes come earlier; 0 or more.
        beta: f64,
    },
}

/// How long a value is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime {
    /// Fresh for so long.
    pub(super) ttl: Duration,
    /// After that, served at once for so long, while it is loaded again.
    pub(super) stale_while_revalidate: Duration,
    /// After its end, served for so long where loading fails or takes too long.
    pub(super) stale_if_error: Duration,
}

/// What may be done with a value of some age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Age {
    /// Serve it.
    Fresh,
    /// Serve it, and let one load it again in the background.
    Due,
    /// The same, though it is stale.
    Revalidate,
    /// Load it, and serve it only where that fails or takes too long.
    Fallback,
    /// Forget it.
    Dead,
}

/// The life of one value. All ends are exclusive: at the very instant it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    loaded: Timestamp,
    /// How long the load took.
    took: Duration,
    expires: Timestamp,
    revalidates_until: Timestamp,
    dies: Timestamp,
}

impl Life {
    /// A life that begins at `now`, after a load that took `took`.
    pub(super) fn new(lifetime: &Lifetime, now: Timestamp, took: Duration) -> Self {
        let expires = now.saturating_add(lifetime.ttl);
        let revalidates_until = expires.saturating_add(lifetime.stale_while_revalidate);
        Self {
            loaded: now,
            took,
            expires,
            revalidates_until,
            dies: revalidates_until.max(expires.saturating_add(lifetime.stale_if_error)),
        }
    }

    /// What may be done with it at `now`. `draw` gives a number in `[0, 1)`, and is asked only
    /// close to the end.
    pub(super) fn age(
        &self,
        now: Timestamp,
        early: EarlyRefresh,
        draw: impl FnOnce() -> f64,
    ) -> Age {
        if now < self.expires {
            if self.is_due(now, early, draw) {
                Age::Due
            } else {
                Age::Fresh
            }
        } else if now < self.revalidates_until {
            Age::Revalidate
        } else if now < self.dies {
            Age::Fallback
        } else {
            Age::Dead
        }
    }

    /// What may be done with it at `now` where it may have been changed meanwhile: what may be done
    /// with any value that is past its time to live.
    pub(super) fn age_in_doubt(&self, now: Timestamp) -> Age {
        let now = now.max(self.expires);
        self.age(now, EarlyRefresh::Never, || 0.0)
    }

    /// Until when nothing is to be thought of: it is fresh, and no draw could make it due.
    pub(super) fn quiet_until(&self, early: EarlyRefresh) -> Timestamp {
        let end = self.expires.as_nanos();
        Timestamp::from_nanos(match early {
            EarlyRefresh::Never => end,
            EarlyRefresh::AtAge(share) => {
                let due = share * nanos(self.left(self.loaded)) as f64;
                end.min(self.loaded.as_nanos().saturating_add(saturate(due)))
            }
            EarlyRefresh::Probabilistic { beta } => {
                let reach = nanos(self.took) as f64 * beta * FARTHEST;
                end.saturating_sub(saturate(reach.ceil()))
            }
        })
    }

    /// How long ago it was loaded.
    #[cfg(feature = "http")]
    pub(super) const fn since_load(&self, now: Timestamp) -> Duration {
        now.saturating_since(self.loaded)
    }

    /// For how long it has been stale.
    #[cfg(feature = "http")]
    pub(super) const fn over(&self, now: Timestamp) -> Duration {
        now.saturating_since(self.expires)
    }

    /// How long its load took.
    pub(super) const fn took(&self) -> Duration {
        self.took
    }

    pub(super) const fn left(&self, now: Timestamp) -> Duration {
        self.expires.saturating_since(now)
    }

    fn is_due(&self, now: Timestamp, early: EarlyRefresh, draw: impl FnOnce() -> f64) -> bool {
        match early {
            EarlyRefresh::Never => false,
            EarlyRefresh::AtAge(share) => {
                let life = self.left(self.loaded);
                let age = now.saturating_since(self.loaded);
                nanos(age) as f64 >= share * nanos(life) as f64
            }
            EarlyRefresh::Probabilistic { beta } => {
                let left = nanos(self.left(now)) as f64;
                let reach = nanos(self.took) as f64 * beta;
                // now - took * beta * ln(random) >= expires, with random in (0, 1].
                left <= reach * FARTHEST && left <= reach * -(1.0 - draw()).ln()
            }
        }
    }
}

/// No draw of 53 bits reaches farther than `-ln(2^-53)`, about 36.7.
const FARTHEST: f64 = 37.0;

/// `ttl`, moved by at most `share` of it in either direction, each as likely as the next; never
/// less than a nanosecond, unless it was nothing from the start.
pub(super) fn jittered(ttl: Duration, share: f64, random: f64) -> Duration {
    let whole = nanos(ttl);
    if share <= 0.0 || whole == 0 || whole == u64::MAX {
        return ttl;
    }
    let moved = whole as f64 * (1.0 + share * random.mul_add(2.0, -1.0));
    Duration::from_nanos(saturate(moved.round()).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn life(ttl: u32, revalidate: u32, fallback: u32) -> Life {
        let lifetime = Lifetime {
            ttl: SECOND * ttl,
            stale_while_revalidate: SECOND * revalidate,
            stale_if_error: SECOND * fallback,
        };
        Life::new(&lifetime, Timestamp::ZERO, SECOND)
    }

    fn at(life: &Life, nanos: u64) -> Age {
        let now = Timestamp::from_nanos(nanos);
        life.age(now, EarlyRefresh::Never, || unreachable!())
    }

    #[test]
    fn every_end_is_exact_to_the_nanosecond() {
        let life = life(10, 5, 20);
        let second = 1_000_000_000;
        for (end, before, after) in [
            (10 * second, Age::Fresh, Age::Revalidate),
            (15 * second, Age::Revalidate, Age::Fallback),
            (30 * second, Age::Fallback, Age::Dead),
        ] {
            assert_eq!(at(&life, end - 1), before);
            assert_eq!(at(&life, end), after);
        }
    }

    #[test]
    fn the_longest_life_never_ends() {
        let lifetime = Lifetime {
            ttl: Duration::MAX,
            stale_while_revalidate: Duration::MAX,
            stale_if_error: Duration::MAX,
        };
        let life = Life::new(&lifetime, Timestamp::from_nanos(7), Duration::MAX);
        assert_eq!(at(&life, u64::MAX - 1), Age::Fresh);
    }

    #[test]
    fn an_early_refresh_is_due_from_its_share_on() {
        let life = life(100, 0, 0);
        let early = EarlyRefresh::AtAge(0.8);
        let at = |second| {
            life.age(
                Timestamp::ZERO.saturating_add(SECOND * second),
                early,
                || 0.0,
            )
        };
        assert_eq!(at(70), Age::Fresh);
        assert_eq!(at(79), Age::Fresh);
        assert_eq!(at(80), Age::Due);
        assert_eq!(at(99), Age::Due);
    }

    #[test]
    fn a_probable_refresh_comes_as_its_formula_says() {
        // 1 s to load, beta 1: one second before its end, ln(random) must be -1 or less.
        let life = life(100, 0, 0);
        let early = EarlyRefresh::Probabilistic { beta: 1.0 };
        let now = Timestamp::ZERO.saturating_add(SECOND * 99);
        let threshold = 1.0 - (-1.0_f64).exp();
        assert_eq!(life.age(now, early, || threshold - 1e-9), Age::Fresh);
        assert_eq!(life.age(now, early, || threshold + 1e-9), Age::Due);
        assert_eq!(at(&life, 0), Age::Fresh);
    }

    #[test]
    fn until_it_need_not_be_looked_at_a_life_is_fresh_whatever_is_drawn() {
        for early in [
            EarlyRefresh::Never,
            EarlyRefresh::AtAge(0.8),
            EarlyRefresh::AtAge(1.0),
            EarlyRefresh::Probabilistic { beta: 0.0 },
            EarlyRefresh::Probabilistic { beta: 1.0 },
            EarlyRefresh::Probabilistic { beta: f64::MAX },
        ] {
            for ttl in [0, 1, 7, 100, 1000] {
                let life = life(ttl, 0, 0);
                let quiet_until = life.quiet_until(early).as_nanos();
                for now in [0, quiet_until / 2, quiet_until.saturating_sub(1)] {
                    let age = life.age(Timestamp::from_nanos(now), early, || 1.0 - f64::EPSILON);
                    assert!(
                        now >= quiet_until || age == Age::Fresh,
                        "{early:?} {ttl} {now}"
                    );
                }
            }
        }
        let hour = life(3600, 0, 0);
        let quiet = |early| hour.quiet_until(early).as_nanos() / 1_000_000_000;
        assert_eq!(quiet(EarlyRefresh::AtAge(0.8)), 2880);
        // Its load took one second.
        assert_eq!(quiet(EarlyRefresh::Probabilistic { beta: 1.0 }), 3600 - 37);
    }

    #[test]
    fn a_jittered_life_stays_within_its_share_and_above_nothing() {
        for (share, random, expected) in [(0.1, 0.0, 900), (0.1, 0.5, 1000), (1.0, 0.75, 1500)] {
            let moved = jittered(SECOND, share, random).as_millis();
            assert_eq!(moved, expected);
        }
        assert!(jittered(SECOND, 1.0, 0.0) > Duration::ZERO);
        assert_eq!(jittered(Duration::ZERO, 1.0, 0.9), Duration::ZERO);
        assert_eq!(jittered(Duration::MAX, 1.0, 0.9), Duration::MAX);
    }
}
