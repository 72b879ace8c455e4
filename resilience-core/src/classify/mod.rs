//! What an answer means, and when that is known.

#[cfg(feature = "http")]
mod body;
#[cfg(feature = "http")]
mod http;

#[cfg(feature = "http")]
pub(crate) use self::http::digits;
#[cfg(feature = "http")]
pub use self::{body::WatchedBody, http::Http};

use std::mem;

use crate::{Outcome, Rejectable};

/// An admitted call on its way: told once what became of it.
///
/// Dropped without having been told, the call was canceled.
pub trait Settle {
    /// The call is over.
    fn settle(self, outcome: Outcome);

    /// The head of the answer is here, while its body is still to come.
    fn answered(&mut self) {}

    /// The answer says that what was asked for does not exist; the outcome follows.
    fn not_found(&mut self) {}

    /// Adds what the layer has to say to the head of the answer.
    #[cfg(feature = "http")]
    fn annotate(&self, _headers: &mut ::http::HeaderMap) {}
}

/// Says what the result of a call means, and when that is known.
///
/// Closures `Fn(&Result<Res, Err>) -> Outcome` are classifiers, decided as soon as the call
/// returns; [`Results`] takes every `Err` for a failure; [`Http`] understands HTTP and gRPC and
/// looks on until the end of the body.
///
/// A closure that panics counts as a failed call, and the panic goes on. An answer to HEAD whose
/// body nobody polls is one dropped before its end: it has no vote.
pub trait Classifier<Res, Err> {
    /// What the caller gets instead of `Res` while `P` is still to be settled.
    type Response<P: Settle>;

    /// Settles `permit` by `result`, now or when the rest of the answer has been seen.
    ///
    /// # Errors
    ///
    /// The error of `result`, unchanged.
    fn watch<P: Settle>(
        &self,
        result: Result<Res, Err>,
        permit: P,
    ) -> Result<Self::Response<P>, Err>;
}

impl<F, Res, Err> Classifier<Res, Err> for F
where
    F: Fn(&Result<Res, Err>) -> Outcome,
{
    type Response<P: Settle> = Res;

    #[inline]
    fn watch<P: Settle>(&self, result: Result<Res, Err>, permit: P) -> Result<Res, Err> {
        let mut permit = Some(permit);
        let outcome = fail_on_unwind(&mut permit, || self(&result));
        if let Some(permit) = permit {
            permit.settle(outcome);
        }
        result
    }
}

/// Every `Ok` is a success and every `Err` a failure, but for refusals of our own layers, which
/// are [`Outcome::NotCalled`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Results;

impl<Res, Err: Rejectable> Classifier<Res, Err> for Results {
    type Response<P: Settle> = Res;

    #[inline(always)]
    fn watch<P: Settle>(&self, result: Result<Res, Err>, permit: P) -> Result<Res, Err> {
        permit.settle(match &result {
            Ok(_) => Outcome::Success,
            Err(error) => outcome_of_error(error),
        });
        result
    }
}

/// What an error means to every layer further out.
pub(crate) fn outcome_of_error(error: &impl Rejectable) -> Outcome {
    error
        .as_rejected()
        .map_or(Outcome::Failure, crate::Rejected::outcome)
}

/// Runs `act`, whose panic settles the permit as a failure on its way out.
///
/// A future that panicked is dropped later, when nobody can tell any more that it did; only the
/// frame that unwinds knows.
#[inline(always)]
pub(crate) fn fail_on_unwind<P: Settle, R>(permit: &mut Option<P>, act: impl FnOnce() -> R) -> R {
    let guard = FailOnUnwind(permit);
    let result = act();
    mem::forget(guard);
    result
}

/// Dropped by unwinding alone.
struct FailOnUnwind<'a, P: Settle>(&'a mut Option<P>);

impl<P: Settle> Drop for FailOnUnwind<'_, P> {
    #[cold]
    fn drop(&mut self) {
        if let Some(permit) = self.0.take() {
            permit.settle(Outcome::Failure);
        }
    }
}
