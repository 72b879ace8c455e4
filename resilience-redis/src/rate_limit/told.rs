//! What callers are told, by whoever decides.

use std::sync::Arc;

use resilience_core::{Event, QuotaStatus, Reason, Rejected};

use super::{
    ask::{Receipt, Standing, Told},
    decision::{Decision, Source},
    fallback::Fallback,
    grant::Verdict,
    lease::Spent,
    own::Own,
    places::Answer,
    server_clock::since_1970,
    shared::Shared,
    table::Entry,
};
use crate::StoreError;

impl Shared {
    pub(super) fn answered(&self, entry: &Arc<Entry>, cost: u64, answer: Answer) -> Told {
        let (verdict, taken) = match answer {
            Answer::Decided(verdict, taken) => (verdict, taken),
            Answer::Leased(spent) => return self.leased(Arc::clone(entry), cost, spent),
            Answer::Failed(error) => return self.undecided(entry, cost, error).into(),
        };
        let decision = self.decision(&verdict, Source::Redis, Some(taken));
        if decision.outcome.is_err() {
            return decision.into();
        }
        let receipt = Receipt {
            entry: Arc::clone(entry),
            units: cost,
            taken,
            lease: None,
        };
        // What this process allowed on its own is not in the server's counts: no burst on return.
        if cost > 0
            && !self.share.is_calm()
            && let Err(rejected) = self.fit_beside_own(entry, cost)
        {
            self.give_back(&receipt);
            return self.refused(rejected, Source::Degraded).into();
        }
        Told {
            decision,
            standing: Some(self.standing(&verdict)),
            receipt: (cost > 0).then_some(receipt),
        }
    }

    /// Counts what a caller is told, unless it only looked.
    #[inline]
    pub(super) fn counted(&self, cost: u64, told: Told) -> Told {
        if let Some(error) = &told.decision.error {
            self.warn(error);
        }
        if cost > 0 {
            self.tally.count(&told.decision);
        }
        told
    }

    /// What a caller hears who has its units out of those that were taken ahead.
    #[inline]
    pub(super) fn leased(&self, entry: Arc<Entry>, cost: u64, spent: Spent) -> Told {
        let Spent {
            verdict,
            term,
            time,
        } = spent;
        let receipt = Receipt {
            entry,
            units: cost,
            taken: term.taken,
            lease: Some(term.end),
        };
        Told {
            decision: self.decision(&verdict, Source::Lease, Some(time)),
            standing: Some(self.standing(&verdict)),
            receipt: Some(receipt),
        }
    }

    /// The decision of this process, where the server gives none.
    fn undecided(&self, entry: &Entry, cost: u64, error: StoreError) -> Decision {
        // What the server refused before holds, as if nobody had asked once more.
        let denied = entry.line().denied(cost, self.lane.now());
        if let Some(verdict) = denied {
            let decision = self.decision(&verdict, Source::DeniedLocally, None);
            let error = Some(error);
            return Decision { error, ..decision };
        }
        let rule = &self.lane.rules()[0];
        let outcome = match self.fallback {
            Fallback::Allow => Ok(rule.status(rule.limit())),
            Fallback::Deny => Err(Rejected::new(Reason::StoreUnavailable, self.name)),
            Fallback::LocalShare => self.take_part(entry, cost),
        };
        if let Err(rejected) = &outcome {
            self.lane.environment().emit(&Event::Rejected(rejected));
        }
        Decision {
            outcome,
            source: Source::Degraded,
            time: None,
            error: Some(error),
        }
    }

    /// Takes from this process' part of the quotas.
    fn take_part(&self, entry: &Entry, cost: u64) -> Result<QuotaStatus, Rejected> {
        let (rules, now) = (self.lane.rules(), self.lane.now());
        let known = entry.line().last_word(rules, now);
        self.share.seed(entry.name(), known.into_iter().flatten());
        let status = self.share.take(entry.name(), cost, |_| true)?;
        if cost > 0 {
            let own = Own::new(rules, now);
            entry.line().allowed(own);
            self.share.allowed(own.until());
        }
        Ok(status.unwrap_or_else(|| rules[0].status(0)))
    }

    /// Takes what the server granted from the part of each quota of which this process has allowed
    /// units on its own that count still.
    fn fit_beside_own(&self, entry: &Entry, cost: u64) -> Result<(), Rejected> {
        let (rules, now) = (self.lane.rules(), self.lane.now());
        let own = entry.line().own();
        if !own.counts(now) {
            return Ok(());
        }
        let counts = |index: usize| own.counts_in(&rules[index], now);
        self.share.take(entry.name(), cost, counts).map(|_| ())
    }

    pub(super) fn never_fits(&self, cost: u64) -> Option<Decision> {
        let rules = self.lane.rules();
        let rule = rules.iter().find(|rule| cost > rule.burst())?;
        let rejected = Rejected::new(Reason::CostExceedsQuota, rule.name);
        Some(self.refused(rejected, Source::DeniedLocally))
    }

    fn refused(&self, rejected: Rejected, source: Source) -> Decision {
        self.lane.environment().emit(&Event::Rejected(&rejected));
        Decision {
            outcome: Err(rejected),
            source,
            time: None,
            error: None,
        }
    }

    pub(super) fn refuse(&self, reason: Reason) -> Rejected {
        let rejected = Rejected::new(reason, self.name);
        self.lane.environment().emit(&Event::Rejected(&rejected));
        rejected
    }

    #[inline]
    pub(super) fn decision(
        &self,
        verdict: &Verdict,
        source: Source,
        micros: Option<u64>,
    ) -> Decision {
        let rule = &self.lane.rules()[verdict.rule];
        let status = rule.status(verdict.remaining);
        let outcome = if verdict.is_grant() {
            Ok(status)
        } else {
            let rejected = Rejected::new(Reason::RateLimited, rule.name);
            let rejected = rejected.with_retry_after(verdict.wait).with_quota(status);
            self.lane.environment().emit(&Event::Rejected(&rejected));
            Err(rejected)
        };
        Decision {
            outcome,
            source,
            time: micros.map(since_1970),
            error: None,
        }
    }

    fn standing(&self, verdict: &Verdict) -> Standing {
        let rule = &self.lane.rules()[verdict.rule];
        Standing {
            name: rule.name,
            next_back: verdict.next_back,
        }
    }
}
