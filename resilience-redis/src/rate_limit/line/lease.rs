//! Units of one key that this process has taken ahead of its callers.
//!
//! A pure machine: time comes in. Where calls come in a row, a question asks for more than the
//! callers in line want, up to a cap, and those who come after them need no question.
//!
//! The server counts such units in the step in which they were taken, and they are used in that step
//! alone. Used later, one of them and all that the server allows once it counts the unit no more
//! could lie in one window. What time it is on the server is known to within the time that a
//! question takes, and what two clocks drift apart since; the latest that it can be is believed.

use std::time::Duration;

use resilience_core::Timestamp;

use crate::rate_limit::quota::Verdict;

/// What one process holds of one key.
#[derive(Debug, Default)]
pub(super) struct Lease {
    held: Option<Held>,
    /// Units in the question that is under way.
    asked: u64,
    /// Units that the last question asked for, as far as there was demand.
    appetite: u64,
    /// When a question was sent last, and when the one before.
    questions: [Option<Timestamp>; 2],
    /// Whether somebody looks after what is held.
    watched: bool,
}

/// Units, all of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    left: u64,
    size: u64,
    term: Term,
    /// What whoever took the last unit of the question heard.
    verdict: Verdict,
}

/// When the units of a lease were taken, and when they must be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Term {
    /// When they were taken by the server's clock, in microseconds, and when that question was sent.
    pub(in crate::rate_limit) taken: u64,
    pub(super) sent: Timestamp,
    /// The end of the step by the server's clock.
    pub(in crate::rate_limit) end: u64,
}

/// Units that were used of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Spent {
    pub(in crate::rate_limit) verdict: Verdict,
    pub(in crate::rate_limit) term: Term,
    /// The latest that it can be on the server.
    pub(in crate::rate_limit) time: u64,
}

/// Units that nobody used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Unused {
    pub(in crate::rate_limit) units: u64,
    pub(in crate::rate_limit) taken: u64,
}

impl Lease {
    /// Uses `cost` units, where there are as many and it is not too late.
    pub(super) fn spend(&mut self, cost: u64, now: Timestamp) -> Option<Spent> {
        let held = self.held.as_mut()?;
        let time = held.time(now)?;
        held.left = held.left.checked_sub(cost).filter(|_| cost > 0)?;
        Some(held.spent(held.left, time))
    }

    /// Lends what is left, which is nothing from now on.
    pub(super) fn lend(&mut self) -> Option<Held> {
        let held = self.held.as_mut().filter(|held| held.left > 0)?;
        let lent = *held;
        held.left = 0;
        Some(lent)
    }

    /// Takes `units` back that were lent and not used.
    pub(super) fn take_back(&mut self, units: u64) {
        if let Some(held) = &mut self.held {
            held.left += units;
        }
    }

    /// Takes back what was spent of the lease until `end`, and says whether that is still there.
    pub(super) fn put_back(&mut self, units: u64, end: u64) -> bool {
        let Some(held) = self.held.as_mut().filter(|held| held.term.end == end) else {
            return false;
        };
        held.left += units;
        true
    }

    /// A question is about to be sent for callers who want `units`; says how many more it is to ask
    /// for, at most `cap`. Steps are `step` long.
    pub(super) fn ask(&mut self, units: u64, cap: u64, step: Duration, now: Timestamp) -> u64 {
        let last = self.questions[0];
        self.questions = [Some(now), last];
        let in_a_row = last.is_some_and(|last| now.saturating_since(last) < step && last <= now);
        self.appetite = match self.held {
            _ if !in_a_row => 0,
            // As many as were used while it lasted.
            Some(held) if held.left > 0 => held.size - held.left.min(held.size),
            Some(_) | None => self.appetite.saturating_mul(2).max(units),
        };
        self.asked = self.appetite.min(cap);
        self.asked
    }

    /// Units in the question that is under way.
    pub(super) const fn asked(&self) -> u64 {
        self.asked
    }

    /// The question under way was not looked at, and is sent once more.
    pub(super) const fn unask(&mut self) {
        self.asked = 0;
        self.questions[0] = self.questions[1];
    }

    /// Nobody heard an answer to the question under way. Gives what it had asked for.
    pub(super) const fn fail(&mut self) -> u64 {
        std::mem::replace(&mut self.asked, 0)
    }

