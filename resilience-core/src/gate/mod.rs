//! The one Tower shell of every layer that asks before it calls.
//!
//! A rate limit, a circuit breaker and a bulkhead differ in what they decide, not in how a
//! decision becomes a call. Each is a [`Gate`]; the services here ask it, refuse at once or after
//! a wait, call the inner service, and see the call to its end with a
//! [`Classifier`].
//!
//! [`Immediate`] gates answer at once and ask nothing of the inner service; [`Waiting`] gates may
//! make a caller wait, and need `S: Clone` because such a call outlives its borrow of the service.
//!
//! A call that a waiting gate does not admit at once gives back what the inner service had reserved
//! when it was ready. Where an immediate gate refuses such a call, that stays with the instance,
//! for its next call: drop an instance that is not called again.

mod by_key;
mod immediate;
mod shell;
mod waiting;
mod watched;

pub(crate) use self::shell::not_ready;
pub use self::{
    by_key::{ByKey, Gates},
    immediate::{Immediate, ResponseFuture as ImmediateFuture},
    shell::{Layer, Service},
    waiting::{ResponseFuture as WaitingFuture, Waiting},
    watched::Watched,
};

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    Error, Rejectable, Rejected, Results, Timestamp,
    classify::{Classifier, Settle, fail_on_unwind},
};

/// Decides about calls, one at a time.
pub trait Gate<Req>: Clone {
    /// The way back for an admitted call.
    type Permit: Settle;

    /// A wait that ends in a decision; [`Never`] for gates that decide at once.
    type Wait: Future<Output = Result<Self::Permit, Rejected>>;

    /// Asks for admission.
    fn enter(&self, request: &Req) -> Entry<Self::Permit, Self::Wait>;

    /// The time now, where every request would be refused, so that nobody need wait until the
    /// inner service is ready.
    #[inline]
    fn refuses_all(&self) -> Option<Timestamp> {
        None
    }

    /// Refuses the request that came after [`refuses_all`](Self::refuses_all) had said `asked`.
    /// It may say so no more, but the inner service was not asked whether it is ready.
    fn refuse(&self, _asked: Timestamp) -> Rejected {
        not_ready()
    }

    /// The inner service failed before a call could be made; not where a refusal says that
    /// it [was not called](Rejected::outcome).
    fn readiness_failed(&self) {}
}

/// What a [`Gate`] says.
#[derive(Debug)]
pub enum Entry<P, W> {
    /// Go.
    Admitted(P),
    /// No.
    Refused(Rejected),
    /// The answer comes later.
    Wait(W),
}

/// The wait of a gate that never lets anybody wait.
#[derive(Debug)]
pub struct Never<P> {
    never: Infallible,
    permit: std::marker::PhantomData<fn() -> P>,
}

impl<P> Future for Never<P> {
    type Output = Result<P, Rejected>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.never {}
    }
}

/// Asks `gate`, then runs `operation`, whose every `Err` is a failure: a layer without Tower, for
/// any error.
///
/// # Errors
///
/// The refusal, or the error of `operation`.
pub async fn call<G, Req, F, Fut, T, E>(
    gate: &G,
    request: &Req,
    operation: F,
) -> Result<T, Error<E>>
where
    G: Gate<Req>,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let operation = || {
        let future = operation();
        async { future.await.map_err(Error::Inner) }
    };
    call_with(gate, request, Results, operation).await
}

/// Asks `gate`, then runs `operation` and lets `classifier` see it to its end: a layer without
/// Tower, for errors that can carry a refusal.
///
/// # Errors
///
/// The refusal, or the error of `operation`.
pub async fn call_with<G, Req, C, F, Fut, T, E>(
    gate: &G,
    request: &Req,
    classifier: C,
    operation: F,
) -> Result<C::Response<G::Permit>, E>
where
    G: Gate<Req>,
    C: Classifier<T, E>,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Rejectable,
{
    let permit = match gate.enter(request) {
        Entry::Admitted(permit) => Ok(permit),
        Entry::Refused(rejected) => Err(rejected),
        Entry::Wait(wait) => wait.await,
    };
    let mut permit = Some(permit.map_err(E::from_rejected)?);
    let future = fail_on_unwind(&mut permit, operation);
    Watched::new(future, permit, classifier).await
}
