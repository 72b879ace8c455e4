//! The sentences of the rate limiter's documents, one test each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod changes;
mod counting;
mod http;
mod keys;
mod model;
mod outcomes;
mod reports;
mod settings;
mod time;
mod waiting;

use std::time::Duration;

use resilience_core::{
    Clock, Environment, ManualClock, Rejected,
    rate_limit::{Algorithm, Policy, Quota, RateLimiter},
};

const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const ALL: [Algorithm; 3] = [
    Algorithm::SlidingLog,
    Algorithm::SlidingWindow,
    Algorithm::Gcra,
];

fn log(limit: u64, per: Duration) -> Quota {
    Quota::new(limit, per).algorithm(Algorithm::SlidingLog)
}

fn policy(quota: Quota) -> Policy {
    Policy::new("test", quota)
}

fn manual<K>(policy: Policy) -> (RateLimiter<K>, ManualClock)
where
    K: std::hash::Hash + Eq + Clone + Send + 'static,
{
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    (RateLimiter::new_in(policy, &environment).unwrap(), clock)
}

fn unkeyed(policy: Policy) -> (RateLimiter, ManualClock) {
    manual(policy)
}

fn paused(policy: Policy) -> RateLimiter {
    let environment = Environment::new().clock(Clock::tokio());
    RateLimiter::new_in(policy, &environment).unwrap()
}

fn invalid(policy: Policy) -> &'static str {
    RateLimiter::<()>::new(policy).unwrap_err().field()
}

fn retry_after<T: std::fmt::Debug>(result: Result<T, Rejected>) -> Duration {
    result.unwrap_err().retry_after().unwrap()
}

fn count(limiter: &RateLimiter, times: usize) -> usize {
    (0..times).filter(|_| limiter.try_take(&()).is_ok()).count()
}
