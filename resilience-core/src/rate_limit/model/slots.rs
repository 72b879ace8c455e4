//! Keys that are kept in a few bytes, or in a machine where that does not do.

use std::time::Duration;

use proptest::prelude::*;

use super::{Beside, Step, edge, rule, steps};
use crate::{
    Timestamp,
    keyed::Retention,
    rate_limit::{
        booking::Booking,
        cell::Cell,
        keys::{Keys, Verdict},
        plan::Plan,
        policy::{Rules, Tier},
        quota::{Quota, Rule},
        state,
    },
};

/// Keys of one shard, and a machine for each.
struct Both {
    rule: Rule,
    keys: Keys<usize>,
    machines: [Cell; KEYS],
    now: Timestamp,
    taken: Vec<(usize, [Booking; 2])>,
}

const KEYS: usize = 3;

impl Both {
    fn new(rule: Rule) -> Self {
        Self {
            rule,
            keys: Keys::new(64, Plan::of(&rules(rule))),
            machines: std::array::from_fn(|_| Cell::new([rule], Tier::None)),
            now: Timestamp::from_nanos(10_000_000_000),
            taken: Vec::new(),
        }
    }

    /// All keys of a shard go by the same time.
    fn pass_time(&mut self) {
        for machine in &mut self.machines {
            machine.move_to(self.now);
        }
    }

    fn take(&mut self, key: usize, units: u64, max_wait: Duration) {
        self.pass_time();
        let with = self.keys.take(&key, self.now, units, || max_wait);
        let alone = [Some(&mut self.machines[key]), None];
        let (alone, standing) = state::take(alone, self.now, units, max_wait);
        let (with, status) = match with {
            Ok(passed) | Err(Verdict::Passed(passed)) => {
                (Ok((passed.booking, Duration::ZERO)), passed.status)
            }
            Err(Verdict::Booked(booked, wait)) => (Ok((booked.booking, wait)), booked.status),
            Err(Verdict::Refused(refusal, name, status)) => {
                assert_eq!(name, standing.name);
                (Err(refusal), status)
            }
        };
        assert_eq!(status, standing.status);
        match (with, alone) {
            (Ok(with), Ok(alone)) => {
                assert_eq!(with.1, alone.1);
                self.taken.push((key, [with.0, alone.0]));
            }
            (with, alone) => assert_eq!(with.unwrap_err(), alone.unwrap_err()),
        }
    }

    fn each<R>(&mut self, key: usize, mut act: impl FnMut(&mut Cell, usize) -> R) -> [R; 2] {
        self.pass_time();
        let make = || Cell::new([self.rule], Tier::None);
        let with = self.keys.with(&key, self.now, make, |cell| act(cell, 0));
        [with, act(&mut self.machines[key], 1)]
    }

    fn step(&mut self, key: usize, step: Step) {
        let now = self.now;
        match step {
            Step::Take(units) => self.take(key, units, Duration::ZERO),
            Step::Book(units, wait) => self.take(key, units, Duration::from_nanos(wait)),
            Step::Cancel(number) if !self.taken.is_empty() => {
                let index = number % self.taken.len();
                let (key, bookings) = self.taken.swap_remove(index);
                self.each(key, |cell, which| {
                    state::cancel([Some(cell), None], now, &bookings[which]);
                });
            }
            Step::Cancel(_) => {}
            Step::Refund(units) => {
                self.each(key, |cell, _| state::refund([Some(cell), None], now, units));
            }
            Step::Peek => self.compare(key),
            Step::Follow(rule) => {
                // What was taken by another algorithm has a place that says nothing to this one.
                if rule.algorithm != self.rule.algorithm {
                    self.taken.clear();
                }
                self.rule = rule;
                self.pass_time();
                self.keys.follow(now, || rules(rule));
                for machine in &mut self.machines {
                    machine.follow(now, [rule], Tier::None);
                }
            }
            Step::Pass(nanos) => self.now = now.saturating_add(Duration::from_nanos(nanos)),
            Step::PassParts(parts, beside) => self.now = edge(now, &self.rule, parts, beside),
            Step::FallBack(nanos) => {
                self.now = Timestamp::from_nanos(now.as_nanos().saturating_sub(nanos));
            }
        }
    }

    fn compare(&mut self, key: usize) {
        self.pass_time();
        let kept = self.keys.retention(&key, self.now);
        assert_eq!(
            kept.unwrap_or(Retention::Idle),
            self.machines[key].retention()
        );
        let now = self.now;
        let seen = self.each(key, |cell, _| {
            let (wait, standing) = state::peek([Some(cell), None], now);
            (wait, standing.status, standing.next_back)
        });
        assert_eq!(seen[0], seen[1]);
    }
}

fn rules(rule: Rule) -> Rules {
    Rules {
        quotas: vec![rule],
        tiers: Vec::new(),
        global: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_key_in_a_few_bytes_is_decided_as_by_a_machine(
        rule in rule(),
        keys in prop::collection::vec(0..KEYS, 120),
        steps in steps(),
    ) {
        let mut both = Both::new(rule);
        for (key, step) in keys.into_iter().zip(steps) {
            both.step(key, step);
        }
        for key in 0..KEYS {
            both.compare(key);
        }
    }
}

#[test]
fn what_a_machine_lends_is_counted_in_its_part_of_the_window_and_not_a_nanosecond_longer() {
    for beside in [Beside::Before, Beside::At, Beside::After] {
        let quota = Quota::new(9, Duration::from_nanos(1000));
        let mut both = Both::new(quota.rule("test").unwrap());
        for step in [
            Step::Take(1),
            Step::PassParts(1, Beside::At),
            // Units of two parts need a machine, which lends what is left in the second.
            Step::Take(1),
            Step::PassParts(1, beside),
            Step::Take(1),
            // The second part is over now, and the third is not.
            Step::PassParts(10, Beside::Before),
            Step::Take(1),
        ] {
            both.step(0, step);
        }
    }
}
