//! When there will be room for those who wait, as far as is known.
//!
//! What the server answered says what stands in each quota, and when that leaves. Those who wait take
//! what leaves in the order in which they came, as soon as it does, and it leaves again a window later.
//! Other processes may take it first, or give units back: so nobody is granted or refused for good by
//! this, but one who would have to wait too long although nobody else takes anything.

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use resilience_core::rate_limit::{self, Algorithm, Policy};

    use super::{super::rules::rules, *};

    /// A quota as a server counts it, in microseconds, asked at one instant after the other.
    enum Model {
        Window {
            step: u64,
            counts: BTreeMap<u64, u64>,
        },
        Log {
            length: u64,
            times: Vec<u64>,
        },
        Cells {
            length: u64,
            level: u64,
            at: u64,
        },
    }

    impl Model {
        /// When there is room, from `now` on.
        fn room(&self, rule: &Rule, cost: u64, now: u64) -> u64 {
            let room = match self {
                Self::Window { step, counts } => {
                    let used =
                        |it: u64| counts.range(it - PAST as u64..=it).map(|(_, count)| count);
                    let mut steps = now / step..;
                    let room = steps.find(|it| used(*it).sum::<u64>() + cost <= rule.limit());
                    room.map(|it| it * step)
                }
                Self::Log { length, times } => {
                    let mut ends = [now].into_iter().chain(times.iter().map(|it| it + length));
                    let used = |at: u64| times.iter().filter(move |it| **it + length > at).count();
                    ends.find(|at| *at >= now && used(*at) as u64 + cost <= rule.limit())
                }
                Self::Cells { length, level, at } => {
                    let most = (rule.burst() - cost) * length;
                    let drains = level.saturating_sub(most).div_ceil(rule.limit());
                    Some(at + drains)
                }
            };
            room.expect("in the end").max(now)
        }

        fn take(&mut self, rule: &Rule, cost: u64, now: u64) {
            match self {
                Self::Window { step, counts } => *counts.entry(now / *step).or_default() += cost,
                Self::Log { times, .. } => times.extend((0..cost).map(|_| now)),
                Self::Cells { length, level, at } => {
                    *level = level.saturating_sub((now - *at) * rule.limit()) + cost * *length;
                    *at = now;
                }
            }
        }

        /// What the server tells of it.
        fn before(&self, now: u64) -> Before<'_> {
            match self {
                Self::Window { step, counts } => {
                    let count = |age| counts.get(&(now / step - age)).copied().unwrap_or(0);
                    let past: Vec<u64> = (1..=PAST as u64).map(count).collect();
                    let mut window = Window::default();
                    window.learn(now / step, count(0), &past);
                    Before::Window(window)
                }
                Self::Log { times, .. } => Before::Log {
                    used: times.len() as u64,
                    oldest: times.first().copied().unwrap_or(0),
                    short: &[],
                    times,
                },
                Self::Cells { level, .. } => Before::Cells { level: *level },
            }
        }
    }

    /// A quota, and what was taken of it up to `now`.
    fn quota(random: &mut fastrand::Rng, millis: u64, now: u64) -> (rate_limit::Quota, Model) {
        let (limit, length) = (random.u64(1..12), millis * 1000);
        let quota = rate_limit::Quota::new(limit, Duration::from_millis(millis));
        let mut times: Vec<u64> = (0..random.u64(..=limit))
            .map(|_| now - random.u64(..length))
            .collect();
        times.sort_unstable();
        match random.u8(..3) {
            0 => {
                let (step, mut counts) = (length / 10, BTreeMap::new());
                for time in times {
                    *counts.entry(time / step).or_default() += 1;
                }
                (quota, Model::Window { step, counts })
            }
            1 => {
                let quota = quota.algorithm(Algorithm::SlidingLog);
                (quota, Model::Log { length, times })
            }
            _ => {
                let (level, at) = (random.u64(..=limit * length), now);
                let cells = Model::Cells { length, level, at };
                (quota.algorithm(Algorithm::Gcra), cells)
            }
        }
    }

    /// Who is refused at once would have waited as long in vain: nobody who comes while others wait
    /// can be served sooner, if all who wait take what leaves as soon as it does.
    #[test]
    fn nobody_is_told_a_later_time_than_he_has_room_at() {
        let sent = Timestamp::from_nanos(7);
        let mut exact = [0_u32; 2];
        for seed in 0..1000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let now = 1_763_800_000_000_000 + random.u64(..100_000);
            let mut models = Vec::new();
            let mut policy = None::<Policy>;
            // Of different lengths, so that no two are the same.
            for millis in (10..).step_by(7).take(random.usize(1..4)) {
                let (quota, model) = quota(&mut random, millis, now);
                models.push(model);
                policy = Some(match policy {
                    None => Policy::new("test", quota),
                    Some(policy) => policy.and(quota),
                });
            }
            let terms = policy.expect("a quota").terms().expect("valid");
            let rules = rules(&terms.quotas).expect("valid");
            let most = rules.iter().map(Rule::burst).min().expect("a quota");
            let before: Vec<_> = models.iter().map(|model| model.before(now)).collect();
            let outlook = Outlook::new(&rules, (&before, 0), (sent, now));
            let dearest = random.u64(1..=most);
            let (mut ahead, mut time) = (0, now);
            for _ in 0..20 {
                let cost = random.u64(1..=dearest);
                let told = outlook.verdict(ahead, cost, sent).wait;
                let room = |time| {
                    let quotas = models.iter().zip(&rules);
                    let times = quotas.map(|(model, rule)| model.room(rule, cost, time));
                    times.max().filter(|later| *later > time)
                };
                while let Some(later) = room(time) {
                    time = later;
                }
                let waits = Duration::from_micros(time - now);
                assert!(told <= waits, "{told:?} and not {waits:?}, seed {seed}");
                let is_exact = waits - told < Duration::from_micros(1);
                if dearest == 1 && rules.len() == 1 {
                    assert!(is_exact, "{told:?} and not {waits:?}, seed {seed}");
                }
                exact[usize::from(is_exact)] += 1;
                for (model, rule) in models.iter_mut().zip(&rules) {
                    model.take(rule, cost, time);
                }
                ahead += cost;
            }
        }
        // Several quotas, and callers who want many units, take longer than each by itself.
        let [sooner, exact] = exact;
        assert!(sooner > 1000 && exact > 5000, "{sooner} and {exact}");
    }
}
