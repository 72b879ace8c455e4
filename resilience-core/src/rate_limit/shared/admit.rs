//! The one door: decides, counts and reports.

use std::{borrow::Borrow, hash::Hash, time::Duration};

use super::{Shared, Whose, whose::has_keys};
use crate::{
    Event, QuotaStatus, Reason, Rejected, Timestamp,
    clock::Reading,
    rate_limit::{
        booking::{Booking, Passed},
        front::{ClockSeen, Pass},
        keyless::Lending,
        keys::Verdict,
        policy::MissingKey,
        state::{self, Cells, Refusal},
        tally::Decision,
    },
};

/// A call that may go on.
#[derive(Debug)]
pub(in crate::rate_limit) struct Admission {
    /// `None` where a shadow policy took nothing.
    pub(in crate::rate_limit) booking: Option<Booking>,
    /// How long until it may use what it booked.
    pub(in crate::rate_limit) wait: Duration,
    /// Where the tightest quota stands.
    pub(in crate::rate_limit) status: QuotaStatus,
}

/// What becomes of a call that does not go on at once without further ado.
pub(in crate::rate_limit) type Decided = Result<Admission, Rejected>;

/// What becomes of any call: to go on at once stands apart, since what is decided out of line is
/// written to memory, and read from there by whoever cannot tell.
pub(in crate::rate_limit) type Asked = Result<Passed, Decided>;

impl From<Passed> for Admission {
    fn from(passed: Passed) -> Self {
        Self {
            booking: Some(passed.booking),
            wait: Duration::ZERO,
            status: passed.status,
        }
    }
}

impl<K: Hash + Eq + Clone + Send + 'static> Shared<K> {
    /// Takes `units`, where there is room for them after a wait of at most `max_wait`. The clock is
    /// [read](Self::read) when that costs the least.
    #[inline(always)]
    pub(in crate::rate_limit) fn admit<Q>(
        &self,
        whose: Whose<&Q>,
        read: impl FnOnce() -> Reading,
        units: u64,
        max_wait: impl FnOnce() -> Duration,
    ) -> Asked
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match whose {
            Whose::Key(key) if has_keys::<K>() && self.asks_keys_alone() => {
                let now = read().time();
                let taken = self.keys.take(key, now, units, max_wait);
                taken.map_err(|verdict| self.conclude(verdict))
            }
            Whose::Key(_) | Whose::Nobody | Whose::Exempt => {
                let reading = if whose.is_keyless::<K>() {
                    match self.keyless.take(units, read) {
                        Ok(pass) => {
                            self.hear_of(&pass);
                            return Ok(pass.passed);
                        }
                        Err(reading) => reading,
                    }
                } else {
                    read()
                };
                Err(self.decide(whose, reading, units, max_wait()))
            }
        }
    }

    /// Whether a key's one quota is all that its calls meet.
    #[inline]
    fn asks_keys_alone(&self) -> bool {
        self.tier_of.is_none() && self.keys.lending() == Lending::Alone
    }

    /// Makes up for what the words alone would tell wrongly of a call.
    #[inline]
    fn hear_of(&self, pass: &Pass) {
        if pass.heard_as != 1 {
            self.tally.count_as(Decision::Allowed, pass.heard_as);
        }
        if let ClockSeen::FallenBack(now) = pass.clock {
            self.keyless.with(|cell| cell.move_to(now));
        }
    }

    /// Decides where the words do not admit at once.
    #[inline(never)]
    fn decide<Q>(
        &self,
        whose: Whose<&Q>,
        reading: Reading,
        units: u64,
        max_wait: Duration,
    ) -> Decided
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if units == 1
            && whose.is_keyless::<K>()
            && let Some(refused) = self.keyless.refuse(reading)
            && refused.wait > max_wait
        {
            let refusal = Refusal::Wait(refused.wait);
            return self.refuse_for(refusal, self.keyless.name(), refused.status);
        }
        self.ask_machine(whose, reading.time(), units, max_wait)
    }

    #[inline(never)]
    fn ask_machine<Q>(
        &self,
        whose: Whose<&Q>,
        now: Timestamp,
        units: u64,
        max_wait: Duration,
    ) -> Decided
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let take = |cells: Cells<'_>| state::take(cells, now, units, max_wait);
        let verdict = Verdict::of(self.visit(whose, now, take));
        if let Verdict::Passed(..) = verdict {
            self.tally.count(Decision::Allowed);
        }
        self.conclude(verdict)
    }

    /// Counts and reports what was decided, but for calls that passed at once.
    #[inline(never)]
    fn conclude(&self, verdict: Verdict) -> Decided {
        match verdict {
            Verdict::Passed(passed) => Ok(passed.into()),
            Verdict::Booked(passed, wait) => {
                self.tally.count(Decision::Waited);
                let admission = Admission::from(passed);
                Ok(Admission { wait, ..admission })
            }
            Verdict::Refused(refusal, name, status) => self.refuse_for(refusal, name, status),
        }
    }

    /// Refuses what `quota` has no room for, but for a shadow policy.
    #[inline(always)]
    fn refuse_for(&self, refusal: Refusal, quota: &'static str, status: QuotaStatus) -> Decided {
        let rejected = match refusal {
            Refusal::Wait(wait) => Rejected::new(Reason::RateLimited, quota).with_retry_after(wait),
            Refusal::NeverFits => Rejected::new(Reason::CostExceedsQuota, quota),
        };
        self.refuse(rejected.with_quota(status))?;
        Ok(Admission {
            booking: None,
            wait: Duration::ZERO,
            status,
        })
    }

    /// Whose quotas a request without a key meets: `None` where it meets none.
    pub(in crate::rate_limit) fn without_key(&self) -> Result<Option<Whose<K>>, Rejected> {
        match self.missing_key {
            MissingKey::Shared => return Ok(Some(Whose::Nobody)),
            MissingKey::Admit if self.global.is_some() => return Ok(Some(Whose::Exempt)),
            MissingKey::Admit => self.tally.count(Decision::Allowed),
            MissingKey::Refuse => self.refuse(Rejected::new(Reason::MissingKey, self.name))?,
        }
        Ok(None)
    }

    /// Refuses, but for a shadow policy, which only says that it would.
    #[inline(always)]
    fn refuse(&self, rejected: Rejected) -> Result<(), Rejected> {
        if self.is_shadow() {
            self.tally.count(Decision::WouldDeny);
            self.tell_of(&Event::WouldReject(&rejected.clone()));
            return Ok(());
        }
        self.tally.count(Decision::Denied);
        if self.environment.hears_refusals() {
            // A copy, since what is pointed at cannot stay in registers.
            self.tell_of(&Event::Rejected(&rejected.clone()));
        }
        Err(rejected)
    }

    #[cold]
    fn tell_of(&self, event: &Event<'_>) {
        self.environment.emit(event);
    }
}
