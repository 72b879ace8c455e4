//! What the server said last of a key, for when it says nothing.

use resilience_core::Timestamp;

use super::{
    grant::Before,
    rules::{Kind, Rule},
    server_clock::ServerClock,
    window::Window,
};

/// When the server was last heard, and what then stood in those quotas that are no windows.
#[derive(Debug)]
pub(in crate::rate_limit) struct LastWord {
    clock: ServerClock,
    /// Of each quota: units of a log, the level of cells. Empty where all quotas are windows.
    levels: Box<[u64]>,
    /// Whether somebody was told.
    is_told: bool,
}

impl LastWord {
    pub(in crate::rate_limit) fn new(rules: &[Rule]) -> Self {
        let is_window = |rule: &Rule| matches!(rule.kind, Kind::Window { .. });
        let levels = match rules.iter().all(is_window) {
            true => Box::default(),
            false => rules.iter().map(|_| 0).collect(),
        };
        Self {
            clock: ServerClock::default(),
            levels,
            is_told: false,
        }
    }

    /// The server said at `now`, when asked at `sent`, what stood `before` somebody took `taken`.
    pub(in crate::rate_limit) fn hear(
        &mut self,
        rules: &[Rule],
        (before, taken): (&[Before<'_>], u64),
        (sent, now): (Timestamp, u64),
    ) {
        self.clock.hear(sent, now);
        self.is_told = false;
        for ((level, before), rule) in self.levels.iter_mut().zip(before).zip(rules) {
            *level = match (before, rule.kind) {
                (Before::Log { used, .. }, _) => used.saturating_add(taken),
                (Before::Cells { level }, Kind::Cells { length }) => {
                    level.saturating_add(taken.saturating_mul(length))
                }
                (Before::Window(_) | Before::Cells { .. }, _) => 0,
            };
        }
    }

    /// What it said is so no more.
    pub(in crate::rate_limit) const fn forget(&mut self) {
        self.is_told = true;
    }

    /// How many units of each quota count at `now` at the most, by what was heard, the first time
    /// that this is asked since. What `windows` there are, one for each rule, stands in them.
    pub(in crate::rate_limit) fn tell(
        &mut self,
        rules: &[Rule],
        windows: &[Window],
        now: Timestamp,
    ) -> Option<Vec<u64>> {
        if std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        let (then, now) = (self.clock.last(), self.clock.at(now));
        let level = |index: usize| self.levels.get(index).copied().unwrap_or_default();
        let used = |(index, (rule, window)): (usize, (&Rule, &Window))| match rule.kind {
            Kind::Window { .. } => window.used_at(rule.step(now)),
            // The times of all but the oldest are known to the server alone.
            Kind::Log { length } if now - then >= length => 0,
            Kind::Log { .. } => level(index),
            Kind::Cells { length } => {
                let drained = (now - then).saturating_mul(rule.limit());
                level(index).saturating_sub(drained).div_ceil(length)
            }
        };
        Some(rules.iter().zip(windows).enumerate().map(used).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use resilience_core::rate_limit::{Algorithm, Policy, Quota};

    use super::{super::rules::rules, *};

    #[test]
    fn what_was_used_long_ago_counts_no_more() {
        let quota = |seconds| Quota::new(10, Duration::from_secs(seconds));
        let policy = Policy::new("window", quota(10))
            .and(quota(20).algorithm(Algorithm::SlidingLog).named("log"))
            .and(quota(40).algorithm(Algorithm::Gcra).named("cells"));
        let rules = rules(&policy.terms().expect("quotas").quotas).expect("a valid policy");
        let second = 1_000_000;
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        let mut window = Window::default();
        window.learn(100, 4, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        let mut windows = [Window::default(); 3];
        windows[0] = window;
        let mut word = LastWord::new(&rules);
        assert_eq!(word.tell(&rules, &windows, at(1)), Some(vec![9, 0, 0]));
        let before = [
            Before::Window(window),
            Before::Log {
                used: 5,
                oldest: 99 * second,
                short: &[],
                times: &[],
            },
            Before::Cells {
                level: 5 * 40 * second,
            },
        ];
        for (passed, used) in [
            (0, [9, 7, 7]),
            (1, [7, 7, 7]),
            (9, [7, 7, 5]),
            (10, [4, 7, 5]),
            (11, [0, 7, 5]),
            (19, [0, 7, 3]),
            (20, [0, 0, 2]),
            (30, [0, 0, 0]),
        ] {
            word.hear(&rules, (&before, 2), (at(50), 100 * second));
            let told = word.tell(&rules, &windows, at(50 + passed));
            assert_eq!(told, Some(used.to_vec()), "after {passed} s");
            assert_eq!(word.tell(&rules, &windows, at(50)), None);
        }
    }
}
