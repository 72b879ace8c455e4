//! The generic cell rate algorithm, without rounding.

use super::quota::Rule;

/// How many units are out, drained at the rule's rate.
///
/// This is the "theoretical arrival time" of ITU-T I.371 less the time now, which is the same as
/// the level of a leaky bucket. It is counted in parts of a unit of which `per` make one and
/// `limit` drain each nanosecond: whole numbers for every limit and every window, so that nothing
/// is ever lost or gained by rounding. Both factors have 64 bits, and their product 128.
#[derive(Debug, Default)]
pub(super) struct Gcra {
    level: u128,
    /// When the level was true.
    since: u64,
}

impl Gcra {
    /// A level of `units` at `now`.
    pub(super) fn with_units(now: u64, units: u64, rule: &Rule) -> Self {
        Self {
            level: parts(units, rule),
            since: now,
        }
    }

    /// Drains what has drained by `now`.
    pub(super) fn drain(&mut self, now: u64, rule: &Rule) {
        let passed = now.saturating_sub(self.since);
        self.level = self.level.saturating_sub(drained(passed, rule));
        self.since = now;
    }

    /// Units that are out, rounded up.
    pub(super) fn units(&self, rule: &Rule) -> u64 {
        saturated(self.level.div_ceil(rule.per.into()))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.level == 0
    }

    /// Units that one call could take.
    pub(super) fn remaining(&self, rule: &Rule) -> u64 {
        let free = parts(rule.most, rule).saturating_sub(self.level);
        saturated(free / u128::from(rule.per))
    }

    /// Whether a call of `units`, at most the burst, has room.
    pub(super) fn fits(&self, units: u64, rule: &Rule) -> bool {
        self.excess(units, rule) == 0
    }

    /// How long until it has: nanoseconds, rounded up.
    pub(super) fn wait(&self, units: u64, rule: &Rule) -> u64 {
        let excess = self.excess(units, rule);
        saturated(excess.div_ceil(rule.limit.into()))
    }

    /// What must drain before a call of `units` has room.
    fn excess(&self, units: u64, rule: &Rule) -> u128 {
        let room = parts(rule.most.saturating_sub(units), rule);
        self.level.saturating_sub(room)
    }

    /// How long until one more unit is back; zero where none is out.
    pub(super) fn next_back(&self, rule: &Rule) -> u64 {
        let more = self.remaining(rule).saturating_add(1);
        if more > rule.most {
            0
        } else {
            self.wait(more, rule)
        }
    }

    /// Counts `units` as used after `wait`, and says when the last of them will have drained.
    pub(super) fn book(&mut self, wait: u64, units: u64, rule: &Rule) -> u64 {
        // Longer than it must: another quota is what the call waits for. The bucket cannot drain
        // meanwhile what is not in it yet.
        if wait > 0 && wait > self.wait(units, rule) {
            self.level = self.level.max(drained(wait, rule));
        }
        self.level = self.level.saturating_add(parts(units, rule));
        let empty_in = saturated(self.level.div_ceil(rule.limit.into()));
        self.since.saturating_add(empty_in)
    }

    /// Takes back what [`book`](Self::book) counted, as far as it has not drained: units leave in
    /// the order in which they came.
    pub(super) fn cancel(&mut self, drained_at: u64, units: u64, rule: &Rule) {
        let left = drained(drained_at.saturating_sub(self.since), rule);
        let level = self.level.saturating_sub(left.min(parts(units, rule)));
        self.level = level;
    }

    /// Takes back `units`.
    pub(super) fn refund(&mut self, units: u64, rule: &Rule) {
        self.level = self.level.saturating_sub(parts(units, rule));
    }

    /// Goes on under another rule, with as many units out as before.
    pub(super) fn follow(&mut self, old: &Rule, new: &Rule) {
        let (old, new) = (u128::from(old.per), u128::from(new.per));
        let rest = (self.level % old * new).div_ceil(old);
        self.level = (self.level / old).saturating_mul(new).saturating_add(rest);
    }
}

fn parts(units: u64, rule: &Rule) -> u128 {
    u128::from(units) * u128::from(rule.per)
}

fn drained(nanos: u64, rule: &Rule) -> u128 {
    u128::from(nanos) * u128::from(rule.limit)
}

fn saturated(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
