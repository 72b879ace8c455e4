//! What most keys hold: an instant and a number.

use super::plan::{Form, Plan};
use crate::keyed::Retention;

/// Units that count from one instant on: where their bucket begins, or their line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) since: u64,
    pub(super) units: u64,
}

/// What a key says without a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The units are taken.
    Taken {
        /// Where they are counted, for who gives them back.
        mark: u64,
        remaining: u64,
    },
    /// They would be free after so many nanoseconds.
    Refused { wait: u64, remaining: u64 },
    /// A machine must decide.
    Unknown,
}

impl Run {
    pub(super) const NOTHING: Self = Self { since: 0, units: 0 };

    /// What it is after a call that asks for `units`, and what the call is told. `None` where a
    /// machine must decide.
    #[inline(always)]
    pub(super) fn take(self, plan: &Plan, now: u64, units: u64) -> Option<(Self, Answer)> {
        // What is more than there ever is never fits, and has no wait.
        let units = Some(units).filter(|&units| units <= plan.rule.most)?;
        match plan.form {
            Form::Bucket { width, span } => self.fill(plan.rule.limit, width, span, now, units),
            Form::Line {
                pace,
                unit,
                room,
                places,
            } => {
                let level = self.level(pace, unit, now)?;
                let asked = level.checked_add(unit.checked_mul(units)?)?;
                if asked > room {
                    let answer = Answer::Refused {
                        wait: (asked - room).div_ceil(pace),
                        remaining: room.saturating_sub(level) / unit,
                    };
                    return Some((self, answer));
                }
                let run = if level == 0 {
                    Self { since: now, units }
                } else {
                    let units = self.units.checked_add(units)?;
                    units.checked_mul(unit)?;
                    Self { units, ..self }
                };
                let first = run.since.saturating_mul(places);
                let answer = Answer::Taken {
                    mark: first.saturating_add(run.units),
                    remaining: (room - asked) / unit,
                };
                Some((run, answer))
            }
            Form::Machine => None,
        }
    }

    #[inline(always)]
    fn fill(
        self,
        limit: u64,
        width: u64,
        span: u64,
        now: u64,
        units: u64,
    ) -> Option<(Self, Answer)> {
        let over = self.since.checked_add(span)?;
        let run = if self.units == 0 || over <= now {
            let since = now - now % width;
            Self { since, units }
        } else {
            let units = self.units.checked_add(units)?;
            Self { units, ..self }
        };
        match limit.checked_sub(run.units) {
            // In one bucket: units of two need a machine.
            Some(remaining) if now - run.since < width => Some((
                run,
                Answer::Taken {
                    mark: now,
                    remaining,
                },
            )),
            Some(_) => None,
            None => {
                let answer = Answer::Refused {
                    wait: over - now,
                    remaining: limit.saturating_sub(self.units),
                };
                Some((self, answer))
            }
        }
    }

    /// Parts that are left of a line.
    #[inline(always)]
    fn level(self, pace: u64, unit: u64, now: u64) -> Option<u64> {
        let joined = self.units.checked_mul(unit)?;
        let drained = (now - self.since).saturating_mul(pace);
        Some(joined.saturating_sub(drained))
    }

    pub(super) fn retention(self, plan: &Plan, now: u64) -> Retention {
        let rule = &plan.rule;
        let left = match plan.form {
            Form::Bucket { span, .. } if self.since.saturating_add(span) > now => {
                rule.limit.saturating_sub(self.units)
            }
            Form::Line {
                pace, unit, room, ..
            } => {
                let level = self.level(pace, unit, now).unwrap_or(0);
                room.saturating_sub(level) / unit
            }
            Form::Bucket { .. } | Form::Machine => rule.most,
        };
        match left {
            0 => Retention::Pinned,
            left if left == rule.most => Retention::Idle,
            left => Retention::Used(rule.share_of(rule.most - left)),
        }
    }
}
