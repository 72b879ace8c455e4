//! The circuit breaker.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use resilience_core::{
    CircuitBreaker, Environment, Event, ManualClock, Outcome, Rejected,
    circuit_breaker::{Mode, OpenWait, Permit, Policy, Window},
};
use serde_json::Value;

use crate::schema::{
    Failure, Fields, duration, expect, expect_rate, expect_told, nullable, number, small, text,
    whole,
};

pub(crate) struct Subject {
    breaker: CircuitBreaker,
    clock: ManualClock,
    trip_on: Vec<String>,
    permits: HashMap<String, Permit>,
    transitions: Arc<Mutex<Vec<&'static str>>>,
}

impl crate::Subject for Subject {
    fn new(config: &Fields<'_>, clock: &ManualClock) -> Result<Self, Failure> {
        let transitions = Arc::<Mutex<Vec<_>>>::default();
        let entered = Arc::clone(&transitions);
        let environment =
            Environment::new()
                .clock(clock.clone())
                .observer(move |event: &Event<'_>| {
                    if let Event::PhaseChanged { to, .. } = event {
                        lock(&entered).push(to.as_str());
                    }
                });
        let breaker = CircuitBreaker::new_in(policy(config)?, &environment);
        let trip_on = config.read("trip_on", names)?;
        Ok(Self {
            breaker: breaker.map_err(|invalid| invalid.to_string())?,
            clock: clock.clone(),
            trip_on: trip_on.unwrap_or_else(|| vec!["failure".into()]),
            permits: HashMap::new(),
            transitions,
        })
    }

    fn step(&mut self, step: &Fields<'_>) -> Result<(), Failure> {
        if let Some(outcome) = step.read("call", text)? {
            return self.calls(outcome, step);
        }
        if let Some(name) = step.read("acquire", text)? {
            return self.acquire(name, step);
        }
        if let Some(name) = step.read("settle", text)? {
            let outcome = self.outcome(text(step.required("outcome")?)?);
            self.permit(name)?.settle(outcome);
            return Ok(());
        }
        if let Some(name) = step.read("drop", text)? {
            return self.permit(name).map(drop);
        }
        if let Some(name) = step.read("panic", text)? {
            self.permit(name)?.settle(Outcome::Failure);
            return Ok(());
        }
        if let Some(state) = step.read("force", text)? {
            return self.force(state, step);
        }
        if let Some(wait) = step.read("open_for", duration)? {
            let opened = self.breaker.open_for(wait);
            return opened.map_err(|illegal| illegal.to_string());
        }
        if let Some(auto) = step.optional("auto") {
            expect("auto", auto, &Value::Bool(true))?;
            self.breaker.resume();
            return Ok(());
        }
        if let Some(check) = step.optional("check") {
            return self.check(&Fields::of(check)?);
        }
        Err("unknown step".into())
    }
}

impl Subject {
    fn calls(&mut self, outcome: &str, step: &Fields<'_>) -> Result<(), Failure> {
        let takes = step.read("takes", duration)?.unwrap_or(Duration::ZERO);
        let times = step.read("times", whole)?.unwrap_or(1);
        for _ in 0..times {
            let permit = self.breaker.try_acquire();
            expect_told("answer", answer(&permit), step)?;
            if let Ok(permit) = permit {
                self.clock.advance(takes);
                permit.settle(self.outcome(outcome));
            }
        }
        Ok(())
    }

    fn acquire(&mut self, name: &str, step: &Fields<'_>) -> Result<(), Failure> {
        let permit = self.breaker.try_acquire();
        expect_told("answer", answer(&permit), step)?;
        let expected = step.read("retry_after", |value| nullable(value, duration))?;
        match permit {
            Ok(permit) => {
                if expected.is_some() {
                    return Err("`retry_after` of an admitted call".into());
                }
                self.permits.insert(name.into(), permit);
            }
            Err(rejected) => {
                if let Some(expected) = expected {
                    expect("retry_after", &rejected.retry_after(), &expected)?;
                }
            }
        }
        Ok(())
    }

    fn permit(&mut self, name: &str) -> Result<Permit, Failure> {
        self.permits
            .remove(name)
            .ok_or_else(|| format!("no permit is kept as `{name}`"))
    }

    fn outcome(&self, name: &str) -> Outcome {
        match name {
            "ignored" => Outcome::Ignored,
            name if self.trip_on.iter().any(|listed| listed == name) => Outcome::Failure,
            _ => Outcome::Success,
        }
    }

