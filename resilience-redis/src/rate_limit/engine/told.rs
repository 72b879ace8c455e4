//! What callers are told, by whoever decides.

use std::{sync::Arc, time::Duration};

use resilience_core::{Event, QuotaStatus, Reason, Rejected};

use super::Engine;
use crate::rate_limit::{
    decision::{Decision, Source},
    fallback::Parts,
    line::{Answer, Entry, Spent},
    quota::{Rule, Verdict, since_1970},
};

/// What a caller is told, and what it takes to take it back.
pub(in crate::rate_limit) struct Told {
    pub(in crate::rate_limit) decision: Decision,
    pub(in crate::rate_limit) standing: Option<Standing>,
    pub(in crate::rate_limit) receipt: Option<Receipt>,
    /// What was taken of this process' part, in place of the server's counts or beside them.
    pub(super) parts: Parts,
}

/// What an answer to an admitted call tells beside where its quota stands.
#[derive(Clone, Copy, Debug)]
pub(in crate::rate_limit) struct Standing {
    pub(in crate::rate_limit) name: &'static str,
    /// Until there is more.
    pub(in crate::rate_limit) next_back: Duration,
}

/// Units of a key that were taken from the server's counts.
#[derive(Clone, Copy, Debug)]
pub(in crate::rate_limit) struct Receipt {
    pub(super) units: u64,
    pub(super) taken: u64,
    /// Where they were taken ahead, when that lease ends.
    pub(super) lease: Option<u64>,
}

impl Told {
    /// Whether something was taken of this process' part.
    #[inline]
    pub(in crate::rate_limit) const fn is_of_part(&self) -> bool {
        !self.parts.is_empty()
    }
}

impl From<Decision> for Told {
    fn from(decision: Decision) -> Self {
        Self {
            decision,
            standing: None,
            receipt: None,
            parts: Parts::default(),
        }
    }
}

impl Engine {
    #[inline(always)]
    pub(super) fn answered(&self, entry: &Arc<Entry>, cost: u64, answer: Answer) -> Told {
        let (verdict, taken) = match answer {
            Answer::Decided(verdict, taken) => (verdict, taken),
            Answer::Denied(verdict) => return self.denied(cost, &verdict).into(),
            Answer::Leased(spent) => return self.leased(cost, &spent),
            Answer::Failed(error) => return self.undecided(entry, cost, error),
        };
        let decision = Decision {
            time: Some(since_1970(taken)),
            ..Decision::by(Source::Redis, self.outcome(&verdict))
        };
        if decision.outcome.is_err() {
            return decision.into();
        }
        let receipt = Receipt {
            units: cost,
            taken,
            lease: None,
        };
        // What this process allowed on its own is not in the server's counts: no burst on return.
        let mut parts = Parts::default();
        if cost > 0 && !self.stake.is_calm() {
            match self.fit_beside_own(entry, cost) {
                Ok(taken) => parts = taken,
                Err(rejected) => {
                    self.give_back(entry, receipt);
                    self.tell(&rejected);
                    return Decision::by(Source::Degraded, Err(rejected)).into();
                }
            }
        }
        Told {
            decision,
            standing: Some(self.standing(&verdict)),
            receipt: (cost > 0).then_some(receipt),
            parts,
        }
    }

    /// Counts what a caller is told, unless it only looked.
    #[inline(always)]
    pub(in crate::rate_limit) fn counted(&self, cost: u64, mut told: Told) -> Told {
        let decision = &mut told.decision;
        if decision.outcome.is_ok() && decision.error.is_none() {
            if cost > 0 {
                self.tally.admit(decision.source);
            }
        } else {
            self.count_trouble(cost, decision);
        }
        told
    }

    /// The same of a refusal, or where the server gave no decision.
    #[inline(never)]
    fn count_trouble(&self, cost: u64, decision: &mut Decision) {
        if let Some(error) = &decision.error {
            self.warn(error);
        }
        let source = decision.source;
        match &decision.outcome {
            Ok(_) if cost > 0 => self.tally.admit(source),
            Ok(_) => {}
            Err(rejected) => {
                if cost > 0 {
                    self.tally.refuse(source);
                }
                decision.outcome = self.refuse((cost, source), rejected.clone());
            }
        }
    }

