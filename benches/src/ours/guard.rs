use resilience_core::{
    BloomGuard, Results,
    bloom_guard::{Policy, Presence},
};
use tower::Layer as _;

use crate::{
    Bare,
    Expect::{Admitted, Refused},
    Subject, VALID, keyed,
    keys::{HELD, RATE, absent, all, held},
    layered,
};

/// Every key that is asked for is held: the call goes through.
#[must_use]
pub fn guard_hit() -> impl Subject {
    let layer = guard().layer_with(|request: &u64| Some(held(*request)), Results);
    layered(Admitted, layer.layer(Bare))
}

/// No key that is asked for is: the call is refused.
#[must_use]
pub fn guard_miss() -> impl Subject {
    let layer = guard().layer_with(|request: &u64| Some(absent(*request)), Results);
    layered(Refused, layer.layer(Bare))
}

/// As [`guard_hit`], asked without a service.
#[must_use]
pub fn guard_hit_engine() -> impl Subject {
    keyed(Admitted, guard(), |guard, key| {
        guard.check(&held(key)) == Presence::Maybe
    })
}

/// As [`guard_miss`], asked without a service.
#[must_use]
pub fn guard_miss_engine() -> impl Subject {
    keyed(Refused, guard(), |guard, key| {
        guard.check(&absent(key)) == Presence::Maybe
    })
}

fn guard() -> BloomGuard<u64> {
    let policy = Policy::new("dishes")
        .expected_keys(HELD)
        .false_positive_rate(RATE);
    let guard = BloomGuard::new(policy).expect(VALID);
    guard.rebuild_from(all).expect("no other rebuild");
    guard
}
