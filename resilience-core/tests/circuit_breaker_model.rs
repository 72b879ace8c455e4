//! The shared circuit breaker against a slow model that remembers every vote.
//!
//! The engine keeps successes back, moves buckets and answers without its lock; the model has one
//! list of votes and counts it anew for each question. They must agree on every answer, every
//! figure and every event, whatever happens in whatever order.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "the figures here are small"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use resilience_core::{
    Environment, Event, ManualClock, Outcome, Reason, Rejected, Timestamp,
    circuit_breaker::{CircuitBreaker, Mode, OpenWait, Permit, Phase, Policy, Threshold, Window},
};

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

impl Setup {
    fn policy(&self) -> Policy {
        let nanos = Duration::from_nanos;
        let rate = |(part, whole): Share| part as f64 / whole as f64;
        let (first, longest) = (nanos(self.first_wait), nanos(self.longest_wait));
        let mut policy = Policy::new("model")
            .window(match self.window {
                Votes::Last(calls) => Window::count(calls),
                Votes::Within { length, buckets } => Window::time(nanos(length), buckets),
            })
            .min_calls(self.min_calls)
            .no_failure_rate()
            .half_open_permits(self.permits)
            .open(OpenWait::exponential(
                first,
                f64::from(self.factor),
                longest,
            ))
            .mode(self.mode)
            .recovery_ramp(nanos(self.ramp))
            .max_retry_after(nanos(self.max_retry_after));
        if let Some(share) = self.failure_rate {
            policy = policy.failure_rate(rate(share));
        }
        if let Some((after, share)) = self.slow_calls {
            policy = policy.slow_calls(nanos(after), rate(share));
        }
        if let Some(failures) = self.consecutive_failures {
            policy = policy.consecutive_failures(failures);
        }
        if let Some(wait) = self.max_wait {
            policy = policy.half_open_max_wait(nanos(wait));
        }
        policy
    }
}

#[derive(Clone, Copy, Debug)]
struct Vote {
    at: u64,
    failed: bool,
    slow: bool,
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

#[derive(Clone, Copy, Debug, PartialEq)]
enum Heard {
    Phase(Phase, Phase),
    Reached(Threshold),
}

const THRESHOLDS: [Threshold; 3] = [
    Threshold::FailureRate,
    Threshold::SlowRate,
    Threshold::ConsecutiveFailures,
];

/// A recovery under way: how much of a share all its calls asked for, and how many were admitted.
#[derive(Debug)]
struct Ramp {
    since: u64,
    length: u128,
    sum: u128,
    admitted: u128,
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

impl Model {
    fn new(setup: Setup) -> Self {
        Self {
            stage: match setup.mode {
                Mode::Disabled => Stage::Disabled,
                _ => Stage::Closed,
            },
            setup,
            now: 0,
            epoch: 0,
            votes: vec![],
            shown: (vec![], 0),
            run: 0,
            noted: [false; 3],
            swept: 0,
            failed_half_opens: 0,
            leave_alone_until: 0,
            ramp: None,
            heard: vec![],
            rejected: 0,
            totals: [0; 7],
        }
    }

    fn phase(&self) -> Phase {
        match self.stage {
            Stage::Closed => Phase::Closed,
            Stage::Open { .. } => Phase::Open,
            Stage::HalfOpen { .. } => Phase::HalfOpen,
            Stage::ForcedOpen => Phase::ForcedOpen,
            Stage::Disabled => Phase::Disabled,
        }
    }

    fn bucket(&self, at: u64) -> u64 {
        match self.setup.window {
            Votes::Last(_) => 0,
            Votes::Within { length, buckets } => at * u64::from(buckets) / length,
        }
    }

    /// The votes that the window of a closed circuit holds while bucket `current` is the last.
    fn window(&self, current: u64) -> Vec<Vote> {
        match self.setup.window {
            Votes::Last(calls) => {
                let old = self.votes.len().saturating_sub(calls as usize);
                self.votes[old..].to_vec()
            }
            Votes::Within { buckets, .. } => self
                .votes
                .iter()
                .filter(|vote| current <= self.bucket(vote.at) + u64::from(buckets))
                .copied()
                .collect(),
        }
    }

    fn enough(&self) -> usize {
        let most = match self.setup.window {
            Votes::Last(calls) => calls,
            Votes::Within { .. } => u32::MAX,
        };
        self.setup.min_calls.min(most) as usize
    }

