use resilience_core::{
    BloomGuard, Results,
    bloom_guard::{Policy, Presence},
};
use tower::Layer as _;

use crate::{
    Bare,
    Expect::{Admitted, Refused},
    Subject, VALID, keyed,
    keys::{Held, SEED, absent, held},
    layered,
};

/// Every key that is asked for is held: the call goes through.
#[must_use]
pub fn guard_hit() -> impl Subject {
    let layer = million().layer_with(|request: &u64| Some(held(*request)), Results);
    layered(Admitted, layer.layer(Bare))
}

/// No key that is asked for is: the call is refused.
#[must_use]
pub fn guard_miss() -> impl Subject {
    let layer = million().layer_with(|request: &u64| Some(absent(*request)), Results);
    layered(Refused, layer.layer(Bare))
}

/// As [`guard_hit`], asked without a service.
#[must_use]
pub fn guard_hit_engine() -> impl Subject {
    keyed(Admitted, million(), |guard, key| {
        guard.check(&held(key)) == Presence::Maybe
    })
}

/// As [`guard_miss`], asked without a service.
#[must_use]
pub fn guard_miss_engine() -> impl Subject {
    keyed(Refused, million(), |guard, key| {
        guard.check(&absent(key)) == Presence::Maybe
    })
}

/// A filter of so many bits, asked without a service for all that it holds.
#[must_use]
pub fn guard_of(bits: u64) -> impl Subject {
    let keys = Held::in_bits(bits);
    let asked = keyed(Admitted, guard(keys), |guard, key| {
        guard.check(&held(key)) == Presence::Maybe
    });
    asked.of_keys(keys.number)
}

fn million() -> BloomGuard<u64> {
    guard(Held::MILLION)
}

fn guard(keys: Held) -> BloomGuard<u64> {
    let policy = Policy::new("dishes")
        .expected_keys(keys.number)
        .false_positive_rate(keys.rate)
        .seed(SEED);
    let guard = BloomGuard::new(policy).expect(VALID);
    guard.rebuild_from(|| keys.all()).expect("no other rebuild");
    guard
}
