//! Units that a line takes ahead of its callers.

use resilience_core::Timestamp;

use super::{
    Line,
    front::Loan,
    lease::{Lease, Term, Unused},
    places::Answer,
    question::{Aftermath, Ahead, Leasing},
};
use crate::rate_limit::quota::{Before, Rule, Run, room, tightest};

impl Line {
    /// What to ask for beyond what `callers` want, who come first.
    pub(super) fn ask_ahead(
        &mut self,
        rules: &[Rule],
        callers: &[Run],
        leasing: Leasing,
    ) -> Option<Run> {
        let wanted = callers.iter().fold(0_u64, |sum, run| {
            sum.saturating_add(run.cost.saturating_mul(run.callers))
        });
        let quotas = self.windows.iter().zip(rules);
        // Where little is left it is for whoever comes first, in whatever process.
        let most = quotas.map(|(window, rule)| {
            let part = u128::from(rule.limit()) * u128::from(leasing.percent) / 100;
            let part = u64::try_from(part).unwrap_or(u64::MAX);
            let used = window.used().saturating_add(wanted);
            part.min(rule.limit().saturating_sub(used) / 2)
        });
        let most = most.min().unwrap_or(0) / leasing.nodes;
        let step = rules.iter().filter_map(Rule::step_length).min()?;
        let callers = self.lease.as_mut()?.ask(wanted, most, step, leasing.now);
        (callers > 0).then_some(Run {
            cost: 1,
            callers,
            holds_up: false,
        })
    }

    /// What was granted beyond what callers wanted, who `took` of what stood `before`.
    pub(super) fn hear_ahead(
        &mut self,
        rules: &[Rule],
        (before, took): (&[Before<'_>], u64),
        (sent, heard, now): (Timestamp, Timestamp, u64),
        ahead: &mut Ahead,
    ) -> u64 {
        let asked = |lease: &&mut Box<Lease>| lease.asked() > 0;
        let Some(lease) = self.lease.as_mut().filter(asked) else {
            return 0;
        };
        let granted = lease.asked().min(room(rules, before, took));
        let term = Term {
            taken: now,
            sent,
            end: rules.iter().map(|rule| rule.end(now)).min().unwrap_or(0),
        };
        let verdict = tightest(rules, before, took + granted, now);
        let unused = lease.hold(granted, term, verdict, heard);
        ahead.unused.extend(unused);
        ahead.granted += granted;
        ahead.begun = lease.is_held() && lease.watch(true);
        granted
    }

    /// Those who came meanwhile get what was taken ahead, as far as it goes.
    pub(super) fn serve_ahead(&mut self, now: Timestamp, aftermath: &mut Aftermath) {
        let Some(lease) = &mut self.lease else { return };
        let mut served = 0;
        for &index in &self.callers {
            if let Some((cost, _)) = self.places.wanted(index) {
                let Some(spent) = lease.spend(cost, now) else {
                    break;
                };
                self.places.answer(index, Answer::Leased(spent), aftermath);
            }
            served += 1;
        }
        self.callers.drain(..served);
    }

    /// Lends what those who come can decide by themselves for as long as nobody comes to the line.
    pub(super) fn lend(&mut self) -> Option<Loan> {
        // Nobody overtakes those in line, or hears of a time that is theirs.
        if self.waiters.is_some() {
            return None;
        }
        let lease = self.lease.as_mut().filter(|_| !self.scheduled);
        let units = lease.and_then(|lease| lease.lend()).map(Loan::Units);
        units.or_else(|| self.denial.lend().map(Loan::Refusal))
    }

    /// Takes back what was lent, of which so many units were not used.
    pub(super) fn take_back(&mut self, units: u64) {
        if let Some(lease) = &mut self.lease {
            lease.take_back(units);
        }
    }

    /// Takes back what was spent of the lease until `end`, and says whether that is still there.
    pub(in crate::rate_limit) fn put_back(&mut self, units: u64, end: u64) -> bool {
        let lease = self.lease.as_mut();
        lease.is_some_and(|lease| lease.put_back(units, end))
    }

    /// Gives units taken ahead that nobody can use any more, and says whether there are others to
    /// look after.
    pub(in crate::rate_limit) fn expire(&mut self, now: Timestamp) -> (Option<Unused>, bool) {
        let Some(lease) = &mut self.lease else {
            return (None, false);
        };
        let unused = lease.expire(now);
        let goes_on = lease.is_held();
        lease.watch(goes_on);
        (unused, goes_on)
    }

    /// Gives all units that were taken ahead.
    pub(in crate::rate_limit) fn surrender(&mut self) -> Option<Unused> {
        self.lease.as_mut()?.surrender()
    }
}
