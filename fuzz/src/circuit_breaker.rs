//! Whatever callers, operators and clocks do, a circuit goes from phase to phase as its picture
//! says, and never lets more probes go than it may.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use resilience_core::{
    Environment, Event, ManualClock, Outcome, Random, Timestamp,
    circuit_breaker::{CircuitBreaker, Mode, OpenWait, Permit, Phase, Policy, Window},
};

use super::bytes::Bytes;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let rules = Rules::read(&mut bytes);
    let journey: Journey = Arc::default();
    let clock = ManualClock::new();
    let environment = Environment::new()
        .clock(clock.clone())
        .random(Random::seeded(bytes.u64()))
        .observer({
            let journey = journey.clone();
            move |event: &Event<'_>| {
                if let Event::PhaseChanged { from, to, .. } = *event {
                    journey
                        .lock()
                        .expect("nothing panics here")
                        .push((from, to));
                }
            }
        });
    let Ok(breaker) = CircuitBreaker::new_in(rules.policy.clone(), &environment) else {
        return;
    };
    let phase = breaker.phase();
    let mut circuit = Circuit {
        breaker,
        rules,
        clock,
        journey,
        phase,
        permits: Vec::new(),
        half_opens: 0,
        probes: 0,
    };
    while !bytes.is_empty() {
        circuit.step(&mut bytes);
        circuit.check();
    }
}

/// A policy, and what the checks want to know of it.
struct Rules {
    policy: Policy,
    mode: Mode,
    probes: u32,
    largest_window: Option<u32>,
    ramp: Duration,
}

impl Rules {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        let calls = u32::from(bytes.u8() % 16);
        let (window, largest_window) = match bytes.u8() % 3 {
            0 => (Window::count(calls), Some(calls)),
            1 => (Window::time(bytes.duration(), calls), None),
            _ => (Window::time(Duration::from_secs(1), 10), None),
        };
        let probes = u32::from(bytes.u8() % 5);
        let mode = match bytes.u8() {
            0..16 => Mode::Shadow,
            16..24 => Mode::Disabled,
            _ => Mode::Enforce,
        };
        let ramp = match bytes.u8() % 4 {
            0 => bytes.duration(),
            _ => Duration::ZERO,
        };
        let mut policy = Policy::new("fuzz")
            .window(window)
            .min_calls(u32::from(bytes.u8() % 8))
            .half_open_permits(probes)
            .open(open_wait(bytes))
            .mode(mode)
            .recovery_ramp(ramp)
            .max_retry_after(bytes.duration());
        match bytes.u8() % 8 {
            0 => policy = policy.failure_rate(bytes.f64()),
            1 => policy = policy.no_failure_rate(),
            2 => policy = policy.slow_calls(bytes.duration(), bytes.unit()),
            3 => policy = policy.half_open_max_wait(bytes.duration()),
            4 => policy = policy.consecutive_failures(u32::from(bytes.u8() % 4)),
            _ => {}
        }
        Self {
            policy,
            mode,
            probes,
            largest_window,
            ramp,
        }
    }
}

fn open_wait(bytes: &mut Bytes<'_>) -> OpenWait {
    let wait = match bytes.u8() % 4 {
        0 => OpenWait::exponential(bytes.duration(), bytes.f64(), bytes.duration()),
        1 => OpenWait::exponential(Duration::from_millis(100), 2.0, Duration::from_secs(10)),
        _ => OpenWait::fixed(bytes.duration()),
    };
    match bytes.u8() % 4 {
        0 => wait.jitter(bytes.f64()),
        1 => wait.jitter(bytes.unit()),
        _ => wait,
    }
}

type Journey = Arc<Mutex<Vec<(Phase, Phase)>>>;

/// The breaker, the callers that it has admitted, and what should be.
struct Circuit {
    breaker: CircuitBreaker,
    rules: Rules,
    clock: ManualClock,
    journey: Journey,
    phase: Phase,
    /// With the half-open phase that each was given in, where it was one.
    permits: Vec<(Option<u64>, Permit)>,
    /// Half-open phases so far, and the probes of the last that are out or have had their say.
    half_opens: u64,
    probes: u32,
}

