//! What is fast beside what is obvious: the same calls, decided by both.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::time::Duration;

use proptest::prelude::*;

use super::quota::{Algorithm, Quota, Rule};
use crate::Timestamp;

mod slots;
mod words;

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(u64),
    /// Books as well, up to so many nanoseconds ahead.
    Book(u64, u64),
    /// Gives back what was taken, whichever the number falls on.
    Cancel(usize),
    Refund(u64),
    Peek,
    Follow(Rule),
    Pass(u64),
    /// Goes on to where so many parts of the window are over, or to an instant beside that.
    PassParts(u64, Beside),
    FallBack(u64),
}

#[derive(Clone, Copy, Debug)]
enum Beside {
    Before,
    At,
    After,
}

/// When so many parts of a window of `rule` are over, of which one has begun by `now`.
fn edge(now: Timestamp, rule: &Rule, parts: u64, beside: Beside) -> Timestamp {
    let edge = (now.as_nanos() / rule.bucket() + parts) * rule.bucket();
    Timestamp::from_nanos(match beside {
        Beside::Before => (edge - 1).max(now.as_nanos()),
        Beside::At => edge,
        Beside::After => edge + 1,
    })
}

/// Windows of some nanoseconds, or of some seconds, in which a clock may fall back far.
fn rule() -> impl Strategy<Value = Rule> {
    let per = prop_oneof![1..400_u64, (1..40_u64).prop_map(|it| it * 100_000_000)];
    (0..3_u8, 1..9_u64, per).prop_map(|(algorithm, limit, per)| {
        let algorithm = match algorithm {
            0 => Algorithm::SlidingLog,
            1 => Algorithm::SlidingWindow,
            _ => Algorithm::Gcra,
        };
        let quota = Quota::new(limit, Duration::from_nanos(per)).algorithm(algorithm);
        quota.rule("test").unwrap()
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = || prop_oneof![0..50_u64, (0..40_u64).prop_map(|it| it * 100_000_000)];
    let beside = prop_oneof![Just(Beside::Before), Just(Beside::At), Just(Beside::After)];
    let step = prop_oneof![
        16 => Just(Step::Take(1)),
        8 => (0..4_u64).prop_map(Step::Take),
        2 => (0..4_u64, time()).prop_map(|(units, wait)| Step::Book(units, wait)),
        3 => any::<usize>().prop_map(Step::Cancel),
        1 => (0..4_u64).prop_map(Step::Refund),
        1 => Just(Step::Peek),
        1 => rule().prop_map(Step::Follow),
        4 => time().prop_map(Step::Pass),
        8 => (1..12_u64, beside).prop_map(|(parts, beside)| Step::PassParts(parts, beside)),
        2 => time().prop_map(Step::FallBack),
    ];
    prop::collection::vec(step, 1..120)
}
