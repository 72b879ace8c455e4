//! Units of a key that this process allowed on its own.

use resilience_core::Timestamp;

use super::rules::Rule;

/// When the last of them were allowed, and until when they count. The server knows nothing of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::rate_limit) struct Own {
    last: Timestamp,
    until: Timestamp,
}

impl Own {
    /// Some that are allowed at `now`, of a key of `rules`.
    pub(in crate::rate_limit) fn new(rules: &[Rule], now: Timestamp) -> Self {
        let longest = rules.iter().map(Rule::lasts).max().unwrap_or_default();
        Self {
            last: now,
            until: now.saturating_add(longest),
        }
    }

    /// These and `others`.
    pub(in crate::rate_limit) fn and(self, others: Self) -> Self {
        Self {
            last: self.last.max(others.last),
            until: self.until.max(others.until),
        }
    }

    /// When none of them count any more.
    pub(in crate::rate_limit) const fn until(self) -> Timestamp {
        self.until
    }

    /// Whether some count at `now`.
    pub(in crate::rate_limit) fn counts(self, now: Timestamp) -> bool {
        now < self.until
    }

    /// Whether some count at `now` in the quota of `rule`.
    pub(in crate::rate_limit) fn counts_in(self, rule: &Rule, now: Timestamp) -> bool {
        self.counts(now) && now < self.last.saturating_add(rule.lasts())
    }
}
