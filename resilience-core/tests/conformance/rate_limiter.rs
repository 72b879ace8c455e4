//! The rate limiter.

use std::{ops::RangeInclusive, time::Duration};

use resilience_core::{
    Environment, ManualClock, RateLimiter, Reason, Timestamp,
    rate_limit::{Algorithm, Policy, Quota, Reservation},
};
use serde_json::Value;

use crate::schema::{Failure, Fields, duration, expect, instant, nullable, text, whole};

/// The key of steps that name none.
const KEY: &str = "k";

pub(crate) struct Subject {
    limiter: RateLimiter<String>,
    clock: ManualClock,
    rule: Rule,
    /// Reservations in the order in which they were made; kept, so that none is given back.
    booked: Vec<Reservation<String>>,
}

/// What a case configures, of which `set` may change a part.
#[derive(Clone, Copy)]
struct Rule {
    algorithm: Algorithm,
    limit: u64,
    per: Duration,
    burst: Option<u64>,
    max_wait: Duration,
}

/// What became of a take.
struct Taken {
    answer: &'static str,
    remaining: u64,
    retry_after: Option<Duration>,
}

impl crate::Subject for Subject {
    fn new(config: &Fields<'_>, clock: &ManualClock) -> Result<Self, Failure> {
        let rule = Rule::read(config)?;
        let environment = Environment::new().clock(clock.clone());
        let limiter = RateLimiter::new_in(rule.policy(), &environment);
        Ok(Self {
            limiter: limiter.map_err(|invalid| invalid.to_string())?,
            clock: clock.clone(),
            rule,
            booked: Vec::new(),
        })
    }

    fn step(&mut self, step: &Fields<'_>) -> Result<(), Failure> {
        if let Some(set) = step.optional("set") {
            return self.set(&Fields::of(set)?);
        }
        if let Some(which) = step.read("cancel", text)? {
            expect("cancel", &which, &"last")?;
            let last = self.booked.pop();
            return last
                .map(Reservation::cancel)
                .ok_or_else(|| "nothing is booked".into());
        }
        let key = step.read("key", text)?.unwrap_or(KEY);
        if let Some(units) = step.read("reserve", whole)? {
            return self.reserve(key, units, step);
        }
        if let Some(peek) = step.optional("peek") {
            return self.peek(key, &Fields::of(peek)?);
        }
        if let Some(every) = step.read("every", duration)? {
            return self.take_every(key, every, step);
        }
        if let Some(cost) = step.read("take", whole)? {
            return self.take(key, cost, step);
        }
        Err("unknown step".into())
    }
}

impl Subject {
    fn set(&mut self, set: &Fields<'_>) -> Result<(), Failure> {
        if let Some(limit) = set.read("limit", whole)? {
            self.rule.limit = limit;
        }
        if let Some(per) = set.read("per", duration)? {
            self.rule.per = per;
        }
        if let Some(burst) = set.read("burst", whole)? {
            self.rule.burst = Some(burst);
        }
        set.done()?;
        let changed = self.limiter.reconfigure(self.rule.policy());
        changed.map_err(|invalid| invalid.to_string())
    }

    fn reserve(&mut self, key: &str, units: u64, step: &Fields<'_>) -> Result<(), Failure> {
        let expected = step.read("wait", |value| nullable(value, duration))?;
        let reservation = self.limiter.reserve(key, units).ok();
        if let Some(expected) = expected {
            let wait = reservation.as_ref().map(Reservation::wait);
            expect("wait", &wait, &expected)?;
        }
        self.booked.extend(reservation);
        Ok(())
    }

    fn peek(&self, key: &str, peek: &Fields<'_>) -> Result<(), Failure> {
        let standing = self.limiter.peek(key);
        if let Some(remaining) = peek.read("remaining", whole)? {
            expect("remaining", &standing.remaining, &remaining)?;
        }
        if let Some(retry_after) = peek.read("retry_after", duration)? {
            expect("retry_after", &standing.retry_after, &retry_after)?;
        }
        peek.done()
    }