    /// What becomes of a refusal, which is counted as one already: in shadow the call goes on.
    #[inline]
    pub(super) fn refuse(
        &self,
        (cost, source): (u64, Source),
        rejected: Rejected,
    ) -> Result<QuotaStatus, Rejected> {
        if !self.is_shadow() {
            return Err(rejected);
        }
        if cost > 0 {
            self.tally.spare(source);
        }
        let rule = &self.lane.rules()[0];
        let stands = rejected.quota();
        Ok(stands.unwrap_or_else(|| rule.status(rule.limit())))
    }

    /// What a caller hears who has its units out of those that were taken ahead.
    pub(in crate::rate_limit) fn leased(&self, cost: u64, spent: &Spent) -> Told {
        let receipt = Receipt {
            units: cost,
            taken: spent.term.taken,
            lease: Some(spent.term.end),
        };
        Told {
            decision: self.spent(spent),
            standing: Some(self.standing(&spent.verdict)),
            receipt: Some(receipt),
            parts: Parts::default(),
        }
    }

    /// The decision about one who has spent units of a lease.
    #[inline]
    pub(super) fn spent(&self, spent: &Spent) -> Decision {
        Decision {
            outcome: Ok(self.status(&spent.verdict)),
            source: Source::Lease,
            time: Some(since_1970(spent.time)),
            error: None,
        }
    }

    /// The decision about one for whom there is no room in time, or none any more since limits changed.
    fn denied(&self, cost: u64, verdict: &Verdict) -> Decision {
        let rules = self.lane.rules();
        let rejected = match rules.iter().find(|rule| cost > rule.burst()) {
            None => self.rejected(verdict),
            Some(rule) => {
                let rejected = Rejected::new(Reason::CostExceedsQuota, rule.name);
                self.tell(&rejected);
                rejected
            }
        };
        Decision::by(Source::DeniedLocally, Err(rejected))
    }

    /// The refusal of a call that costs more than there ever is.
    #[inline]
    pub(super) fn never_fits(&self, cost: u64) -> Option<Rejected> {
        let rules = self.lane.rules();
        let rule = rules.iter().find(|rule| cost > rule.burst())?;
        Some(self.too_much(rule))
    }

    #[cold]
    fn too_much(&self, rule: &Rule) -> Rejected {
        self.tally.refuse(Source::DeniedLocally);
        let rejected = Rejected::new(Reason::CostExceedsQuota, rule.name);
        self.tell(&rejected);
        rejected
    }

    /// Refuses a request that has no key, but for a shadow policy.
    pub(in crate::rate_limit) fn refuse_missing_key(&self) -> Result<(), Rejected> {
        let rejected = Rejected::new(Reason::MissingKey, self.name);
        self.tell(&rejected);
        self.tally.refuse(Source::DeniedLocally);
        let call = (1, Source::DeniedLocally);
        self.refuse(call, rejected).map(|_| ())
    }

    fn outcome(&self, verdict: &Verdict) -> Result<QuotaStatus, Rejected> {
        if verdict.is_grant() {
            Ok(self.status(verdict))
        } else {
            Err(self.rejected(verdict))
        }
    }

    /// The refusal of a call that has to wait.
    #[inline]
    pub(super) fn rejected(&self, verdict: &Verdict) -> Rejected {
        let rule = &self.lane.rules()[verdict.rule];
        let rejected = Rejected::new(Reason::RateLimited, rule.name)
            .with_retry_after(verdict.wait)
            .with_quota(rule.status(verdict.remaining));
        self.tell(&rejected);
        rejected
    }

    #[inline]
    pub(super) fn tell(&self, rejected: &Rejected) {
        if self.is_shadow() {
            self.tell_shadow(rejected.clone());
        } else {
            self.lane.environment().tell_refusal(rejected);
        }
    }

    #[cold]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "by reference, each refusal would be written down to point at"
    )]
    fn tell_shadow(&self, rejected: Rejected) {
        let event = Event::WouldReject(&rejected);
        self.lane.environment().emit(&event);
    }

    #[inline]
    fn status(&self, verdict: &Verdict) -> QuotaStatus {
        self.lane.rules()[verdict.rule].status(verdict.remaining)
    }

    fn standing(&self, verdict: &Verdict) -> Standing {
        let rule = &self.lane.rules()[verdict.rule];
        Standing {
            name: rule.name,
            next_back: verdict.next_back,
        }
    }
}
