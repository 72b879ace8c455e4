//! Words in front of a machine.

use std::time::Duration;

use proptest::prelude::*;

use super::{Step, edge, rule, steps};
use crate::{
    Timestamp,
    clock::{Calibration, Reading},
    rate_limit::{
        booking::Booking,
        cell::Cell,
        front::ClockSeen,
        keyless::{Keyless, Lending},
        policy::Tier,
        quota::{Algorithm, Quota, Rule},
        state,
    },
};

/// The cell behind words, and the same cell asked each time.
struct Both {
    keyless: Keyless,
    machine: Cell,
    clock: Calibration,
    now: Timestamp,
    taken: Vec<[Booking; 2]>,
    by_words: usize,
}

impl Both {
    fn new(rule: Rule) -> Self {
        Self::by(Calibration::NANOS, rule)
    }

    fn by(clock: Calibration, rule: Rule) -> Self {
        let cell = || Cell::new([rule], Tier::None);
        Self {
            keyless: Keyless::new(cell(), Lending::Alone, clock),
            machine: cell(),
            clock,
            now: Timestamp::from_nanos(10_000_000_000),
            taken: Vec::new(),
            by_words: 0,
        }
    }

    /// The last tick of the instant, and the time that the clock takes it for.
    fn read(&self) -> (Reading, Timestamp) {
        let next = self.now.saturating_add(Duration::from_nanos(1));
        let reading = self.clock.reading(self.clock.tick_at(next) - 1);
        (reading, reading.time())
    }

    fn take(&mut self, units: u64) {
        let ((reading, now), zero) = (self.read(), Duration::ZERO);
        if let Ok(pass) = self.keyless.take(units, || reading) {
            if let ClockSeen::FallenBack(now) = pass.clock {
                self.keyless.with(|cell| cell.move_to(now));
            }
            let taken = state::take([Some(&mut self.machine), None], now, units, zero);
            let (booking, wait) = taken.0.expect("the words let it pass");
            assert_eq!((wait, pass.passed.status), (zero, taken.1.status));
            self.taken.push([pass.passed.booking, booking]);
            self.by_words += 1;
        } else if units == 1
            && let Some(refused) = self.keyless.refuse(reading)
        {
            // Nobody hears of those that words refuse.
            let mut machine = self.machine.clone();
            let (taken, standing) = state::take([Some(&mut machine), None], now, 1, zero);
            assert_eq!(taken.unwrap_err(), state::Refusal::Wait(refused.wait));
            assert_eq!(refused.status, standing.status);
            self.by_words += 1;
        } else {
            self.book(units, zero);
        }
    }

    fn book(&mut self, units: u64, max_wait: Duration) {
        let (_, now) = self.read();
        let take = |cell: &mut Cell| state::take([Some(cell), None], now, units, max_wait);
        let (with, alone) = (self.keyless.with(take), take(&mut self.machine));
        assert_eq!(with.1.status, alone.1.status);
        match (with.0, alone.0) {
            (Ok(with), Ok(alone)) => {
                assert_eq!(with.1, alone.1);
                self.taken.push([with.0, alone.0]);
            }
            (with, alone) => assert_eq!(with.unwrap_err(), alone.unwrap_err()),
        }
    }

    fn each(&mut self, mut act: impl FnMut(&mut Cell, usize)) {
        self.keyless.with(|cell| act(cell, 0));
        act(&mut self.machine, 1);
    }

    fn step(&mut self, step: Step) {
        let (_, now) = self.read();
        match step {
            Step::Take(units) => self.take(units),
            Step::Book(units, wait) => self.book(units, Duration::from_nanos(wait)),
            Step::Cancel(number) if !self.taken.is_empty() => {
                let index = number % self.taken.len();
                let booking = self.taken.swap_remove(index);
                self.each(|cell, which| state::cancel([Some(cell), None], now, &booking[which]));
            }
            Step::Cancel(_) => {}
            Step::Refund(units) => {
                self.each(|cell, _| state::refund([Some(cell), None], now, units));
            }
            Step::Peek => {
                let mut seen = Vec::new();
                self.each(|cell, _| seen.push(state::peek([Some(cell), None], now)));
                let of = |(wait, standing): (Duration, state::Standing)| {
                    (wait, standing.status, standing.next_back)
                };
                assert_eq!(of(seen[0]), of(seen[1]));
            }
            Step::Follow(rule) => {
                // What was taken by another algorithm has a place that says nothing to this one.
                if rule.algorithm != self.machine.rule().algorithm {
                    self.taken.clear();
                }
                self.each(|cell, _| cell.follow(now, [rule], Tier::None));
            }
            Step::Pass(nanos) => self.now = self.now.saturating_add(Duration::from_nanos(nanos)),
            Step::PassParts(parts, beside) => {
                self.now = edge(now, self.machine.rule(), parts, beside)
            }
            Step::FallBack(nanos) => {
                self.now = Timestamp::from_nanos(now.as_nanos().saturating_sub(nanos));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn words_decide_as_the_machine_behind_them_would(rule in rule(), steps in steps()) {
        let mut both = Both::new(rule);
        for step in steps {
            both.step(step);
        }
        both.step(Step::Peek);
    }

    #[test]
    fn words_decide_by_ticks_as_the_machine_does_by_the_time(
        length in 1 << 62..=u64::MAX,
        rule in rule(),
        steps in steps(),
    ) {
        let mut both = Both::by(Calibration::of_ticks(length, 1 << 40), rule);
        for step in steps {
            both.step(step);
        }
        both.step(Step::Peek);
    }
}

#[test]
fn words_see_a_clock_fall_back_from_the_latest_call_and_not_from_when_they_were_lent() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::Gcra] {
        let quota = Quota::new(4, Duration::from_secs(10)).algorithm(algorithm);
        let mut both = Both::new(quota.rule("test").unwrap());
        let tenth = 100_000_000;
        for step in [
            Step::Peek,
            Step::Pass(tenth),
            Step::Take(1),
            // Less than a second before the words were lent, and more than one before the call.
            Step::FallBack(11 * tenth),
            Step::Take(1),
            Step::Pass(1),
            Step::Peek,
        ] {
            both.step(step);
        }
        assert!(both.by_words > 0);
    }
}

#[test]
fn units_that_were_over_when_they_were_lent_are_nobodys_whatever_the_clock_says() {
    let rule = |algorithm, nanos| {
        let quota = Quota::new(4, Duration::from_nanos(nanos)).algorithm(algorithm);
        quota.rule("test").unwrap()
    };
    let mut both = Both::new(rule(Algorithm::SlidingLog, 27));
    for step in [
        Step::Take(2),
        Step::Pass(17),
        Step::Take(1),
        // The first two are as good as forgotten now, and are forgotten by the next call.
        Step::Follow(rule(Algorithm::SlidingWindow, 1)),
        Step::FallBack(17),
        Step::Take(1),
    ] {
        both.step(step);
    }
}