    fn take(&self, key: &str, cost: u64, step: &Fields<'_>) -> Result<(), Failure> {
        let times = step.read("times", whole)?.unwrap_or(1);
        let expected = step.read("expect", text)?;
        let mut allowed = 0;
        let mut last = None;
        for _ in 0..times {
            let taken = self.take_once(key, cost);
            if let Some(expected) = expected {
                expect("answer", &taken.answer, &expected)?;
            }
            allowed += u64::from(taken.answer == "allowed");
            last = Some(taken);
        }
        expect_count(allowed, step)?;
        let remaining = step.read("remaining", whole)?;
        let retry_after = step.read("retry_after", duration)?;
        let Some(last) = last else { return Ok(()) };
        if let Some(remaining) = remaining {
            expect("remaining", &last.remaining, &remaining)?;
        }
        if let Some(retry_after) = retry_after {
            expect("retry_after", &last.retry_after, &Some(retry_after))?;
        }
        Ok(())
    }

    fn take_every(&self, key: &str, every: Duration, step: &Fields<'_>) -> Result<(), Failure> {
        let cost = step.read("take", whole)?.unwrap_or(1);
        let until = instant(step.required("until")?)?;
        if every.is_zero() {
            return Err("`every` is nothing".into());
        }
        let mut allowed = 0;
        loop {
            allowed += u64::from(self.take_once(key, cost).answer == "allowed");
            let next: Timestamp = self.clock.now().saturating_add(every);
            if next > until {
                return expect_count(allowed, step);
            }
            self.clock.set(next);
        }
    }

    fn take_once(&self, key: &str, cost: u64) -> Taken {
        match self.limiter.try_take_n(key, cost) {
            Ok(status) => Taken {
                answer: "allowed",
                remaining: status.remaining,
                retry_after: Some(Duration::ZERO),
            },
            Err(rejected) => Taken {
                answer: match rejected.reason() {
                    Reason::CostExceedsQuota => "error",
                    _ => "denied",
                },
                remaining: self.limiter.peek(key).remaining,
                retry_after: rejected.retry_after(),
            },
        }
    }
}

/// Compares with `allowed`, a number or the least and the most, where the step tells it.
fn expect_count(found: u64, step: &Fields<'_>) -> Result<(), Failure> {
    let Some(expected) = step.read("allowed", range)? else {
        return Ok(());
    };
    if expected.contains(&found) {
        return Ok(());
    }
    Err(format!("allowed: expected {expected:?}, found {found}"))
}

fn range(value: &Value) -> Result<RangeInclusive<u64>, Failure> {
    let Some([least, most]) = value.as_array().map(Vec::as_slice) else {
        let exactly = whole(value)?;
        return Ok(exactly..=exactly);
    };
    Ok(whole(least)?..=whole(most)?)
}

impl Rule {
    fn read(config: &Fields<'_>) -> Result<Self, Failure> {
        let algorithm = match text(config.required("algorithm")?)? {
            "sliding_log" => Algorithm::SlidingLog,
            "sliding_window" => Algorithm::SlidingWindow,
            "gcra" => Algorithm::Gcra,
            unknown => return Err(format!("unknown algorithm `{unknown}`")),
        };
        let limit = whole(config.required("limit")?)?;
        let burst = config.read("burst", whole)?;
        let burst = match algorithm {
            // What `set` leaves out stays, also where the case left it to the default.
            Algorithm::Gcra => Some(burst.unwrap_or(limit)),
            _ => burst,
        };
        Ok(Self {
            algorithm,
            limit,
            per: duration(config.required("per")?)?,
            burst,
            max_wait: config.read("max_wait", duration)?.unwrap_or(Duration::ZERO),
        })
    }

    fn policy(&self) -> Policy {
        let mut quota = Quota::new(self.limit, self.per).algorithm(self.algorithm);
        if let Some(burst) = self.burst {
            quota = quota.burst(burst);
        }
        Policy::new("conformance", quota).max_wait(self.max_wait)
    }
}
