use std::{
    marker::PhantomData,
    task::{Context, Poll, ready},
};

use super::{Gate, Watched};
use crate::{
    Outcome, Reason, Rejectable, Rejected, Timestamp,
    classify::{Settle, fail_on_unwind, outcome_of_error},
};

/// Puts a gate in front of a service. Every service it makes shares the gate.
///
/// `M` is [`Immediate`](super::Immediate) or [`Waiting`](super::Waiting).
#[derive(Debug)]
pub struct Layer<G, C, M> {
    gate: G,
    classifier: C,
    mode: PhantomData<fn() -> M>,
}

impl<G, C, M> Layer<G, C, M> {
    /// A layer that asks `gate`, and judges the calls it admits by `classifier`.
    #[must_use]
    pub const fn new(gate: G, classifier: C) -> Self {
        Self {
            gate,
            classifier,
            mode: PhantomData,
        }
    }

    /// Puts another gate in the place of this one.
    #[must_use]
    pub fn map_gate<H>(self, change: impl FnOnce(G) -> H) -> Layer<H, C, M> {
        Layer::new(change(self.gate), self.classifier)
    }
}

/// By hand, since the mode is only a name.
impl<G: Clone, C: Clone, M> Clone for Layer<G, C, M> {
    fn clone(&self) -> Self {
        Self::new(self.gate.clone(), self.classifier.clone())
    }
}

impl<S, G: Clone, C: Clone, M> tower_layer::Layer<S> for Layer<G, C, M> {
    type Service = Service<S, G, C, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Service {
            inner,
            readiness: Readiness::Unknown,
            gate: self.gate.clone(),
            classifier: self.classifier.clone(),
            mode: PhantomData,
        }
    }
}

/// A service behind a gate.
#[derive(Debug)]
pub struct Service<S, G, C, M> {
    pub(super) inner: S,
    pub(super) readiness: Readiness,
    pub(super) gate: G,
    pub(super) classifier: C,
    mode: PhantomData<fn() -> M>,
}

/// What `poll_ready` found, for one call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Readiness {
    /// It was not asked.
    #[default]
    Unknown,
    /// The inner service can take a call.
    Proven,
    /// No matter: the call will be refused.
    Refused {
        /// When that was found.
        asked: Timestamp,
    },
}

/// By hand, since a clone is not ready: readiness was proven for one instance alone.
impl<S: Clone, G: Clone, C: Clone, M> Clone for Service<S, G, C, M> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            readiness: Readiness::Unknown,
            gate: self.gate.clone(),
            classifier: self.classifier.clone(),
            mode: PhantomData,
        }
    }
}

impl<S, G, C, M> Service<S, G, C, M> {
    /// Whether the inner service can take a call.
    #[inline]
    pub(super) fn poll_inner<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: tower_service::Service<Req, Error: Rejectable>,
        G: Gate<Req>,
    {
        let result = ready!(self.inner.poll_ready(cx));
        match &result {
            Ok(()) => self.readiness = Readiness::Proven,
            Err(error) => self.hear_of::<Req>(error),
        }
        Poll::Ready(result)
    }

    /// A refusal further in is no failure of the service, unless it says so of itself: of a panic, for
    /// one.
    #[cold]
    #[inline(never)]
    fn hear_of<Req>(&self, error: &impl Rejectable)
    where
        G: Gate<Req>,
    {
        if outcome_of_error(error) == Outcome::Failure {
            self.gate.readiness_failed();
        }
    }
}

/// Makes an admitted call.
#[inline(always)]
pub(super) fn watch<S, Req, P, C>(
    inner: &mut S,
    request: Req,
    permit: P,
    classifier: C,
) -> Watched<S::Future, P, C>
where
    S: tower_service::Service<Req>,
    P: Settle,
{
    let mut permit = Some(permit);
    let future = fail_on_unwind(&mut permit, || inner.call(request));
    Watched::new(future, permit, classifier)
}

pub(crate) const fn not_ready() -> Rejected {
    Rejected::new(Reason::NotReady, "tower")
}