    /// The server granted `units` of those asked for; `verdict` is of the last of them, and this is
    /// heard at `now`. Gives what nobody can use any more.
    pub(super) fn hold(
        &mut self,
        units: u64,
        term: Term,
        verdict: Verdict,
        now: Timestamp,
    ) -> Option<Unused> {
        self.asked = 0;
        let new = Held {
            left: units,
            size: units,
            term,
            verdict,
        };
        if units == 0 {
            return None;
        }
        // That nobody used them says nothing of how many are wanted.
        if new.time(now).is_none() {
            return new.unused();
        }
        let earlier = self.held.replace(new);
        match (earlier, &mut self.held) {
            (Some(held), Some(new)) if held.term.end == term.end => {
                new.left += held.left;
                new.size += held.left;
                None
            }
            (earlier, _) => earlier.and_then(Held::unused),
        }
    }

    /// Gives what nobody can use any more.
    pub(super) fn expire(&mut self, now: Timestamp) -> Option<Unused> {
        let held = self.held.filter(|held| held.term.time(now).is_none())?;
        self.appetite = held.size - held.left.min(held.size);
        self.held = None;
        held.unused()
    }

    /// Gives everything.
    pub(super) fn surrender(&mut self) -> Option<Unused> {
        self.held.take()?.unused()
    }

    pub(super) const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether nobody looked after what is held so far; from now on somebody does, or not.
    pub(super) const fn watch(&mut self, watched: bool) -> bool {
        !std::mem::replace(&mut self.watched, watched)
    }
}

impl Held {
    /// The latest that it can be on the server, where the units can be used still.
    #[inline]
    pub(super) fn time(&self, now: Timestamp) -> Option<u64> {
        self.term.time(now)
    }

    /// What somebody hears who has used some at `time`, and left so many.
    #[inline]
    pub(super) fn spent(&self, left: u64, time: u64) -> Spent {
        let passed = Duration::from_micros(time - self.term.taken);
        let verdict = Verdict {
            remaining: self.verdict.remaining + left,
            next_back: self.verdict.next_back.saturating_sub(passed),
            ..self.verdict
        };
        Spent {
            verdict,
            term: self.term,
            time,
        }
    }

    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    fn unused(self) -> Option<Unused> {
        (self.left > 0).then_some(Unused {
            units: self.left,
            taken: self.term.taken,
        })
    }
}

impl Term {
    /// The latest that it can be on the server at `now`; `None` where that is too late, or where our
    /// clock was set back, and with it the end moved away.
    #[inline]
    fn time(&self, now: Timestamp) -> Option<u64> {
        // The server read its clock after the question was sent, and it may run faster than ours.
        let passed = now.as_nanos().checked_sub(self.sent.as_nanos())?;
        let passed = passed.saturating_add(passed / DRIFT);
        let time = self.taken.checked_add(passed.div_ceil(1000))?;
        (time < self.end).then_some(time)
    }
}

