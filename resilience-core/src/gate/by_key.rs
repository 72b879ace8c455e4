use super::{Entry, Gate};
use crate::{KeyExtractor, Rejected};

/// A gate for each key: what belongs to one caller, host or tenant.
pub trait Gates: Clone {
    /// What tells one from another.
    type Key;

    /// The gate of one key.
    type Gate: Gate<()>;

    /// The gate of `key`, made where there is none.
    fn gate(&self, key: &Self::Key) -> Self::Gate;

    /// The refusal of a request that names no key.
    fn refuse_keyless(&self) -> Rejected;
}

/// Asks the gate of a request's key.
#[derive(Clone, Debug)]
pub struct ByKey<G, X> {
    gates: G,
    extractor: X,
}

impl<G, X> ByKey<G, X> {
    pub(crate) const fn new(gates: G, extractor: X) -> Self {
        Self { gates, extractor }
    }
}

impl<Req, G, X> Gate<Req> for ByKey<G, X>
where
    G: Gates,
    X: KeyExtractor<Req, Key = G::Key> + Clone,
{
    type Permit = <G::Gate as Gate<()>>::Permit;
    type Wait = <G::Gate as Gate<()>>::Wait;

    fn enter(&self, request: &Req) -> Entry<Self::Permit, Self::Wait> {
        match self.extractor.key(request) {
            Some(key) => self.gates.gate(&key).enter(&()),
            None => Entry::Refused(self.gates.refuse_keyless()),
        }
    }
}
