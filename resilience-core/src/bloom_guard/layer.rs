use std::{borrow::Borrow, fmt, hash::Hash};

use super::{
    Bloom, BloomGuard, Filter,
    shared::{Asked, Shared},
};
use crate::{
    Classifier, KeyExtractor, Outcome, Rejectable, Results, Settle,
    address::Address,
    classify::fail_on_unwind,
    gate::{self, Entry, Immediate, Never},
};

/// Puts a [`BloomGuard`] in front of a service. Every service it makes shares the guard.
pub type Layer<K, X, C, F = Bloom> = gate::Layer<Gate<K, X, F>, C, Immediate>;

/// A service behind a [`BloomGuard`].
pub type Service<S, K, X, C, F = Bloom> = gate::Service<S, Gate<K, X, F>, C, Immediate>;

/// A [`BloomGuard`] that finds the key of a request.
pub struct Gate<K: ?Sized, X, F: Filter = Bloom> {
    guard: BloomGuard<K, F>,
    extractor: X,
}

impl<K: ?Sized, X, F: Filter> Gate<K, X, F> {
    pub(super) const fn new(guard: BloomGuard<K, F>, extractor: X) -> Self {
        Self { guard, extractor }
    }
}

impl<Req, K, X, F> gate::Gate<Req> for Gate<K, X, F>
where
    K: Hash + ?Sized,
    X: KeyExtractor<Req, Key: Borrow<K>> + Clone,
    F: Filter,
{
    type Permit = Permit<F>;
    type Wait = Never<Permit<F>>;

    fn enter(&self, request: &Req) -> Entry<Permit<F>, Never<Permit<F>>> {
        let Some(key) = self.extractor.key(request) else {
            return Entry::Admitted(Permit::unasked(&self.guard.shared));
        };
        gate::Gate::enter(&self.guard, &key.borrow())
    }
}

/// By hand, since keys need not be `Clone` for this.
impl<K: ?Sized, X: Clone, F: Filter> Clone for Gate<K, X, F> {
    fn clone(&self) -> Self {
        Self::new(self.guard.clone(), self.extractor.clone())
    }
}

/// By hand, since closures are not `Debug`.
impl<K: ?Sized, X, F: Filter> fmt::Debug for Gate<K, X, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

/// A call for a key that may exist.
///
/// Dropped, or settled as anything but a success, it has learned nothing: only an answer says
/// that a key does not exist, never an error.
#[must_use = "a permit that is dropped counts as a canceled call"]
pub struct Permit<F: Filter = Bloom> {
    /// What few calls have something to tell, and none keeps.
    guard: Address<Shared<F>>,
    asked: Question,
}

/// What the filter was asked.
#[derive(Clone, Copy)]
enum Question {
    Nothing,
    Key(Asked),
    /// It let a key pass that is not there.
    Missed(Asked),
}

impl<F: Filter> Permit<F> {
    #[inline]
    pub(super) const fn new(shared: &Shared<F>, asked: Asked) -> Self {
        Self {
            guard: shared.address(),
            asked: Question::Key(asked),
        }
    }

    /// Of a call that the filter was not asked about.
    pub(super) const fn unasked(shared: &Shared<F>) -> Self {
        Self {
            guard: shared.address(),
            asked: Question::Nothing,
        }
    }
}

impl<F: Filter> Settle for Permit<F> {
    // Inlined, so that a permit that has learned nothing need not be handed on.
    #[inline(always)]
    fn settle(self, outcome: Outcome) {
        if let (Question::Missed(asked), Outcome::Success) = (self.asked, outcome)
            && let Some(guard) = self.guard.find()
        {
            guard.missed(asked);
        }
    }

    fn not_found(&mut self) {
        if let Question::Key(asked) = self.asked {
            self.asked = Question::Missed(asked);
        }
    }
}

/// By hand, since keys are nobody's business.
impl<F: Filter> fmt::Debug for Permit<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

/// A classifier for services with types of their own: a closure says which results mean that the
/// key does not exist. All others are as [`Results`] has them.
///
/// An `Err` can mean so too, and is a success then: the service did its work.
#[derive(Clone, Copy, Debug)]
pub struct NotFound<P>(P);

impl<P> NotFound<P> {
    /// `predicate` says which results mean "not found".
    #[must_use]
    pub const fn when<Res, Err>(predicate: P) -> Self
    where
        P: Fn(&Result<Res, Err>) -> bool,
    {
        Self(predicate)
    }
}

impl<P, Res, Err> Classifier<Res, Err> for NotFound<P>
where
    P: Fn(&Result<Res, Err>) -> bool,
    Err: Rejectable,
{
    type Response<T: Settle> = Res;

    fn watch<T: Settle>(&self, result: Result<Res, Err>, permit: T) -> Result<Res, Err> {
        let mut permit = Some(permit);
        let missed = fail_on_unwind(&mut permit, || (self.0)(&result));
        let Some(mut permit) = permit else {
            return result;
        };
        if missed {
            permit.not_found();
            permit.settle(Outcome::Success);
            return result;
        }
        Results.watch(result, permit)
    }
}
