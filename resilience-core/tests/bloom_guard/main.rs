//! The guard against requests for what does not exist.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod answers;
mod layer;
mod misses;
mod model;
mod rebuilds;
mod replica;
mod settings;
mod snapshots;

use std::time::Duration;

use resilience_core::{
    BloomGuard, Environment, ManualClock, Outcome, Settle as _,
    bloom_guard::{Policy, Presence},
};

const SEED: [u8; 32] = *b"thirty-two bytes that are secret";

fn policy() -> Policy {
    Policy::new("dishes").expected_keys(1000).seed(SEED)
}

fn guard(policy: Policy, keys: std::ops::Range<u64>) -> BloomGuard<u64> {
    let guard = BloomGuard::new(policy).unwrap();
    guard.rebuild_from(|| keys).unwrap();
    guard
}

/// Keys that are not there and pass all the same.
fn false_positives(guard: &BloomGuard<u64>) -> impl Iterator<Item = u64> {
    (1_000_000..).filter(|key| guard.check(key) == Presence::Maybe)
}

/// A guard that remembers for a minute, and the clock it goes by.
fn forgetful(capacity: usize) -> (BloomGuard<u64>, ManualClock) {
    let clock = ManualClock::new();
    let policy = policy().remember(capacity, Duration::from_secs(60));
    let guard = BloomGuard::new_in(policy, &Environment::new().clock(clock.clone())).unwrap();
    guard.rebuild_from(|| 0..1000_u64).unwrap();
    (guard, clock)
}

fn miss(guard: &BloomGuard<u64>, key: u64) {
    let mut permit = guard.try_acquire(&key).unwrap();
    permit.not_found();
    permit.settle(Outcome::Success);
}
