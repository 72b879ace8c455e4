//! The layers, one a line, in the order in which a request meets them.

mod inbound;
mod outbound;
mod pages;

pub use self::{
    inbound::Inbound,
    outbound::{Outbound, PaymentService},
    pages::Pages,
};
pub(crate) use self::{
    inbound::inbound,
    outbound::outbound,
    pages::{dish, menu},
};

use std::sync::Arc;

use resilience_core::Measured;

use crate::fleet::Fleet;

/// Everything that counts what it does.
pub(crate) fn engines(
    inbound: &Inbound,
    pages: &Pages,
    outbound: &Outbound,
    fleet: Option<&Fleet>,
) -> Vec<Arc<dyn Measured>> {
    let mut engines: Vec<Arc<dyn Measured>> = vec![
        Arc::new(inbound.panics.clone()),
        Arc::new(inbound.clients.clone()),
        Arc::new(inbound.everybody.clone()),
        Arc::new(inbound.places.clone()),
        Arc::new(inbound.keys.clone()),
        Arc::new(inbound.health.clone()),
        pages.known.engine(),
        Arc::new(pages.made.clone()),
        Arc::new(pages.making.clone()),
        Arc::new(outbound.circuit.clone()),
        Arc::new(outbound.calls.clone()),
    ];
    if let Some(fleet) = fleet {
        engines.push(Arc::new(fleet.kitchen.clone()));
        engines.push(Arc::new(fleet.portions.stocks()));
        engines.push(Arc::new(fleet.turns.clone()));
    }
    engines
}
