use std::{task::Waker, thread, time::Duration};

use resilience_core::rate_limit::{Policy, Quota};

use super::{
    super::{
        Line,
        question::{Aftermath, Leasing, Question},
    },
    *,
};
use crate::{
    StoreError,
    rate_limit::quota::{Reading, Rule, rules},
};

#[test]
fn every_caller_hears_what_the_line_would_say() {
    let rules = quota();
    let (mut leased, mut denied) = (0, 0);
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let line = || Line::new(&rules, seed % 4 > 0);
        let (mut alone, entry, mut front) = (line(), entry(line()), Front::default());
        let mut micros = START;
        for _ in 0..2000 {
            micros += random.u64(0..20_000);
            let (cost, now) = (random.u64(0..3), at(micros));
            match random.u8(..100) {
                0 => micros -= random.u64(0..SECOND),
                1 => {
                    alone.doubt();
                    entry.line().doubt();
                }
                2 => assert_eq!(entry.line().denied(cost, now), alone.denied(cost, now)),
                3 => assert_eq!(entry.line().expire(now), alone.expire(now)),
                4 => assert_eq!(entry.line().surrender(), alone.surrender()),
                5 => {
                    let end = rules[0].end(micros);
                    let is_there = entry.line().put_back(cost, end);
                    assert_eq!(is_there, alone.put_back(cost, end));
                }
                _ => {
                    let entered = front.enter(&entry, caller(cost, now));
                    assert_eq!(entered, alone.enter(caller(cost, now)), "seed {seed}");
                    leased += u64::from(matches!(entered, Entered::Leased(_)));
                    denied += u64::from(matches!(entered, Entered::Denied(_)));
                    if let Entered::First(place) = entered {
                        let used = random.u64(0..2) * LIMIT;
                        for line in [&mut alone, &mut entry.line()] {
                            answer(line, place, &rules, used, micros);
                        }
                    }
                }
            }
        }
    }
    assert!(leased > 5000 && denied > 5000, "{leased} {denied}");
}

#[test]
fn no_unit_is_lost_or_spent_twice_while_all_are_taken_back() {
    let rules = quota();
    let (entry, mut front) = (entry(Line::new(&rules, true)), Front::default());
    let (mut spent, mut granted) = (0, 0);
    let mut call = || match front.enter(&entry, caller(1, at(START))) {
        Entered::Leased(_) => spent += 1,
        Entered::First(place) => granted += answer(&mut entry.line(), place, &rules, 0, START),
        Entered::Waits(_) | Entered::Queued(..) | Entered::Denied(_) => {
            unreachable!("nobody else comes")
        }
    };
    let surrender = || entry.line().surrender().map_or(0, |unused| unused.units);
    let unused: u64 = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let often = (0..5000).map(|_| {
                thread::yield_now();
                surrender()
            });
            often.sum::<u64>()
        });
        while !other.is_finished() {
            call();
        }
        (0..1000).for_each(|_| call());
        other.join().expect("no panic")
    });
    assert_eq!(spent + unused + surrender(), granted);
    assert!(spent > 500, "{spent} of {granted}");
}

/// A server answers whoever stands in `line`, for the first of whom this is done: `used` units are
/// in the present step, and none before. Says how many were granted ahead.
fn answer(line: &mut Line, place: usize, rules: &[Rule], used: u64, micros: u64) -> u64 {
    let now = at(micros);
    let (mut runs, mut past, mut aftermath) = (Vec::new(), Vec::new(), Aftermath::default());
    let leasing = Leasing {
        percent: 50,
        nodes: 1,
        now,
    };
    let steps = [rules[0].step(micros)];
    // Nobody is late.
    let limit = (now, Timestamp::ZERO, &StoreError::Unavailable);
    let ask = |line: &mut Line, (runs, past): (&mut _, &mut _), aftermath: &mut _| {
        line.ask(rules, &steps, (runs, past), Some(leasing), limit, aftermath)
    };
    while ask(line, (&mut runs, &mut past), &mut aftermath).is_some() {
        let mut counts = vec![0; 1 + past[0].asked];
        counts[0] = used;
        let question = Question {
            runs: &runs,
            past: &past,
        };
        let told = [Reading::Window(&counts)];
        line.hear(rules, question, &told, (now, now, micros), &mut aftermath);
        runs.clear();
        past.clear();
    }
    line.poll(place, Waker::noop()).expect("an answer");
    aftermath.ahead.granted
}

fn entry(line: Line) -> Entry {
    Entry::new("test", line)
}

fn caller(cost: u64, now: Timestamp) -> Caller<'static> {
    Caller {
        cost,
        now,
        until: now,
        waker: None,
    }
}

fn quota() -> Box<[Rule]> {
    let policy = Policy::new("test", Quota::new(LIMIT, Duration::from_secs(10)));
    rules(&policy.terms().expect("a quota").quotas).expect("a valid policy")
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_nanos(micros * 1000)
}

const LIMIT: u64 = 1000;
const SECOND: u64 = 1_000_000;
const START: u64 = 100 * SECOND;