    fn force(&self, state: &str, step: &Fields<'_>) -> Result<(), Failure> {
        let legal = match state {
            "open" => self.breaker.force_open(),
            "closed" => self.breaker.force_closed(),
            "half_open" => self.breaker.force_half_open(),
            unknown => return Err(format!("unknown state `{unknown}`")),
        }
        .is_ok();
        expect_told("force", if legal { "ok" } else { "illegal" }, step)
    }

    fn check(&self, check: &Fields<'_>) -> Result<(), Failure> {
        let snapshot = self.breaker.snapshot();
        if let Some(state) = check.read("state", text)? {
            expect("state", &snapshot.phase.as_str(), &state)?;
        }
        for (name, found) in [
            ("failure_rate", snapshot.failure_rate),
            ("slow_rate", snapshot.slow_rate),
        ] {
            if let Some(rate) = check.read(name, |value| nullable(value, number))? {
                expect_rate(name, found, rate)?;
            }
        }
        for (name, found) in [
            ("calls", snapshot.calls),
            ("failures", snapshot.failures),
            ("slow", snapshot.slow),
            ("rejected", snapshot.rejected),
            ("permits_left", u64::from(snapshot.permits_left)),
            ("exceeded_events", snapshot.thresholds_reached),
        ] {
            if let Some(count) = check.read(name, whole)? {
                expect(name, &found, &count)?;
            }
        }
        if let Some(entered) = check.read("transitions", names)? {
            let found = lock(&self.transitions);
            expect(
                "transitions",
                &found.iter().map(ToString::to_string).collect(),
                &entered,
            )?;
        }
        check.done()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(permit: &Result<Permit, Rejected>) -> &'static str {
    match permit {
        Ok(_) => "admitted",
        Err(_) => "rejected",
    }
}

fn names(value: &Value) -> Result<Vec<String>, Failure> {
    let list = value.as_array().ok_or("not a list")?;
    list.iter().map(|name| text(name).map(Into::into)).collect()
}

fn policy(config: &Fields<'_>) -> Result<Policy, Failure> {
    let mut policy = Policy::new("conformance");
    if let Some(window) = config.read("window", window)? {
        policy = policy.window(window);
    }
    if let Some(calls) = config.read("min_calls", small)? {
        policy = policy.min_calls(calls);
    }
    if let Some(rate) = config.read("failure_rate", |value| nullable(value, number))? {
        policy = match rate {
            Some(rate) => policy.failure_rate(rate),
            None => policy.no_failure_rate(),
        };
    }
    if let Some(slow) = config.read("slow_call", duration)? {
        policy = policy.slow_calls(slow, number(config.required("slow_rate")?)?);
    }
    if let Some(failures) = config.read("consecutive_failures", small)? {
        policy = policy.consecutive_failures(failures);
    }
    if let Some(half_open) = config.optional("half_open") {
        let half_open = Fields::of(half_open)?;
        if let Some(permits) = half_open.read("permits", small)? {
            policy = policy.half_open_permits(permits);
        }
        if let Some(wait) = half_open.read("max_wait", duration)? {
            policy = policy.half_open_max_wait(wait);
        }
        half_open.done()?;
    }
    if let Some(wait) = config.read("open", open_wait)? {
        policy = policy.open(wait);
    }
    if let Some(mode) = config.read("mode", text)? {
        policy = policy.mode(match mode {
            "enforce" => Mode::Enforce,
            "shadow" => Mode::Shadow,
            "disabled" => Mode::Disabled,
            unknown => return Err(format!("unknown mode `{unknown}`")),
        });
    }
    Ok(policy)
}

fn window(value: &Value) -> Result<Window, Failure> {
    let fields = Fields::of(value)?;
    let window = match fields.read("count", small)? {
        Some(calls) => Window::count(calls),
        None => {
            let length = duration(fields.required("time")?)?;
            Window::time(length, fields.read("buckets", small)?.unwrap_or(10))
        }
    };
    fields.done()?;
    Ok(window)
}

fn open_wait(value: &Value) -> Result<OpenWait, Failure> {
    let fields = Fields::of(value)?;
    let wait = match fields.read("fixed", duration)? {
        Some(wait) => OpenWait::fixed(wait),
        None => {
            let growth = Fields::of(fields.required("exponential")?)?;
            let initial = duration(growth.required("initial")?)?;
            let factor = number(growth.required("factor")?)?;
            let max = duration(growth.required("max")?)?;
            growth.done()?;
            OpenWait::exponential(initial, factor, max)
        }
    };
    fields.done()?;
    Ok(wait)
}
