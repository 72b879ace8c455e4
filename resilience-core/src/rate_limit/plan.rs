//! The numbers by which the state of a key is read, worked out once for all keys.

use super::{
    keyless::Lending,
    policy::Rules,
    quota::{Algorithm, Rule},
};
use crate::QuotaStatus;

/// How the keys of a limiter are kept.
#[derive(Debug)]
pub(super) struct Plan {
    /// Of a key's only quota, where it has one.
    pub(super) rule: Rule,
    pub(super) form: Form,
    pub(super) lending: Lending,
}

/// What the [`Run`](super::run::Run) of a key counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// Units of one bucket.
    Bucket {
        width: u64,
        /// How long after its beginning a bucket counts no more.
        span: u64,
    },
    /// Units that have joined a line, counted in the largest parts of which all numbers are whole
    /// ones.
    Line {
        /// Parts that drain each nanosecond.
        pace: u64,
        /// Parts of a unit.
        unit: u64,
        /// Parts that the line holds at most.
        room: u64,
        /// Places in a line that begins a nanosecond later.
        places: u64,
    },
    /// Nothing: each key needs a machine.
    Machine,
}

impl Plan {
    pub(super) fn of(rules: &Rules) -> Self {
        let rule = rules.quotas[0];
        let is_alone = rules.quotas.len() == 1 && rules.tiers.is_empty() && rules.global.is_none();
        let (form, lending) = if is_alone {
            (Form::of(&rule).unwrap_or(Form::Machine), Lending::Alone)
        } else {
            (Form::Machine, Lending::BesideAnother)
        };
        Self {
            rule,
            form,
            lending,
        }
    }
}

impl Plan {
    /// Where the quota stands that has so much left.
    #[inline]
    pub(super) const fn status(&self, remaining: u64) -> QuotaStatus {
        QuotaStatus {
            limit: self.rule.limit,
            window: self.rule.window(),
            remaining,
        }
    }
}

impl Form {
    /// `None` where the numbers are too large.
    fn of(rule: &Rule) -> Option<Self> {
        match rule.algorithm {
            Algorithm::SlidingLog | Algorithm::SlidingWindow => {
                let width = rule.bucket();
                let span = (width - 1).checked_add(rule.per)?;
                Some(Self::Bucket { width, span })
            }
            Algorithm::Gcra => {
                let unit = rule.per / rule.grain;
                Some(Self::Line {
                    pace: rule.limit / rule.grain,
                    unit,
                    room: rule.most.checked_mul(unit)?,
                    places: rule.places(1),
                })
            }
        }
    }
}