    /// The votes that count now, and how many are needed.
    fn evidence(&self) -> (Vec<Vote>, usize) {
        match self.stage {
            Stage::Closed => (self.window(self.bucket(self.now)), self.enough()),
            Stage::HalfOpen { permits, .. } => {
                (self.votes.clone(), self.enough().min(permits as usize))
            }
            Stage::Open { .. } | Stage::ForcedOpen => self.shown.clone(),
            Stage::Disabled => (vec![], 1),
        }
    }

    fn reached(&self, votes: &[Vote]) -> [bool; 3] {
        let known = votes.len() >= self.enough().max(1);
        let at_least = |bad: usize, (part, whole): Share| {
            known && bad as u64 * whole >= part * votes.len() as u64
        };
        let failed = votes.iter().filter(|vote| vote.failed).count();
        let slow = votes.iter().filter(|vote| vote.slow).count();
        [
            self.setup
                .failure_rate
                .is_some_and(|share| at_least(failed, share)),
            self.setup
                .slow_calls
                .is_some_and(|(_, share)| at_least(slow, share)),
            self.setup
                .consecutive_failures
                .is_some_and(|most| self.run >= most),
        ]
    }

    /// Notes what fell below its threshold as bucket after bucket left.
    fn sweep(&mut self) {
        let current = self.bucket(self.now);
        let noted = self.noted.contains(&true);
        for bucket in (self.swept + 1..=current).filter(|_| noted) {
            let reached = self.reached(&self.window(bucket));
            self.noted = std::array::from_fn(|i| self.noted[i] && reached[i]);
        }
        self.swept = self.swept.max(current);
    }

    fn pass(&mut self) {
        if let Stage::HalfOpen { deadline, .. } = self.stage
            && self.now >= deadline
        {
            self.failed_half_opens += 1;
            self.open(deadline);
        }
    }

    fn look(&mut self) {
        self.pass();
        if matches!(self.stage, Stage::Closed) {
            self.sweep();
        }
    }

    fn enter(&mut self, stage: Stage) {
        let from = self.phase();
        self.shown = self.evidence();
        self.stage = stage;
        self.ramp = None;
        if from != self.phase() {
            self.epoch += 1;
            self.heard.push(Heard::Phase(from, self.phase()));
        }
    }

    fn open(&mut self, since: u64) {
        let mut wait = self.setup.first_wait;
        for _ in 0..self.failed_half_opens {
            wait = (wait * u64::from(self.setup.factor)).min(self.setup.longest_wait);
        }
        let until = (since + wait).max(self.leave_alone_until);
        self.enter(Stage::Open {
            until,
            wait: until - since,
        });
    }

    fn close(&mut self) {
        self.votes.clear();
        self.run = 0;
        self.noted = [false; 3];
        self.failed_half_opens = 0;
        self.swept = self.bucket(self.now);
        self.enter(Stage::Closed);
    }

    fn probe(&mut self, waited: u64) {
        let mut usual = self.setup.first_wait;
        for _ in 0..self.failed_half_opens {
            usual = (usual * u64::from(self.setup.factor)).min(self.setup.longest_wait);
        }
        let waited = if waited == 0 { usual } else { waited };
        let deadline = self.now + self.setup.max_wait.unwrap_or(waited);
        self.enter(Stage::HalfOpen {
            deadline,
            permits: self.setup.permits,
            out: 0,
        });
        self.votes.clear();
    }

    fn permits_left(&self) -> u32 {
        match self.stage {
            Stage::HalfOpen { permits, out, .. } => permits - out - self.votes.len() as u32,
            _ => 0,
        }
    }

    fn ask(&mut self) -> Result<(usize, u64), (Reason, Option<u64>)> {
        self.pass();
        if let Stage::Open { until, wait } = self.stage
            && self.now >= until
        {
            self.probe(wait);
        }
        let left = self.permits_left();
        let refusal = match &mut self.stage {
            Stage::Closed => self.refused_by_ramp(),
            Stage::Open { until, .. } => Some((Reason::CircuitOpen, Some(*until - self.now))),
            Stage::HalfOpen { .. } if left == 0 => Some((Reason::CircuitOpen, None)),
            Stage::HalfOpen { out, .. } => {
                *out += 1;
                None
            }
            Stage::ForcedOpen => Some((Reason::CircuitForcedOpen, None)),
            Stage::Disabled => None,
        };
        self.rejected += u64::from(refusal.is_some());
        refusal.map_or(Ok((self.epoch, self.now)), Err)
    }