/// By a thousandth: each of the two may be 500 ppm off, which is as much as NTP makes up for.
const DRIFT: u64 = 1000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rate_limit::quota::PAST;

    const STEP: u64 = 20_000;
    const LIMIT: u64 = 60;
    const IN_A_ROW: Duration = Duration::from_millis(20);
    const START: u64 = 1 << 40;

    /// A server and the processes that ask it, in one clock of microseconds.
    struct Fleet {
        random: fastrand::Rng,
        time: u64,
        counts: BTreeMap<u64, u64>,
        /// With how far ahead each process' clock is, and how long it takes for 1000 microseconds.
        nodes: Vec<(Lease, u64, u64)>,
        granted: u64,
        returned: u64,
        used: Vec<u64>,
    }

    impl Fleet {
        fn room(&self) -> u64 {
            let step = self.time / STEP;
            let window = self.counts.range(step - PAST as u64..=step);
            LIMIT - window.map(|(_, count)| count).sum::<u64>()
        }

        fn now(&self, node: usize) -> Timestamp {
            let (_, ahead, slow) = self.nodes[node];
            let passed = (self.time - START) * 1000;
            Timestamp::from_nanos(ahead * 1000 + passed * 1000 / slow)
        }

        fn call(&mut self, node: usize, cost: u64) {
            let now = self.now(node);
            if let Some(spent) = self.nodes[node].0.spend(cost, now) {
                assert!(spent.time >= self.time && spent.term.taken <= self.time);
                return self.used.extend((0..cost).map(|_| self.time));
            }
            let cap = self.random.u64(0..30);
            let asked = self.nodes[node].0.ask(cost, cap, IN_A_ROW, now);
            assert!(asked <= cap);
            self.pass(STEP / 5);
            let fits = cost <= self.room();
            let taken = if fits { cost } else { 0 };
            let ahead = asked.min(self.room() - taken);
            *self.counts.entry(self.time / STEP).or_default() += taken + ahead;
            self.used.extend((0..taken).map(|_| self.time));
            let term = Term {
                taken: self.time,
                sent: now,
                end: (self.time / STEP + 1) * STEP,
            };
            let verdict = Verdict {
                wait: Duration::ZERO,
                rule: 0,
                remaining: self.room(),
                next_back: Duration::ZERO,
            };
            self.granted += ahead;
            self.pass(STEP / 5);
            let now = self.now(node);
            let unused = self.nodes[node].0.hold(ahead, term, verdict, now);
            self.give_back(unused);
        }

        /// A question takes less than `micros` on its way, and now and then no time.
        fn pass(&mut self, micros: u64) {
            if self.random.bool() {
                self.time += self.random.u64(0..micros);
            }
        }

        fn give_back(&mut self, unused: Option<Unused>) {
            let Some(unused) = unused else { return };
            self.returned += unused.units;
            let count = self.counts.get_mut(&(unused.taken / STEP));
            *count.expect("it was taken there") -= unused.units;
        }
    }

    #[test]
    fn no_window_holds_more_than_the_limit_and_no_unit_is_lost() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let clock = |slow| (Lease::default(), random.u64(0..1 << 40), slow);
            let nodes = [999, 1000, 1001].map(clock);
            let mut fleet = Fleet {
                nodes: nodes.into(),
                random,
                time: START,
                counts: BTreeMap::new(),
                granted: 0,
                returned: 0,
                used: Vec::new(),
            };
            for _ in 0..5000 {
                let node = fleet.random.usize(0..3);
                let cost = fleet.random.u64(1..4);
                match fleet.random.u8(..20) {
                    0 => fleet.time += fleet.random.u64(0..5 * STEP),
                    1..4 => {
                        let now = fleet.now(node);
                        let expired = fleet.nodes[node].0.expire(now);
                        fleet.give_back(expired);
                    }
                    _ => fleet.call(node, cost),
                }
                fleet.time += fleet.random.u64(0..STEP * 3 / 50);
            }
            let held = fleet.nodes.iter_mut().filter_map(|it| it.0.surrender());
            let held: u64 = held.map(|unused| unused.units).sum();
            let counted: u64 = fleet.counts.values().sum();
            assert_eq!(fleet.used.len() as u64, counted - held);
            assert!(fleet.granted > 1000 && fleet.returned > 0, "{seed}");
            // The obvious way to say what the limit means.
            let length = usize::try_from(LIMIT).expect("small");
            for ends in fleet.used.windows(length + 1) {
                assert!(ends[length] - ends[0] >= STEP * PAST as u64, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_unit_is_used_in_the_step_in_which_it_was_taken_or_not_at_all() {
        let at = |micros: u64| Timestamp::from_nanos(micros * 1000);
        let verdict = Verdict {
            wait: Duration::ZERO,
            rule: 0,
            remaining: 7,
            next_back: Duration::from_micros(100),
        };
        let (taken, sent, end) = (5_600, at(100), 6_000);
        let term = Term { taken, sent, end };
        let mut lease = Lease::default();
        assert_eq!(lease.hold(3, term, verdict, at(498)), None);
        // 398 microseconds, and a thousandth more.
        let spent = lease.spend(2, at(498)).expect("the last moment");
        assert_eq!((spent.verdict.remaining, spent.time), (8, 5_999));
        assert!(lease.put_back(1, end));
        for late in [at(499), at(5_000), at(99)] {
            assert_eq!(lease.spend(1, late), None);
        }
        assert_eq!(lease.spend(3, at(200)), None);
        assert_eq!(lease.expire(at(498)), None);
        assert_eq!(lease.expire(at(499)), Some(Unused { units: 2, taken }));
        assert!(!lease.put_back(1, end));
    }

    #[test]
    fn what_comes_too_late_to_be_used_does_not_end_the_demand() {
        let at = |micros: u64| Timestamp::from_nanos(micros * 1000);
        let verdict = Verdict {
            wait: Duration::ZERO,
            rule: 0,
            remaining: 7,
            next_back: Duration::ZERO,
        };
        let mut lease = Lease::default();
        let mut ask = |now, heard, end| {
            let asked = lease.ask(4, 100, Duration::from_secs(1), at(now));
            let (taken, sent) = (now, at(now));
            let term = Term { taken, sent, end };
            let unused = lease.hold(asked, term, verdict, at(heard));
            while lease.spend(1, at(heard)).is_some() {}
            (asked, unused.map(|unused| unused.units))
        };
        assert_eq!(ask(100, 150, 1000), (0, None));
        assert_eq!(ask(200, 250, 1000), (4, None));
        assert_eq!(ask(900, 950, 1000), (8, None));
        assert_eq!(ask(990, 1000, 1000), (16, Some(16)));
        assert_eq!(ask(1010, 1060, 2000), (32, None));
    }
}
