//! What a script decided, in the order in which the callers came.
//!
//! A script is told how many callers want how much, and grants in that order; it says what stood
//! before. What each of them got follows from that, and is found here once more.

use std::time::Duration;

use super::{
    rules::{Kind, Rule},
    window::Window,
};

/// Callers in a row who want the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Run {
    pub(in crate::rate_limit) cost: u64,
    pub(in crate::rate_limit) callers: u64,
    /// Whether nobody behind them gets units once one of them has no room, since he may wait.
    pub(in crate::rate_limit) holds_up: bool,
}

/// What stood in one quota of a key before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) enum Before<'a> {
    /// Counts of the window.
    Window(Window),
    /// Units, the time of the oldest, and for each run that was cut short the time of the unit
    /// that must go, 0 where there is room. Where it was asked for, the time of every unit after
    /// the call, the oldest first.
    Log {
        used: u64,
        oldest: u64,
        short: &'a [u64],
        times: &'a [u64],
    },
    /// The level, of which the length of the window in microseconds makes a unit.
    Cells { level: u64 },
}

/// What one caller hears from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Verdict {
    /// How long until the call has room; zero where it had.
    pub(in crate::rate_limit) wait: Duration,
    /// The quota that was left the least; of a refusal, the one that asks for the wait.
    pub(in crate::rate_limit) rule: usize,
    pub(in crate::rate_limit) remaining: u64,
    /// How long until there is more of it.
    pub(in crate::rate_limit) next_back: Duration,
}

impl Verdict {
    pub(in crate::rate_limit) const fn is_grant(&self) -> bool {
        self.wait.is_zero()
    }

    /// The same for one who is refused, which is never without a wait.
    pub(in crate::rate_limit) fn refusal(self) -> Self {
        let wait = self.wait.max(micros(1));
        Self { wait, ..self }
    }
}

