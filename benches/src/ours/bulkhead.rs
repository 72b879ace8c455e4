use resilience_core::{
    Bulkhead, Results,
    concurrency::{Bulkheads, Policy},
};
use tower::Layer as _;

use crate::{
    Bare,
    Expect::{Admitted, Refused},
    Subject, VALID, holding, layered,
};

/// Has room.
#[must_use]
pub fn bulkhead() -> impl Subject {
    let bulkhead = Bulkhead::new(Policy::new("free", 64)).expect(VALID);
    layered(Admitted, bulkhead.layer_with(Results).layer(Bare))
}

/// Has none, and refuses.
#[must_use]
pub fn bulkhead_full() -> impl Subject {
    let bulkhead = Bulkhead::new(Policy::new("full", 1)).expect(VALID);
    let held = bulkhead.try_acquire().expect("one is free");
    let calls = layered(Refused, bulkhead.layer_with(Results).layer(Bare));
    holding(held, calls)
}

/// A bulkhead for each key.
#[must_use]
pub fn bulkhead_keyed() -> impl Subject {
    let bulkheads = Bulkheads::new(Policy::new("keyed", 64)).expect(VALID);
    let layer = bulkheads.layer_with(|request: &u64| Some(*request), Results);
    layered(Admitted, layer.layer(Bare))
}
