use std::{
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project::pin_project;

use super::{
    limiter::RateLimiter,
    policy::Charge,
    reservation::{Held, Pending},
    shared::Whose,
};
#[cfg(feature = "http")]
use crate::{Http, respond::fields};
use crate::{
    KeyExtractor, Outcome, Rejected, Settle,
    gate::{self, Entry, Waiting},
};

/// Puts a [`RateLimiter`] in front of a service. Every service it makes shares the limiter.
pub type Layer<K, E, C, N = OneUnit> = gate::Layer<Gate<K, E, N>, C, Waiting>;

/// A service behind a [`RateLimiter`].
pub type Service<S, K, E, C, N = OneUnit> = gate::Service<S, Gate<K, E, N>, C, Waiting>;

/// Says what a request costs. Closures `Fn(&Req) -> u64` do.
pub trait Cost<Req> {
    /// Units to take; none are always allowed.
    fn cost(&self, request: &Req) -> u64;
}

impl<F, Req> Cost<Req> for F
where
    F: Fn(&Req) -> u64,
{
    fn cost(&self, request: &Req) -> u64 {
        self(request)
    }
}

/// Every request costs one unit.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneUnit;

impl<Req> Cost<Req> for OneUnit {
    fn cost(&self, _request: &Req) -> u64 {
        1
    }
}

/// The key of every request where there are no keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everybody;

impl<Req> KeyExtractor<Req> for Everybody {
    type Key = ();

    fn key(&self, _request: &Req) -> Option<()> {
        Some(())
    }
}

#[cfg(feature = "http")]
impl RateLimiter {
    /// A layer for HTTP and gRPC: all requests share the limiter.
    ///
    /// Answers carry the `RateLimit-Policy` and `RateLimit` fields, also when they were allowed.
    #[must_use]
    pub fn layer(&self) -> Layer<(), Everybody, Http> {
        self.layer_by(Everybody)
    }
}

impl<K: Hash + Eq + Clone + Send + 'static> RateLimiter<K> {
    /// A layer for HTTP and gRPC that limits each key that `extractor` finds.
    ///
    /// Answers carry the `RateLimit-Policy` and `RateLimit` fields, also when they were allowed.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn layer_by<E>(&self, extractor: E) -> Layer<K, E, Http> {
        self.layer_with(extractor, Http::default())
    }

    /// A layer for any service: `extractor` finds the key ([`Everybody`] where there are none),
    /// `classifier` says what became of a call.
    #[must_use]
    pub fn layer_with<E, C>(&self, extractor: E, classifier: C) -> Layer<K, E, C> {
        let gate = Gate::new(self.clone(), extractor, OneUnit);
        gate::Layer::new(gate, classifier)
    }
}

impl<G: Priced, C, M> gate::Layer<G, C, M> {
    /// Sets what a request costs, by a closure for example. Default: one unit.
    #[must_use]
    pub fn cost<N>(self, cost: N) -> gate::Layer<G::At<N>, C, M> {
        self.map_gate(|gate| gate.at(cost))
    }
}

/// A gate that takes units for each request: that of this limiter, and of one whose counts stand
/// elsewhere.
pub trait Priced {
    /// The same gate, with a [`Cost`] of its own.
    type At<N>;

    /// Sets what a request costs.
    fn at<N>(self, cost: N) -> Self::At<N>;
}

impl<K, E, C> Priced for Gate<K, E, C> {
    type At<N> = Gate<K, E, N>;

    fn at<N>(self, cost: N) -> Gate<K, E, N> {
        Gate::new(self.limiter, self.extractor, cost)
    }
}

/// A [`RateLimiter`] that knows whose a request is and what it costs.
pub struct Gate<K, E, N = OneUnit> {
    limiter: RateLimiter<K>,
    extractor: E,
    cost: N,
}

impl<K, E, N> Gate<K, E, N> {
    pub(super) const fn new(limiter: RateLimiter<K>, extractor: E, cost: N) -> Self {
        Self {
            limiter,
            extractor,
            cost,
        }
    }
}

/// By hand, since keys need not be `Clone` for this.
impl<K, E: Clone, N: Clone> Clone for Gate<K, E, N> {
    fn clone(&self) -> Self {
        Self::new(
            self.limiter.clone(),
            self.extractor.clone(),
            self.cost.clone(),
        )
    }
}

/// By hand, since closures are not `Debug`.
impl<K, E, N> fmt::Debug for Gate<K, E, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