/// The verdicts on `runs`, one caller after the other, and how many units they took of `now`. There is
/// none on who has room, but for one before him who holds him up.
pub(in crate::rate_limit) fn verdicts(
    rules: &[Rule],
    before: &[Before<'_>],
    runs: impl IntoIterator<Item = Run>,
    now: u64,
    mut tell: impl FnMut(u64, Option<Verdict>),
) -> u64 {
    let (mut room, mut taken, mut cut) = (room(rules, before, 0), 0, 0);
    let (alone, mut last) = (matches!(before, [Before::Window(_)]), None::<Verdict>);
    let mut held_up = false;
    for run in runs {
        let granted = match room.checked_div(run.cost) {
            Some(_) if held_up => 0,
            Some(fits) => run.callers.min(fits),
            None => run.callers,
        };
        for _ in 0..granted {
            taken += run.cost;
            let verdict = match last {
                // Of a window, what comes back first does so whoever took the rest.
                Some(last) if alone => Verdict {
                    remaining: last.remaining - run.cost,
                    ..last
                },
                _ => tightest(rules, before, taken, now),
            };
            last = (taken > 0).then_some(verdict);
            tell(run.cost, Some(verdict));
        }
        room -= granted * run.cost;
        if granted < run.callers {
            let has_room = held_up && run.cost <= room;
            let verdict = (!has_room).then(|| refusal(rules, before, (run.cost, taken, cut), now));
            held_up |= run.holds_up;
            cut += 1;
            for _ in granted..run.callers {
                tell(run.cost, verdict);
            }
        }
    }
    taken
}

/// Units that any caller could take after `taken` more.
pub(in crate::rate_limit) fn room(rules: &[Rule], before: &[Before<'_>], taken: u64) -> u64 {
    let quotas = rules.iter().zip(before);
    let room = quotas.map(|(rule, it)| it.remaining(rule, taken)).min();
    room.unwrap_or(0)
}

/// What the last of those hears who took `taken`.
pub(in crate::rate_limit) fn tightest(
    rules: &[Rule],
    before: &[Before<'_>],
    taken: u64,
    now: u64,
) -> Verdict {
    let standings = rules.iter().zip(before).enumerate();
    let remaining = standings.map(|(index, (rule, it))| (it.remaining(rule, taken), index));
    let (remaining, rule) = remaining.min().unwrap_or_default();
    Verdict {
        wait: Duration::ZERO,
        rule,
        remaining,
        next_back: micros(before[rule].next_back(&rules[rule], taken, now)),
    }
}

fn refusal(
    rules: &[Rule],
    before: &[Before<'_>],
    (cost, taken, cut): (u64, u64, usize),
    now: u64,
) -> Verdict {
    let (mut longest, mut slowest) = (0, 0);
    for (index, (rule, it)) in rules.iter().zip(before).enumerate() {
        let wait = it.wait(rule, cost, taken, cut, now);
        if wait > longest {
            (longest, slowest) = (wait, index);
        }
    }
    let (rule, it) = (&rules[slowest], &before[slowest]);
    Verdict {
        // The server's clock counts microseconds. A refusal has a wait, whatever a server said that
        // makes no sense.
        wait: micros(longest.div_ceil(1000).max(1)),
        rule: slowest,
        remaining: it.remaining(rule, taken),
        next_back: micros(it.next_back(rule, taken, now)),
    }
}

impl Before<'_> {
    /// Units that one call could take after `taken` more.
    fn remaining(&self, rule: &Rule, taken: u64) -> u64 {
        match self {
            Self::Window(window) => rule.limit().saturating_sub(window.used() + taken),
            Self::Log { used, .. } => rule.limit().saturating_sub(used + taken),
            Self::Cells { level } => {
                let (length, level) = level_after(rule, *level, taken);
                (rule.burst() * length).saturating_sub(level) / length
            }
        }
    }

    /// Microseconds until more units are back.
    fn next_back(&self, rule: &Rule, taken: u64, now: u64) -> u64 {
        match (self, rule.kind) {
            (Self::Window(window), Kind::Window { step }) => {
                let relief = window.relief(taken);
                relief.map_or(0, |at| (at * step).saturating_sub(now))
            }
            (Self::Log { oldest: 0, .. }, _) if taken == 0 => 0,
            (Self::Log { oldest: 0, .. }, Kind::Log { length }) => length,
            (Self::Log { oldest, .. }, Kind::Log { length }) => {
                (oldest + length).saturating_sub(now)
            }
            (Self::Cells { level }, _) => {
                let more = self.remaining(rule, taken) + 1;
                if more > rule.burst() {
                    return 0;
                }
                drains(rule, *level, taken + more).div_ceil(1000)
            }
            (Self::Window(_) | Self::Log { .. }, _) => 0,
        }
    }

    /// Nanoseconds until `cost` units have room after `taken` more; zero where they have.
    fn wait(&self, rule: &Rule, cost: u64, taken: u64, cut: usize, now: u64) -> u64 {
        match (self, rule.kind) {
            (Self::Window(window), Kind::Window { step }) => {
                let room = window.room(taken, cost, rule.limit());
                // The last instant of a step leaves the window just before another step begins.
                room.map_or(0, |at| {
                    nanos((at * step).saturating_sub(now)).saturating_sub(1)
                })
            }
            (Self::Log { short, .. }, Kind::Log { length }) => match short.get(cut) {
                None | Some(0) => 0,
                Some(last) => nanos((last + length).saturating_sub(now)),
            },
            (Self::Cells { level }, _) => drains(rule, *level, taken + cost),
            (Self::Window(_) | Self::Log { .. }, _) => 0,
        }
    }
}

/// Nanoseconds until `units` more than `level` are no more than the burst.
fn drains(rule: &Rule, level: u64, units: u64) -> u64 {
    let (length, level) = level_after(rule, level, units);
    let excess = level.saturating_sub(rule.burst() * length);
    let nanos = (u128::from(excess) * 1000).div_ceil(u128::from(rule.limit()));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// The parts of a unit, and the level with `units` more. Rules are such that neither overflows.
fn level_after(rule: &Rule, level: u64, units: u64) -> (u64, u64) {
    let length = match rule.kind {
        Kind::Cells { length } => length,
        Kind::Window { .. } | Kind::Log { .. } => 1,
    };
    (length, level.saturating_add(units.saturating_mul(length)))
}

const fn nanos(micros: u64) -> u64 {
    micros.saturating_mul(1000)
}

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use resilience_core::rate_limit::{Algorithm, Policy, Quota};

    use super::{super::rules::rules, *};

    const WINDOW: Duration = Duration::from_millis(60);
    const STEP: u64 = 6000;

    #[test]
    fn a_refusal_names_what_has_room_last_be_it_by_a_nanosecond() {
        let log = Quota::new(1, WINDOW).algorithm(Algorithm::SlidingLog);
        let policy = Policy::new("window", Quota::new(1, WINDOW)).and(log.named("log"));
        let rules = rules(&policy.terms().expect("quotas").quotas).expect("a valid policy");
        let now = 101 * STEP;
        // A unit of the step before, whose last instant is over when the step 111 is yet to begin.
        let mut window = Window::default();
        window.learn(101, 0, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let named = |last| {
            let log = Before::Log {
                used: 1,
                oldest: last,
                short: &[last],
                times: &[],
            };
            let before = [Before::Window(window), log];
            refusal(&rules, &before, (1, 0, 0), now)
        };
        for (last, (rule, wait)) in [
            (now - 1, (0, 10 * STEP)),
            (now, (1, 10 * STEP)),
            (now + 1, (1, 10 * STEP + 1)),
        ] {
            let verdict = named(last);
            assert_eq!((verdict.rule, verdict.wait), (rule, micros(wait)), "{last}");
        }
    }
}