    /// So many calls are admitted that their number follows the sum of the shares, and one.
    fn refused_by_ramp(&mut self) -> Option<(Reason, Option<u64>)> {
        let ramp = self.ramp.as_mut()?;
        let share = u128::from(self.now - ramp.since);
        if share >= ramp.length {
            self.ramp = None;
            return None;
        }
        ramp.sum += share;
        if (ramp.length + ramp.sum) / ramp.length > ramp.admitted {
            ramp.admitted += 1;
            return None;
        }
        let missing = ramp.admitted * ramp.length - ramp.sum;
        let wait = missing.saturating_sub(share) as u64;
        Some((Reason::CircuitOpen, Some(wait)))
    }

    fn settle(&mut self, (epoch, start): (usize, u64), outcome: Outcome) {
        self.pass();
        if matches!(self.stage, Stage::Disabled) {
            return;
        }
        let slow = self
            .setup
            .slow_calls
            .is_some_and(|(after, _)| self.now - start >= after);
        let (kind, failed) = match outcome {
            Outcome::Success => (0, Some(false)),
            Outcome::Failure => (1, Some(true)),
            Outcome::Overload { .. } => (2, Some(true)),
            Outcome::NotCalled => (3, None),
            Outcome::Canceled => (4, None),
            _ => (5, None),
        };
        self.totals[kind] += 1;
        self.totals[6] += u64::from(failed.is_some() && slow);
        if epoch != self.epoch {
            return;
        }
        if let Stage::HalfOpen { out, .. } = &mut self.stage {
            *out -= 1;
        }
        let Some(failed) = failed else { return };
        if let Outcome::Overload {
            retry_after: Some(wait),
        } = outcome
        {
            let wait = (wait.as_nanos() as u64).min(self.setup.max_retry_after);
            self.leave_alone_until = self.leave_alone_until.max(self.now + wait);
        }
        if matches!(self.stage, Stage::Closed) {
            self.sweep();
        }
        self.votes.push(Vote {
            at: self.now,
            failed,
            slow,
        });
        match self.stage {
            Stage::Closed => self.decide_closed(outcome),
            Stage::HalfOpen { permits, .. } => self.decide_half_open(permits as u64),
            _ => unreachable!("no ticket is given here"),
        }
    }

    fn decide_closed(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Success => self.run = 0,
            Outcome::Failure => self.run += 1,
            _ => {}
        }
        let reached = self.reached(&self.evidence().0);
        for (i, threshold) in THRESHOLDS.into_iter().enumerate() {
            if reached[i] && !self.noted[i] {
                self.heard.push(Heard::Reached(threshold));
            }
        }
        self.noted = reached;
        if self.setup.mode == Mode::Enforce && reached.contains(&true) {
            self.open(self.now);
        }
    }

    /// Whether every way to settle the rest ends badly, or all have settled well.
    fn decide_half_open(&mut self, permits: u64) {
        let failed = self.votes.iter().filter(|vote| vote.failed).count() as u64;
        let slow = self.votes.iter().filter(|vote| vote.slow).count() as u64;
        let lost = |bad: u64, (part, whole): Share| bad * whole >= part * permits;
        let failing = match self.setup.failure_rate {
            Some(share) => lost(failed, share),
            None => failed > 0 && self.setup.consecutive_failures.is_some(),
        };
        if failing
            || self
                .setup
                .slow_calls
                .is_some_and(|(_, share)| lost(slow, share))
        {
            self.failed_half_opens += 1;
            self.open(self.now);
        } else if self.votes.len() as u64 == permits {
            self.close();
            if self.setup.ramp > 0 {
                self.ramp = Some(Ramp {
                    since: self.now,
                    length: u128::from(self.setup.ramp),
                    sum: 0,
                    admitted: 0,
                });
            }
        }
    }

    /// What an operator does; whether it is legal.
    fn operate(&mut self, hand: Hand) -> bool {
        self.pass();
        let enforces = self.setup.mode == Mode::Enforce;
        match (hand, self.stage.clone()) {
            (Hand::ForceOpen | Hand::OpenFor(_), _) if !enforces => return false,
            (Hand::ForceOpen, _) => self.enter(Stage::ForcedOpen),
            (Hand::OpenFor(wait), _) => self.enter(Stage::Open {
                until: self.now + wait,
                wait,
            }),
            (Hand::ForceClosed, Stage::Disabled) => return false,
            (Hand::ForceClosed, Stage::Closed) => self.ramp = None,
            (Hand::ForceClosed, _) | (Hand::Resume, Stage::ForcedOpen) => self.close(),
            (Hand::ForceHalfOpen, Stage::Closed | Stage::Disabled) => return false,
            (Hand::ForceHalfOpen, Stage::Open { wait, .. }) => self.probe(wait),
            (Hand::ForceHalfOpen, Stage::ForcedOpen) => self.probe(0),
            (Hand::ForceHalfOpen, Stage::HalfOpen { .. }) | (Hand::Resume, _) => {}
        }
        true
    }

