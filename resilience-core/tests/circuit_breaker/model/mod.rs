//! The shared circuit breaker against a slow model that remembers every vote.
//!
//! The engine keeps successes back, moves buckets and answers without its lock; the model has one
//! list of votes and counts it anew for each question. They must agree on every answer, every
//! figure and every event, whatever happens in whatever order.

#![allow(
    clippy::cast_possible_truncation,
    reason = "the figures here are small"
)]

mod machine;
mod pair;
mod setup;
mod steps;
mod votes;

use proptest::prelude::*;
use resilience_core::{
    Outcome,
    circuit_breaker::{Mode, Phase, Threshold},
};

use self::{pair::Pair, setup::setup, steps::step};

/// A share, so that the model compares whole numbers.
type Share = (u64, u64);

#[derive(Clone, Debug)]
struct Setup {
    window: Votes,
    min_calls: u32,
    failure_rate: Option<Share>,
    slow_calls: Option<(u64, Share)>,
    consecutive_failures: Option<u32>,
    permits: u32,
    max_wait: Option<u64>,
    first_wait: u64,
    factor: u32,
    longest_wait: u64,
    mode: Mode,
    ramp: u64,
    max_retry_after: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Votes {
    Last(u32),
    Within { length: u64, buckets: u32 },
}

#[derive(Debug)]
struct Model {
    setup: Setup,
    now: u64,
    stage: Stage,
    /// Transitions so far: what a ticket belongs to.
    epoch: usize,
    /// Votes of the present Closed or Half-Open, or of the one before.
    votes: Vec<Vote>,
    /// What an open circuit shows: the votes above, as they were when it opened.
    shown: (Vec<Vote>, usize),
    run: u32,
    noted: [bool; 3],
    swept: u64,
    failed_half_opens: u32,
    leave_alone_until: u64,
    ramp: Option<Ramp>,
    heard: Vec<Heard>,
    rejected: u64,
    totals: [u64; 7],
}

#[derive(Clone, Debug)]
enum Stage {
    Closed,
    Open {
        until: u64,
        wait: u64,
    },
    HalfOpen {
        deadline: u64,
        permits: u32,
        out: u32,
    },
    ForcedOpen,
    Disabled,
}

#[derive(Clone, Copy, Debug)]
struct Vote {
    at: u64,
    failed: bool,
    slow: bool,
}

/// A recovery under way: how much of a share all its calls asked for, and how many were admitted.
#[derive(Debug)]
struct Ramp {
    since: u64,
    length: u128,
    sum: u128,
    admitted: u128,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Heard {
    Phase(Phase, Phase),
    Reached(Threshold),
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Acquire,
    Settle(usize, Outcome),
    Calls(u32, Outcome),
    Hand(Hand),
    Reconfigure(Setup),
    Look,
}

#[derive(Clone, Copy, Debug)]
enum Hand {
    ForceOpen,
    ForceClosed,
    ForceHalfOpen,
    OpenFor(u64),
    Resume,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, max_shrink_iters: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_agrees_with_a_model_that_remembers_every_vote(
        setup in setup(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut pair = Pair::new(setup);
        for step in steps {
            pair.take(step);
        }
        pair.compare();
        let held = std::mem::take(&mut pair.held);
        for (permit, ticket) in held {
            pair.settle(permit, ticket, Outcome::Canceled);
        }
        pair.compare();
    }
}
