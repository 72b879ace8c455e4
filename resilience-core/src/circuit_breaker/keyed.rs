use std::{borrow::Borrow, fmt, hash::Hash};

use super::{CircuitBreaker, KeyedLayer, Policy, measure::Figures, shared::Shared};
use crate::{
    Environment, Event, InvalidPolicy, Reason, Rejected, Timestamp,
    engine::{Engine, Hold},
    gate::{ByKey, Gates},
    keyed::{Keyed, Retain, Retention},
    sync::{Arc, Mutex, lock},
};

/// A circuit for each key: host, tenant, method.
///
/// One failing tenant must not take the others out of service, as it does with one circuit for
/// all. At most [`Policy::capacity`] circuits are kept. A circuit that refuses calls now, or has calls under
/// way, is never forgotten to make room for a new key; idle ones go first, then those with the
/// fewest failures in their window. While nothing can be forgotten, new keys share a few circuits
/// between them.
///
/// A clone is another name for the same circuits.
pub struct CircuitBreakers<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    policy: Policy,
    environment: Environment,
    circuits: Keyed<K, Hold<Shared>>,
    /// What was counted besides the circuits that are kept: by forgotten ones, and without a key.
    besides: Arc<Mutex<Figures>>,
}

impl<K: Hash + Eq> CircuitBreakers<K> {
    /// Closed circuits by `policy`.
    ///
    /// # Errors
    ///
    /// A policy that cannot work.
    pub fn new(policy: Policy) -> Result<Self, InvalidPolicy> {
        Self::new_in(policy, &Environment::new())
    }

    /// Closed circuits that take time, chance and observer from `environment`.
    ///
    /// # Errors
    ///
    /// A policy that cannot work.
    pub fn new_in(policy: Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        let inner = Inner {
            circuits: Keyed::new(policy.capacity),
            policy,
            environment: environment.clone(),
            besides: Arc::new(Mutex::new(Figures::default())),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The circuit of `key`, made where there is none. It is kept at least as long as this handle
    /// to it.
    pub fn breaker<Q>(&self, key: &Q) -> CircuitBreaker
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &*self.inner;
        let now = inner.environment.now();
        let make = || Hold::new(inner.make());
        let shared = inner
            .circuits
            .with(key, now, make, |(), shared| shared.clone());
        CircuitBreaker::of_key(shared)
    }

    /// Circuits that are kept now, besides those that are shared.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.circuits.len()
    }

    /// Whether no circuit is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A layer for HTTP and gRPC that asks the circuit of the key which `extractor` finds.
    ///
    /// A request without a key is refused: let the extractor name one for those, where they are
    /// to be let through.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn layer_by<X>(&self, extractor: X) -> KeyedLayer<K, X, crate::Http> {
        self.layer_with(extractor, crate::Http::new())
    }

    /// A layer for any service, whose requests `extractor` and whose answers `classifier`
    /// understands.
    #[must_use]
    pub fn layer_with<X, C>(&self, extractor: X, classifier: C) -> KeyedLayer<K, X, C> {
        KeyedLayer::new(ByKey::new(self.clone(), extractor), classifier)
    }
}

impl<K> CircuitBreakers<K> {
    pub(super) fn name(&self) -> &'static str {
        self.inner.policy.name
    }

    /// What was counted besides [`kept`](Self::kept) circuits.
    pub(super) fn besides(&self) -> Figures {
        *lock(&self.inner.besides)
    }
}

impl<K: Hash + Eq> CircuitBreakers<K> {
    /// All circuits, so that they can be asked with no lock of the map held: an answer may be an
    /// event, whose observer may ask for a circuit.
    pub(super) fn kept(&self) -> Vec<CircuitBreaker> {
        let mut kept = vec![];
        let circuits = &self.inner.circuits;
        circuits.for_each(|shared| kept.push(CircuitBreaker::of_key(shared.clone())));
        kept
    }
}

impl<K> Inner<K> {
    fn make(&self) -> Shared {
        let (policy, environment) = (self.policy.clone(), self.environment.clone());
        Shared::new(policy, environment).leaving_figures_to(self.besides.clone())
    }

    /// Counts and announces the refusal of a request without a key.
    fn refuse_keyless(&self) -> Rejected {
        let rejected = Rejected::new(Reason::MissingKey, self.policy.name);
        lock(&self.besides).add_rejected();
        self.environment.emit(&Event::Rejected(&rejected));
        rejected
    }
}

/// By hand, since keys need not be.
impl<K> Clone for CircuitBreakers<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<K> fmt::Debug for CircuitBreakers<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakers")
            .field("policy", &self.inner.policy)
            .field("circuits", &self.inner.circuits)
            .finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone> Gates for CircuitBreakers<K> {
    type Key = K;
    type Gate = CircuitBreaker;

    fn gate(&self, key: &K) -> CircuitBreaker {
        self.breaker(key)
    }

    fn refuse_keyless(&self) -> Rejected {
        self.inner.refuse_keyless()
    }
}

impl CircuitBreaker {
    const fn of_key(shared: Hold<Shared>) -> Self {
        let shared = Engine::Single(shared);
        Self { shared }
    }
}

impl Retain for Hold<Shared> {
    type Common = ();

    fn retention(&mut self, (): &mut (), _now: Timestamp) -> Retention {
        // Permits and handles out there: a second circuit of the same key would not know of them.
        if !self.is_only() {
            return Retention::Pinned;
        }
        Shared::retention(self)
    }
}
