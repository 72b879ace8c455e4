use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use resilience_core::{
    Http, KeyExtractor, Outcome, QuotaStatus, Rejected, Settle,
    gate::{self, Entry, Waiting},
    rate_limit::{Charge, Cost, Everybody, MissingKey, OneUnit, Priced},
    respond,
};

use super::{
    ask::{Ask, Place, Receipt, Standing, Told},
    limiter::RateLimiter,
    shared::Shared,
    table,
    tiers::{Tiers, Untiered},
};
use crate::StoreKey;

/// Puts a [`RateLimiter`] in front of a service. Every service it makes shares the limiter.
pub type Layer<E, C, N = OneUnit, T = Untiered> = gate::Layer<Gate<E, N, T>, C, Waiting>;

/// A service behind a [`RateLimiter`].
pub type Service<S, E, C, N = OneUnit, T = Untiered> = gate::Service<S, Gate<E, N, T>, C, Waiting>;

impl RateLimiter {
    /// A layer for HTTP and gRPC: all requests share the limiter.
    ///
    /// Answers carry the `RateLimit-Policy` and `RateLimit` fields, also when they were allowed.
    #[must_use]
    pub fn layer(&self) -> Layer<Everybody, Http> {
        self.layer_by(Everybody)
    }
}

impl<T: Clone> RateLimiter<T> {
    /// A layer for HTTP and gRPC that limits each key that `extractor` finds.
    ///
    /// Answers carry the `RateLimit-Policy` and `RateLimit` fields, also when they were allowed.
    #[must_use]
    pub fn layer_by<E>(&self, extractor: E) -> Layer<E, Http, OneUnit, T> {
        self.layer_with(extractor, Http::default())
    }

    /// A layer for any service: `extractor` finds the key ([`Everybody`] where there are none),
    /// `classifier` says what became of a call.
    #[must_use]
    pub fn layer_with<E, C>(&self, extractor: E, classifier: C) -> Layer<E, C, OneUnit, T> {
        let gate = Gate {
            limiter: self.clone(),
            extractor,
            cost: OneUnit,
        };
        gate::Layer::new(gate, classifier)
    }
}

/// A [`RateLimiter`] that knows whose a request is and what it costs.
#[derive(Clone)]
pub struct Gate<E, N = OneUnit, T = Untiered> {
    limiter: RateLimiter<T>,
    extractor: E,
    cost: N,
}

impl<E, C, T> Priced for Gate<E, C, T> {
    type At<N> = Gate<E, N, T>;

    fn at<N>(self, cost: N) -> Gate<E, N, T> {
        let Self {
            limiter, extractor, ..
        } = self;
        Gate {
            limiter,
            extractor,
            cost,
        }
    }
}

/// By hand, since closures are not `Debug`.
impl<E, N, T> fmt::Debug for Gate<E, N, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

impl<Req, E, N, T> gate::Gate<Req> for Gate<E, N, T>
where
    E: KeyExtractor<Req> + Clone,
    E::Key: StoreKey,
    N: Cost<Req> + Clone,
    T: Tiers<E::Key> + Clone,
{
    type Permit = Permit;
    type Wait = Wait;

    fn enter(&self, request: &Req) -> Entry<Permit, Wait> {
        let mut shared = &self.limiter.shared;
        let cost = (self.cost.cost(request), shared.max_wait());
        let ask = match self.extractor.key(request) {
            Some(key) => {
                shared = self.limiter.engine(&key);
                shared.ask(&key, cost, None, Arc::clone)
            }
            None => match shared.missing_key {
                MissingKey::Shared => shared.ask(&(), cost, None, Arc::clone),
                MissingKey::Refuse => {
                    return match shared.refuse_missing_key() {
                        Ok(()) => Entry::Admitted(Permit::of_nothing(shared)),
                        Err(rejected) => Entry::Refused(rejected),
                    };
                }
                MissingKey::Admit => return Entry::Admitted(Permit::of_nothing(shared)),
            },
        };
        match ask {
            Ask::Refused(rejected) => Entry::Refused(rejected),
            Ask::Spared(_) => Entry::Admitted(Permit::of_nothing(shared)),
            Ask::Leased(spent, entry) => {
                match admit(shared, entry, shared.leased(cost.0, &spent)) {
                    Ok(permit) => Entry::Admitted(permit),
                    Err(rejected) => Entry::Refused(rejected),
                }
            }
            Ask::Waits(place) => Entry::Wait(Wait(place)),
        }
    }
}

/// An admitted call: knows what it took and where its quota stands.
///
/// Dropped, it keeps what it took, since the work of a call whose future was dropped may have been
/// done.
pub struct Permit {
    shared: Arc<Shared>,
    standing: Option<(Standing, QuotaStatus)>,
    receipt: Option<(Arc<table::Entry>, Receipt)>,
}

impl Permit {
    /// Of a call that took nothing.
    fn of_nothing(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            standing: None,
            receipt: None,
        }
    }
}

impl Settle for Permit {
    fn settle(self, outcome: Outcome) {
        let charged = match outcome {
            Outcome::NotCalled | Outcome::Ignored => false,
            Outcome::Success | Outcome::Overload { .. } => self.shared.charge == Charge::Every,
            // Failed, canceled, or whatever else there may be one day.
            _ => true,
        };
        if let Some((entry, receipt)) = self.receipt
            && !charged
        {
            self.shared.give_back(&entry, receipt);
        }
    }

    /// Tells where the quota stood after the call was admitted, as far as the server said so. A
    /// shadow policy limits nobody and tells nothing.
    fn annotate(&self, headers: &mut http::HeaderMap) {
        if let Some((Standing { name, next_back }, status)) = &self.standing
            && !self.shared.is_shadow()
        {
            respond::append_quota(headers, name, status, *next_back);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}

/// A call that waits for a decision. Dropped, it takes nothing.
#[must_use = "futures do nothing unless polled"]
pub struct Wait(Place);

impl Future for Wait {
    type Output = Result<Permit, Rejected>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let told = ready!(Pin::new(&mut self.0).poll(context));
        let entry = Arc::clone(self.0.entry());
        Poll::Ready(admit(self.0.shared(), entry, told))
    }
}

/// By hand, since keys are nobody's business.
impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").finish_non_exhaustive()
    }
}

fn admit(shared: &Arc<Shared>, entry: Arc<table::Entry>, told: Told) -> Result<Permit, Rejected> {
    let Told {
        decision,
        standing,
        receipt,
    } = told;
    decision.outcome.map(|status| Permit {
        shared: Arc::clone(shared),
        standing: standing.map(|standing| (standing, status)),
        receipt: receipt.map(|receipt| (entry, receipt)),
    })
}
