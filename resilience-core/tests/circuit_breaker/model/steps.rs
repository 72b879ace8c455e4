//! What may happen to a circuit.

use std::time::Duration;

use proptest::prelude::*;
use resilience_core::Outcome;

use super::{Hand, Step, setup::setup};

pub(super) fn step() -> impl Strategy<Value = Step> {
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