impl<Req, K, E, N> gate::Gate<Req> for Gate<K, E, N>
where
    K: Hash + Eq + Clone + Send + 'static,
    E: KeyExtractor<Req, Key = K> + Clone,
    N: Cost<Req> + Clone,
{
    type Permit = Permit<K>;
    type Wait = Wait<K>;

    #[inline(always)]
    fn enter(&self, request: &Req) -> Entry<Permit<K>, Wait<K>> {
        let shared = &*self.limiter.shared;
        let whose = match self.extractor.key(request) {
            Some(key) => Whose::Key(key),
            None => match shared.without_key() {
                Ok(Some(whose)) => whose,
                Ok(None) => return Entry::Admitted(Permit::free()),
                Err(rejected) => return Entry::Refused(rejected),
            },
        };
        let (read, cost) = (|| shared.read(), self.cost.cost(request));
        match shared.admit(whose.as_ref(), read, cost, || shared.max_wait()) {
            Ok(passed) => {
                let held = Held::new(shared, whose, Some(passed.booking));
                Entry::Admitted(Permit::new(held, shared.charge()))
            }
            Err(Ok(admission)) => {
                let held = Held::new(shared, whose, admission.booking);
                if admission.wait.is_zero() {
                    return Entry::Admitted(Permit::new(held, shared.charge()));
                }
                Entry::Wait(Wait::new(held, shared.charge(), admission.wait))
            }
            Err(Err(rejected)) => Entry::Refused(rejected),
        }
    }
}

/// An admitted call: knows what it took, and from which quotas.
///
/// Dropped, it keeps what it took, since the work of a call whose future was dropped may have been
/// done.
#[derive(Debug)]
pub struct Permit<K>(Option<Held<K>>, Charge);

impl<K> Permit<K> {
    #[inline]
    const fn new(held: Held<K>, charge: Charge) -> Self {
        Self(Some(held), charge)
    }

    /// Of a call that meets no quota.
    const fn free() -> Self {
        Self(None, Charge::Every)
    }
}

impl<K: Hash + Eq + Clone + Send + 'static> Settle for Permit<K> {
    #[inline]
    fn settle(self, outcome: Outcome) {
        let charged = match (outcome, self.1) {
            (Outcome::NotCalled | Outcome::Ignored, _) => false,
            (Outcome::Failure | Outcome::Canceled, _) => true,
            (Outcome::Success | Outcome::Overload { .. }, Charge::Every) => true,
            (Outcome::Success | Outcome::Overload { .. }, Charge::Failures) => false,
        };
        if !charged && let Some(mut held) = self.0 {
            held.give_back();
        }
    }

    /// Tells where the quota stands when the answer leaves. A shadow policy limits nobody and
    /// tells nothing.
    #[cfg(feature = "http")]
    fn annotate(&self, headers: &mut http::HeaderMap) {
        if let Some(held) = &self.0
            && let Some(standing) = held.standing()
        {
            fields::append(headers, standing.name, &standing.status, standing.next_back);
        }
    }
}

/// A call that waits for its units. Dropped, it gives them back.
///
/// The wait is Tokio's: a call that must wait panics outside of a runtime with timers, and takes
/// nothing then.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Wait<K: Hash + Eq + Clone + Send + 'static> {
    #[pin]
    sleep: tokio::time::Sleep,
    pending: Pending<K>,
    charge: Charge,
}

impl<K: Hash + Eq + Clone + Send + 'static> Wait<K> {
    /// Not inlined, since few calls wait: what goes back where this panics would stay in memory on
    /// the way of all.
    #[inline(never)]
    fn new(held: Held<K>, charge: Charge, wait: Duration) -> Self {
        // First of all: outside of a runtime there is no sleep, and the units go back.
        let pending = Pending::new(held);
        Self {
            sleep: tokio::time::sleep(wait),
            pending,
            charge,
        }
    }
}

impl<K: Hash + Eq + Clone + Send + 'static> Future for Wait<K> {
    type Output = Result<Permit<K>, Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        ready!(this.sleep.poll(cx));
        let held = this.pending.use_now();
        Poll::Ready(Ok(Permit::new(held, *this.charge)))
    }
}

/// By hand, since keys are nobody's business.
impl<K: Hash + Eq + Clone + Send + 'static> fmt::Debug for Wait<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").finish_non_exhaustive()
    }
}