    fn reconfigure(&mut self, setup: Setup) {
        self.look();
        let old = std::mem::replace(&mut self.setup, setup);
        self.noted = [false; 3];
        if matches!(self.stage, Stage::Closed) && old.window != self.setup.window {
            self.votes.clear();
        }
        self.swept = self.bucket(self.now);
        match (self.setup.mode, &self.stage) {
            (Mode::Disabled, _) => self.enter(Stage::Disabled),
            (Mode::Shadow, Stage::Closed) => {}
            (Mode::Shadow, _) | (_, Stage::Disabled) => self.close(),
            _ => {}
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Hand {
    ForceOpen,
    ForceClosed,
    ForceHalfOpen,
    OpenFor(u64),
    Resume,
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

fn share() -> impl Strategy<Value = Share> {
    (1_u64..=10).prop_flat_map(|whole| (1..=whole, Just(whole)))
}

fn setup() -> impl Strategy<Value = Setup> {
    let window = prop_oneof![
        (1_u32..12).prop_map(Votes::Last),
        Just(Votes::Last(70)),
        (6_u64..60, 1_u32..6).prop_map(|(length, buckets)| Votes::Within { length, buckets }),
    ];
    let mode = prop_oneof![
        8 => Just(Mode::Enforce),
        3 => Just(Mode::Shadow),
        1 => Just(Mode::Disabled),
    ];
    let signals = (
        proptest::option::weighted(0.8, share()),
        proptest::option::weighted(0.4, (1_u64..8, share())),
        proptest::option::weighted(0.3, 1_u32..5),
    );
    let waits = (
        1_u64..20,
        1_u32..4,
        0_u64..100,
        proptest::option::of(1_u64..20),
    );
    let rest = (
        1_u32..8,
        1_u32..5,
        prop_oneof![2 => Just(0), 1 => 1_u64..40],
        0_u64..50,
    );
    (window, mode, signals, waits, rest).prop_map(|(window, mode, signals, waits, rest)| Setup {
        window,
        min_calls: rest.0,
        failure_rate: signals.0,
        slow_calls: signals.1,
        consecutive_failures: signals.2,
        permits: rest.1,
        max_wait: waits.3,
        first_wait: waits.0,
        factor: waits.1,
        longest_wait: waits.0 + waits.2,
        mode,
        ramp: rest.2,
        max_retry_after: rest.3,
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Success),
        5 => Just(Outcome::Failure),
        1 => proptest::option::of(0_u64..80).prop_map(|wait| Outcome::Overload {
            retry_after: wait.map(Duration::from_nanos),
        }),
        1 => Just(Outcome::NotCalled),
        1 => Just(Outcome::Canceled),
        1 => Just(Outcome::Ignored),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let hand = prop_oneof![
        Just(Hand::ForceOpen),
        Just(Hand::ForceClosed),
        Just(Hand::ForceHalfOpen),
        (0_u64..30).prop_map(Hand::OpenFor),
        Just(Hand::Resume),
    ];
    prop_oneof![
        8 => (0_u64..12).prop_map(Step::Advance),
        1 => (0_u64..200).prop_map(Step::Advance),
        8 => Just(Step::Acquire),
        8 => (any::<usize>(), outcome()).prop_map(|(which, outcome)| Step::Settle(which, outcome)),
        8 => (1_u32..10, outcome()).prop_map(|(times, outcome)| Step::Calls(times, outcome)),
        1 => hand.prop_map(Step::Hand),
        1 => setup().prop_map(Step::Reconfigure),
        4 => Just(Step::Look),
    ]
}

/// The engine and the model, side by side.
struct Pair {
    clock: ManualClock,
    heard: Arc<Mutex<Vec<Heard>>>,
    breaker: CircuitBreaker,
    model: Model,
    held: Vec<(Permit, (usize, u64))>,
}

impl Pair {
    fn new(setup: Setup) -> Self {
        let clock = ManualClock::new();
        let heard = Arc::new(Mutex::new(vec![]));
        let ear = heard.clone();
        let environment = Environment::new().clock(clock.clone()).observer(
            move |event: &Event<'_>| match *event {
                Event::PhaseChanged { from, to, .. } => {
                    ear.lock().unwrap().push(Heard::Phase(from, to));
                }
                Event::ThresholdReached { threshold, .. } => {
                    ear.lock().unwrap().push(Heard::Reached(threshold));
                }
                _ => {}
            },
        );
        let breaker = CircuitBreaker::new_in(setup.policy(), &environment).unwrap();
        Self {
            clock,
            heard,
            breaker,
            model: Model::new(setup),
            held: vec![],
        }
    }

    fn acquire(&mut self) -> Option<(Permit, (usize, u64))> {
        let told = |rejected: &Rejected| {
            let wait = rejected.retry_after().map(|wait| wait.as_nanos() as u64);
            (rejected.reason(), wait)
        };
        match (self.breaker.try_acquire(), self.model.ask()) {
            (Ok(permit), Ok(ticket)) => Some((permit, ticket)),
            (Err(rejected), Err(refusal)) => {
                assert_eq!(told(&rejected), refusal);
                None
            }
            (engine, model) => panic!("engine {engine:?}, model {model:?}"),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Advance(nanos) => {
                self.model.now += nanos;
                self.clock.set(Timestamp::from_nanos(self.model.now));
            }
            Step::Acquire => {
                let admitted = self.acquire();
                self.held.extend(admitted);
            }
            Step::Settle(which, outcome) => {
                if !self.held.is_empty() {
                    let (permit, ticket) = self.held.swap_remove(which % self.held.len());
                    self.settle(permit, ticket, outcome);
                }
            }
            Step::Calls(times, outcome) => {
                for _ in 0..times {
                    if let Some((permit, ticket)) = self.acquire() {
                        self.settle(permit, ticket, outcome);
                    }
                }
            }
            Step::Hand(hand) => {
                let legal = match hand {
                    Hand::ForceOpen => self.breaker.force_open().is_ok(),
                    Hand::ForceClosed => self.breaker.force_closed().is_ok(),
                    Hand::ForceHalfOpen => self.breaker.force_half_open().is_ok(),
                    Hand::OpenFor(wait) => {
                        self.breaker.open_for(Duration::from_nanos(wait)).is_ok()
                    }
                    Hand::Resume => {
                        self.breaker.resume();
                        true
                    }
                };
                assert_eq!(legal, self.model.operate(hand));
            }
            Step::Reconfigure(setup) => {
                // A call that began untimed would be slow by the model alone.
                let setup = Setup {
                    slow_calls: self.model.setup.slow_calls,
                    ..setup
                };
                self.breaker.reconfigure(setup.policy()).unwrap();
                self.model.reconfigure(setup);
            }
            Step::Look => self.compare(),
        }
    }

    fn settle(&mut self, permit: Permit, ticket: (usize, u64), outcome: Outcome) {
        self.model.settle(ticket, outcome);
        match outcome {
            Outcome::Canceled => drop(permit),
            outcome => permit.settle(outcome),
        }
    }

    fn compare(&mut self) {
        let snapshot = self.breaker.snapshot();
        self.model.look();
        let model = &self.model;
        let (votes, enough) = model.evidence();
        let failed = votes.iter().filter(|vote| vote.failed).count() as u64;
        let slow = votes.iter().filter(|vote| vote.slow).count() as u64;
        let calls = votes.len() as u64;
        let rate =
            |bad: u64| (calls > 0 && votes.len() >= enough).then(|| bad as f64 / calls as f64);
        assert_eq!(snapshot.phase, model.phase());
        assert_eq!(
            (snapshot.calls, snapshot.failures, snapshot.slow),
            (calls, failed, slow)
        );
        assert_eq!(snapshot.failure_rate, rate(failed));
        let timed = model.setup.slow_calls.is_some();
        assert_eq!(snapshot.slow_rate, rate(slow).filter(|_| timed));
        assert_eq!(snapshot.permits_left, model.permits_left());
        assert_eq!(snapshot.rejected, model.rejected);
        let totals = snapshot.totals;
        let [.., slow] = model.totals;
        assert_eq!(
            [totals.successes, totals.failures, totals.overloads],
            model.totals[..3]
        );
        assert_eq!(
            [
                totals.not_called,
                totals.canceled,
                totals.ignored,
                totals.slow
            ],
            [model.totals[3], model.totals[4], model.totals[5], slow]
        );
        assert_eq!(*self.heard.lock().unwrap(), model.heard);
    }
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