impl Circuit {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.u8() % 32 {
            0..=11 => self.ask(),
            12..=19 if !self.permits.is_empty() => {
                let index = usize::from(bytes.u8()) % self.permits.len();
                let (given, permit) = self.permits.swap_remove(index);
                self.end(given, permit, outcome(bytes));
            }
            20..=22 => self.come_back(),
            23 => self.operate(bytes),
            24 => {
                // Clocks break, and are set.
                self.clock.set(Timestamp::from_nanos(bytes.u64()));
            }
            _ => self.clock.advance(bytes.duration()),
        }
    }

    fn ask(&mut self) {
        let asked = self.breaker.try_acquire();
        self.follow();
        match (asked, self.phase) {
            (Ok(permit), Phase::HalfOpen) => {
                self.probes += 1;
                assert!(self.probes <= self.rules.probes);
                self.permits.push((Some(self.half_opens), permit));
            }
            (Ok(permit), Phase::Closed | Phase::Disabled) => self.permits.push((None, permit)),
            (Err(_), Phase::HalfOpen) => assert_eq!(self.probes, self.rules.probes),
            (Err(_), Phase::Closed) => assert!(!self.rules.ramp.is_zero()),
            (Err(refusal), Phase::Open) => assert!(refusal.retry_after().is_some()),
            (Err(refusal), Phase::ForcedOpen) => assert_eq!(refusal.retry_after(), None),
            (asked, phase) => panic!("{asked:?} while {phase:?}"),
        }
    }

    /// Whoever comes back when told to finds the wait over, and not a nanosecond before.
    fn come_back(&mut self) {
        let Err(refusal) = self.breaker.try_acquire().map(drop) else {
            self.follow();
            return;
        };
        self.follow();
        let wait = refusal.retry_after().unwrap_or(Duration::MAX);
        if self.phase != Phase::Open || wait > LATEST {
            return;
        }
        self.clock.advance(wait - Duration::from_nanos(1));
        assert!(self.breaker.try_acquire().is_err());
        self.clock.advance(Duration::from_nanos(1));
        self.ask();
        assert_eq!(self.phase, Phase::HalfOpen);
    }

    fn end(&mut self, given: Option<u64>, permit: Permit, outcome: Option<Outcome>) {
        let voted = matches!(
            outcome,
            Some(Outcome::Success | Outcome::Failure | Outcome::Overload { .. })
        );
        match outcome {
            Some(outcome) => permit.settle(outcome),
            None => drop(permit),
        }
        self.follow();
        if !voted && self.phase == Phase::HalfOpen && given == Some(self.half_opens) {
            self.probes -= 1;
        }
    }

    fn operate(&mut self, bytes: &mut Bytes<'_>) {
        // What an operator may not do changes nothing, which `check` sees.
        let _ = match bytes.u8() % 6 {
            0 => self.breaker.force_open(),
            1 => self.breaker.force_closed(),
            2 => self.breaker.force_half_open(),
            3 => self.breaker.open_for(bytes.duration()),
            4 => {
                self.breaker.resume();
                Ok(())
            }
            _ => {
                let same = self.breaker.reconfigure(self.rules.policy.clone());
                assert!(same.is_ok());
                Ok(())
            }
        };
        self.follow();
    }

    /// Follows the reports: each starts where the last one ended, and is in the picture.
    fn follow(&mut self) {
        let reports = std::mem::take(&mut *self.journey.lock().expect("nothing panics there"));
        for (from, to) in reports {
            assert_eq!(from, self.phase);
            assert_ne!(from, to);
            assert_ne!((from, to), (Phase::Closed, Phase::HalfOpen));
            assert_ne!(from, Phase::Disabled, "only a new policy leads out");
            assert_ne!(to, Phase::Disabled, "only a new policy leads here");
            assert_eq!(self.rules.mode, Mode::Enforce);
            self.phase = to;
            if to == Phase::HalfOpen {
                self.half_opens += 1;
                self.probes = 0;
            }
        }
    }

    fn check(&mut self) {
        let snapshot = self.breaker.snapshot();
        self.follow();
        assert_eq!(snapshot.phase, self.phase);
        let left = match self.phase {
            Phase::HalfOpen => self.rules.probes - self.probes,
            _ => 0,
        };
        assert_eq!(snapshot.permits_left, left);
        assert!(snapshot.failures <= snapshot.calls && snapshot.slow <= snapshot.calls);
        if let Some(largest) = self.rules.largest_window {
            assert!(snapshot.calls <= u64::from(largest.max(self.rules.probes)));
        }
        for rate in [snapshot.failure_rate, snapshot.slow_rate] {
            assert!(rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)));
        }
    }
}

/// Later than this a clock may reach its end, and a wait would be cut short.
const LATEST: Duration = Duration::from_secs(1 << 32);

/// `None` drops the permit.
fn outcome(bytes: &mut Bytes<'_>) -> Option<Outcome> {
    Some(match bytes.u8() % 16 {
        0..=5 => Outcome::Failure,
        6..=10 => Outcome::Success,
        11 => Outcome::Overload { retry_after: None },
        12 => Outcome::Overload {
            retry_after: Some(bytes.duration()),
        },
        13 => Outcome::Ignored,
        14 => Outcome::NotCalled,
        _ => return None,
    })
}
