//! What callers are told where the server gives no decision, or gave none a while ago.

use resilience_core::{QuotaStatus, Reason, Rejected};

use super::{Engine, told::Told};
use crate::{
    StoreError,
    rate_limit::{
        decision::{Decision, Source},
        fallback::{Fallback, Parts},
        line::Entry,
        quota::Own,
    },
};

impl Engine {
    /// The decision of this process, where the server gives none.
    pub(super) fn undecided(&self, entry: &Entry, cost: u64, error: StoreError) -> Told {
        // What the server refused before holds, as if nobody had asked once more.
        let denied = entry.line().denied(cost, self.lane.now());
        if let Some(verdict) = denied {
            let rejected = Err(self.rejected(&verdict));
            let error = Some(error);
            let decision = Decision::by(Source::DeniedLocally, rejected);
            return Decision { error, ..decision }.into();
        }
        let rule = &self.lane.rules()[0];
        let mut parts = Parts::default();
        let outcome = match self.fallback {
            Fallback::Allow => Ok(rule.status(rule.limit())),
            Fallback::Deny => Err(Rejected::new(Reason::StoreUnavailable, self.name)),
            Fallback::LocalShare => self.take_part(entry, cost).map(|(status, taken)| {
                parts = taken;
                status
            }),
        };
        if let Err(rejected) = &outcome {
            self.tell(rejected);
        }
        let error = Some(error);
        let decision = Decision::by(Source::Degraded, outcome);
        Told {
            parts,
            ..Told::from(Decision { error, ..decision })
        }
    }

    /// Takes from this process' part of the quotas.
    fn take_part(&self, entry: &Entry, cost: u64) -> Result<(QuotaStatus, Parts), Rejected> {
        let (rules, now) = (self.lane.rules(), self.lane.now());
        let known = entry.line().last_word(rules, now);
        self.stake.seed(entry.name(), known.into_iter().flatten());
        let (status, taken) = self.stake.take(entry.name(), cost, |_| true)?;
        if cost > 0 {
            let own = Own::new(rules, now);
            entry.line().allowed(own);
            self.stake.allowed(own.until());
        }
        Ok((status.unwrap_or_else(|| rules[0].status(0)), taken))
    }

    /// Takes what the server granted from the part of each quota of which this process has allowed
    /// units on its own that count still.
    pub(super) fn fit_beside_own(&self, entry: &Entry, cost: u64) -> Result<Parts, Rejected> {
        let (rules, now) = (self.lane.rules(), self.lane.now());
        let own = entry.line().own();
        // In whichever tier a key was allowed some, they are known to the part alone.
        let may_have_moved = self.stake.may_have_moved(now);
        if !own.counts(now) && !may_have_moved {
            return Ok(Parts::default());
        }
        let counts = |index: usize| {
            let is_used = || self.stake.is_used(entry.name(), index);
            own.counts_in(&rules[index], now) || may_have_moved && is_used()
        };
        let taken = self.stake.take(entry.name(), cost, counts);
        taken.map(|(_, parts)| parts)
    }

    /// Tells the operator that this process decides alone, or nobody: not with every call.
    pub(super) fn warn(&self, error: &StoreError) {
        if self.stake.warns(self.lane.now()) {
            let (policy, fallback) = (self.name, self.fallback);
            tracing::warn!(policy, ?fallback, reason = %error, "redis gives no decision");
        }
    }
}
