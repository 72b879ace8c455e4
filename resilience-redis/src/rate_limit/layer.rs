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
    limiter::RateLimiter,
    tiers::{Tiers, Untiered},
};
use crate::{
    StoreKey,
    rate_limit::{
        engine::{
            Answered, Ask, Engine, InLine, Receipt, Standing, Taken, Told,
            both::{self, Begun, Both},
        },
        line,
    },
};

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
        let engine = &self.limiter.engine;
        let wanted = (self.cost.cost(request), engine.max_wait());
        if let Some(key) = self.extractor.key(request) {
            return enter(self.limiter.engine_of(&key), &key, wanted);
        }
        match engine.missing_key {
            MissingKey::Shared => enter(engine, &(), wanted),
            MissingKey::Refuse => match engine.refuse_missing_key() {
                Ok(()) => Entry::Admitted(Permit::of_nothing(engine)),
                Err(rejected) => Entry::Refused(rejected),
            },
            MissingKey::Admit => match &engine.global {
                Some(global) => enter_all(global, wanted),
                None => Entry::Admitted(Permit::of_nothing(engine)),
            },
        }
    }
}

/// A call for `key`, for which `engine` asks.
#[inline]
fn enter<K: StoreKey + ?Sized>(
    engine: &Arc<Engine>,
    key: &K,
    wanted: (u64, u64),
) -> Entry<Permit, Wait> {
    if let Some(global) = &engine.global {
        return match both::ask(engine, global, key, wanted) {
            Begun::Over(answered) => decided(admit_both(engine, answered)),
            Begun::Waits(both) => Entry::Wait(Wait(Stage::Both(both))),
        };
    }
    match engine.ask(key, wanted, None, Arc::clone) {
        Ask::Refused(rejected) => Entry::Refused(rejected),
        Ask::Spared(_) => Entry::Admitted(Permit::of_nothing(engine)),
        Ask::Leased(spent, entry) => decided(admit(engine, entry, engine.leased(wanted.0, &spent))),
        Ask::Waits(caller) => Entry::Wait(Wait(Stage::One(caller))),
    }
}

/// A call that has no key, and meets the quota of all keys alone.
fn enter_all(global: &Arc<Engine>, wanted: (u64, u64)) -> Entry<Permit, Wait> {
    match global.ask(&(), wanted, None, Arc::clone) {
        Ask::Refused(rejected) => Entry::Refused(rejected),
        Ask::Spared(_) => Entry::Admitted(Permit::of_nothing(global)),
        Ask::Leased(spent, entry) => {
            let told = global.counted(wanted.0, global.leased(wanted.0, &spent));
            decided(admit(global, entry, told))
        }
        Ask::Waits(caller) => Entry::Wait(Wait(Stage::One(caller))),
    }
}

fn decided(outcome: Result<Permit, Rejected>) -> Entry<Permit, Wait> {
    outcome.map_or_else(Entry::Refused, Entry::Admitted)
}

/// An admitted call: knows what it took and where its quota stands.
///
/// Dropped, it keeps what it took, since the work of a call whose future was dropped may have been
/// done.
pub struct Permit {
    engine: Arc<Engine>,
    standing: Option<(Standing, QuotaStatus)>,
    receipt: Option<(Arc<line::Entry>, Receipt)>,
    /// Where there is a quota of all keys, what was taken of it and of the key; and what was taken of
    /// this process' part.
    more: Option<Box<[Taken]>>,
}

impl Permit {
    /// Of a call that took nothing.
    fn of_nothing(engine: &Arc<Engine>) -> Self {
        Self {
            engine: Arc::clone(engine),
            standing: None,
            receipt: None,
            more: None,
        }
    }
}

impl Settle for Permit {
    fn settle(self, outcome: Outcome) {
        let charged = match outcome {
            Outcome::NotCalled | Outcome::Ignored => false,
            Outcome::Success | Outcome::Overload { .. } => self.engine.charge == Charge::Every,
            // Failed, canceled, or whatever else there may be one day.
            _ => true,
        };
        if charged {
            return;
        }
        if let Some((entry, receipt)) = self.receipt {
            self.engine.give_back(&entry, receipt);
        }
        if let Some(more) = self.more {
            more.into_iter().for_each(Taken::give_back);
        }
    }

    /// Tells where the quota stood after the call was admitted, as far as the server said so. A
    /// shadow policy limits nobody and tells nothing.
    fn annotate(&self, headers: &mut http::HeaderMap) {
        if let Some((Standing { name, next_back }, status)) = &self.standing
            && !self.engine.is_shadow()
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
pub struct Wait(Stage);

enum Stage {
    One(InLine),
    Both(Box<Both>),
}

impl Future for Wait {
    type Output = Result<Permit, Rejected>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match &mut self.0 {
            Stage::One(caller) => {
                let told = ready!(Pin::new(&mut *caller).poll(context));
                admit(caller.engine(), Arc::clone(caller.entry()), told)
            }
            Stage::Both(both) => {
                let answered = ready!(Pin::new(&mut **both).poll(context));
                admit_both(both.engine(), answered)
            }
        })
    }
}

/// By hand, since keys are nobody's business.
impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").finish_non_exhaustive()
    }
}

#[inline]
fn admit(engine: &Arc<Engine>, entry: Arc<line::Entry>, told: Told) -> Result<Permit, Rejected> {
    if told.is_of_part() {
        return admit_by_part(engine, &entry, told);
    }
    let receipt = told.receipt;
    let permit = permit(engine, told)?;
    Ok(Permit {
        receipt: receipt.map(|receipt| (entry, receipt)),
        ..permit
    })
}

/// Who took of this process' part, in place of the server's counts or beside them.
#[cold]
fn admit_by_part(
    engine: &Arc<Engine>,
    entry: &Arc<line::Entry>,
    told: Told,
) -> Result<Permit, Rejected> {
    let mut heard = Told::from(told.decision.clone());
    heard.standing = told.standing;
    let taken = Taken::new(engine, entry, told);
    Ok(Permit {
        more: Some(Box::new([taken])),
        ..permit(engine, heard)?
    })
}

fn admit_both(engine: &Arc<Engine>, answered: Answered) -> Result<Permit, Rejected> {
    let Answered { told, taken } = answered;
    let permit = permit(engine, told)?;
    Ok(Permit {
        more: taken.map(|taken| taken as Box<[Taken]>),
        ..permit
    })
}

#[inline]
fn permit(engine: &Arc<Engine>, told: Told) -> Result<Permit, Rejected> {
    let standing = told.standing;
    told.decision.outcome.map(|status| Permit {
        standing: standing.map(|standing| (standing, status)),
        ..Permit::of_nothing(engine)
    })
}
