//! The bulkhead.

use std::{
    collections::HashMap,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use resilience_core::{
    Bulkhead, Environment, ManualClock,
    concurrency::{Permit, Policy, Waiting},
    gate::Entry,
};
use serde_json::Value;

use crate::schema::{Failure, Fields, duration, expect, expect_told, small, text, whole};

pub(crate) struct Subject {
    bulkhead: Bulkhead,
    callers: HashMap<String, Caller>,
}

enum Caller {
    Running { _permit: Permit },
    Queued(Pin<Box<Waiting>>),
    Rejected,
}

impl Caller {
    /// Lets a queued caller see what became of it by now.
    fn look(&mut self) -> &'static str {
        if let Self::Queued(waiting) = self {
            let mut context = Context::from_waker(Waker::noop());
            match waiting.as_mut().poll(&mut context) {
                Poll::Pending => {}
                Poll::Ready(Ok(permit)) => *self = Self::Running { _permit: permit },
                Poll::Ready(Err(_)) => *self = Self::Rejected,
            }
        }
        match self {
            Self::Running { .. } => "running",
            Self::Queued(_) => "queued",
            Self::Rejected => "rejected",
        }
    }
}

impl crate::Subject for Subject {
    fn new(config: &Fields<'_>, clock: &ManualClock) -> Result<Self, Failure> {
        let permits = small(config.required("permits")?)?;
        let queue = config.read("queue", whole)?.unwrap_or(0);
        let queue = usize::try_from(queue).map_err(|error| error.to_string())?;
        let max_wait = config.read("max_wait", duration)?.unwrap_or(Duration::ZERO);
        let policy = Policy::new("conformance", permits)
            .queue(queue)
            .max_wait(max_wait);
        let environment = Environment::new().clock(clock.clone());
        let bulkhead = Bulkhead::new_in(policy, &environment);
        Ok(Self {
            bulkhead: bulkhead.map_err(|invalid| invalid.to_string())?,
            callers: HashMap::new(),
        })
    }

    fn step(&mut self, step: &Fields<'_>) -> Result<(), Failure> {
        if let Some(name) = step.read("enter", text)? {
            return self.enter(name, step);
        }
        if let Some(name) = step.read("leave", text)? {
            expect("who leaves", &self.look(name)?, &"running")?;
            self.callers.remove(name);
            return Ok(());
        }
        if let Some(name) = step.read("drop", text)? {
            // Without a look: a caller may go before it hears that it was let in.
            let caller = self.callers.remove(name);
            return caller
                .map(drop)
                .ok_or_else(|| format!("nobody is called `{name}`"));
        }
        if let Some(set) = step.optional("set") {
            let set = Fields::of(set)?;
            self.bulkhead.set_permits(small(set.required("permits")?)?);
            return set.done();
        }
        if let Some(check) = step.optional("check") {
            return self.check(&Fields::of(check)?);
        }
        Err("unknown step".into())
    }
}

impl Subject {
    fn enter(&mut self, name: &str, step: &Fields<'_>) -> Result<(), Failure> {
        let mut caller = match self.bulkhead.enter() {
            Entry::Admitted(permit) => Caller::Running { _permit: permit },
            Entry::Refused(_) => Caller::Rejected,
            Entry::Wait(waiting) => Caller::Queued(Box::pin(waiting)),
        };
        expect_told("answer", caller.look(), step)?;
        self.callers.insert(name.into(), caller);
        Ok(())
    }

    fn look(&mut self, name: &str) -> Result<&'static str, Failure> {
        let caller = self.callers.get_mut(name);
        Ok(caller
            .ok_or_else(|| format!("nobody is called `{name}`"))?
            .look())
    }

    fn check(&mut self, check: &Fields<'_>) -> Result<(), Failure> {
        let snapshot = self.bulkhead.snapshot();
        if let Some(running) = check.read("running", whole)? {
            expect("running", &u64::from(snapshot.running), &running)?;
        }
        if let Some(queued) = check.read("queued", whole)? {
            expect("queued", &(snapshot.queued as u64), &queued)?;
        }
        if let Some(states) = check.read("state_of", states)? {
            for (name, state) in states {
                expect(name, &self.look(name)?, &text(state)?)?;
            }
        }
        check.done()
    }
}

fn states(value: &Value) -> Result<&serde_json::Map<String, Value>, Failure> {
    value
        .as_object()
        .ok_or_else(|| format!("not an object: {value}"))
}
