//! Refusals that need no question.
//!
//! What the server refused has room when it named, but may have it sooner: other processes give
//! units back, or forget the key, and say so to the server alone. So one caller after the other is
//! sent to ask all the same, with a pause in between, while all others are refused here who want as
//! much or more. Who wants less asks: there may be room for that.

use std::time::Duration;

use resilience_core::Timestamp;

use crate::rate_limit::quota::Verdict;

/// What the server refused last, as long as that holds. Nearly all keys are never refused.
#[derive(Debug, Default)]
pub(super) struct Denial(Option<Box<Denied>>);

/// A refusal that holds until a time that the server named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Denied {
    /// The smallest cost that was refused.
    cost: u64,
    since: Timestamp,
    until: Timestamp,
    /// When the next caller asks, and how long after him the next.
    asks: Timestamp,
    pause: Duration,
    verdict: Verdict,
}

impl Denial {
    /// What a caller hears who wants `cost`; `None` where that is for the server to say, and for
    /// who is to ask all the same.
    pub(super) fn verdict(&mut self, cost: u64, now: Timestamp) -> Option<Verdict> {
        let verdict = self.known(cost, now)?;
        let denied = self.0.as_mut()?;
        if denied.asks(now) {
            denied.asks = now.saturating_add(denied.pause);
            return None;
        }
        Some(verdict)
    }

    /// What is known of a call that wants `cost`.
    pub(super) fn known(&mut self, cost: u64, now: Timestamp) -> Option<Verdict> {
        let denied = self.0.as_deref()?;
        if !denied.holds(now) {
            self.0 = None;
            return None;
        }
        denied.verdict(cost, now)
    }

    /// The server refused `cost` when it was asked at `sent`; after each `pause` one asks again.
    pub(super) fn note(&mut self, cost: u64, verdict: Verdict, sent: Timestamp, pause: Duration) {
        // A larger call that was sent to ask may hear that a smaller one has room by now.
        let is_news = |denied: &Denied| cost <= denied.cost || denied.cost <= verdict.remaining;
        if cost > 0 && self.0.as_deref().is_none_or(is_news) {
            // The server read its clock after `sent`: its time comes no later than this.
            let until = sent.saturating_add(verdict.wait);
            self.0 = Some(Box::new(Denied {
                cost,
                since: sent,
                until,
                asks: sent.saturating_add(pause),
                pause,
                verdict,
            }));
        }
    }

    /// The server granted `cost`: there is room again for who was refused no more than that.
    pub(super) fn granted(&mut self, cost: u64) {
        self.0.take_if(|denied| denied.cost <= cost);
    }

    /// Somebody took units: who was refused for more than was left has to wait longer.
    pub(super) fn took(&mut self) {
        self.0.take_if(|denied| denied.cost > 1);
    }

    /// What callers may be told by others for as long as this stays as it is.
    pub(super) fn lend(&self) -> Option<Denied> {
        self.0.as_deref().copied()
    }

    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Whether somebody is held back by `now`.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        let denied = self.0.as_deref();
        denied.is_some_and(|denied| now < denied.until)
    }
}

impl Denied {
    /// What a caller hears who wants `cost`, where nobody is to ask all the same.
    #[inline]
    pub(super) fn verdict_unasked(&self, cost: u64, now: Timestamp) -> Option<Verdict> {
        let stands = self.holds(now) && !self.asks(now);
        self.verdict(cost, now).filter(|_| stands)
    }

    /// Whether it holds for longer than `until`.
    #[inline]
    pub(super) fn is_after(&self, until: Timestamp) -> bool {
        self.until > until
    }

    #[inline]
    fn verdict(&self, cost: u64, now: Timestamp) -> Option<Verdict> {
        // Where there is no room for this one there is none for a larger one, which may have to wait
        // for longer; how long is not worth a question each time.
        (cost >= self.cost).then(|| Verdict {
            wait: self.until.saturating_since(now),
            ..self.verdict
        })
    }

    #[inline]
    fn holds(&self, now: Timestamp) -> bool {
        // A clock that was set back would prolong it.
        self.since <= now && now < self.until
    }

    #[inline]
    fn asks(&self, now: Timestamp) -> bool {
        now >= self.asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn refused(cost: u64) -> Denial {
        let mut denial = Denial::default();
        denial.note(cost, refusal(), at(1000), PAUSE);
        denial
    }

    fn refusal() -> Verdict {
        Verdict {
            wait: Duration::from_secs(1),
            rule: 0,
            remaining: 0,
            next_back: Duration::from_secs(1),
        }
    }

    #[test]
    fn one_asks_after_each_pause_and_all_others_are_refused_at_once() {
        let mut denial = refused(1);
        let mut asked = Vec::new();
        for millis in 1000..2000 {
            match denial.verdict(1, at(millis)) {
                Some(verdict) => {
                    assert_eq!(verdict.wait, Duration::from_millis(2000 - millis));
                }
                None => asked.push(millis),
            }
            assert!(denial.known(1, at(millis)).is_some());
        }
        assert_eq!(
            asked,
            [1100, 1200, 1300, 1400, 1500, 1600, 1700, 1800, 1900]
        );
        assert_eq!(denial.verdict(1, at(2000)), None);
        assert!(!denial.holds(at(2000)));
    }

    #[test]
    fn who_asked_and_was_refused_prolongs_it_and_who_was_granted_ends_it() {
        let mut denial = refused(1);
        assert_eq!(denial.verdict(1, at(1100)), None);
        denial.note(1, refusal(), at(1100), PAUSE);
        assert!(denial.verdict(1, at(1199)).is_some());
        assert_eq!(denial.verdict(1, at(1200)), None);
        denial.granted(1);
        assert_eq!(denial.known(1, at(1201)), None);
        // There was room for less.
        let mut denial = refused(3);
        denial.granted(2);
        assert!(denial.known(3, at(1001)).is_some());
    }

    #[test]
    fn who_wants_more_than_was_refused_is_refused_and_who_wants_less_asks() {
        let mut denial = refused(2);
        for cost in [2, 3, u64::MAX] {
            let verdict = denial.verdict(cost, at(1050)).expect("no room");
            assert_eq!(verdict.wait, Duration::from_millis(950), "{cost}");
        }
        assert_eq!(denial.verdict(1, at(1050)), None);
        // All of them take turns to ask all the same.
        assert_eq!(denial.verdict(3, at(1100)), None);
        assert!(denial.verdict(2, at(1100)).is_some());
    }

    #[test]
    fn who_asks_for_more_in_vain_hears_whether_there_is_room_for_less() {
        let left = |remaining| Verdict {
            wait: Duration::from_secs(5),
            remaining,
            ..refusal()
        };
        let mut denial = refused(2);
        assert_eq!(denial.verdict(3, at(1100)), None);
        denial.note(3, left(1), at(1100), PAUSE);
        assert!(denial.verdict(2, at(1150)).is_some());
        assert_eq!(denial.verdict(2, at(2000)), None);
        let mut denial = refused(2);
        denial.note(3, left(2), at(1100), PAUSE);
        assert_eq!(denial.known(2, at(1150)), None);
        assert!(denial.known(3, at(5000)).is_some());
    }
}
