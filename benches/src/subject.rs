use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use tower::{Service, ServiceExt as _};

use crate::KEYS;

/// What is timed: built once, and called by any number of threads.
pub trait Subject: Sync {
    /// Makes `number` calls, one after the other, as the caller `caller`.
    ///
    /// # Panics
    ///
    /// When one of them comes to anything but what its benchmark is named for.
    fn calls(&self, caller: u64, number: u64);

    /// Calls that can only be made together: numbers are multiples of it.
    fn batch(&self) -> u64 {
        1
    }
}

/// What every call of a benchmark must come to, so that it measures what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The call goes through, and answers what it was asked.
    Admitted,
    /// The layer refuses it.
    Refused,
}

impl Expect {
    /// To look at the answer keeps it from being optimised away.
    #[inline]
    fn is_met(self, request: u64, answer: Option<u64>) -> bool {
        match self {
            Self::Admitted => answer == Some(request),
            Self::Refused => answer.is_none(),
        }
    }
}

/// A service around [`Bare`](crate::Bare): a call is readiness, `call`, and polling to the end.
#[derive(Debug)]
pub struct Plain<S> {
    expect: Expect,
    service: S,
    keys: u64,
}

/// `service`, whose every call comes to `expect`.
pub const fn layered<S>(expect: Expect, service: S) -> Plain<S>
where
    S: Service<u64, Response = u64> + Clone + Sync,
{
    Plain {
        expect,
        service,
        keys: KEYS,
    }
}

impl<S> Plain<S> {
    /// Asks for the numbers below `keys`. Default: [`KEYS`].
    #[must_use]
    pub fn of_keys(self, keys: u64) -> Self {
        Self { keys, ..self }
    }
}

impl<S: Service<u64, Response = u64> + Clone + Sync> Subject for Plain<S> {
    #[inline]
    fn calls(&self, caller: u64, number: u64) {
        let mut service = self.service.clone();
        walk(caller, number, self.keys, |request| {
            let answer = call(&mut service, request).ok();
            assert!(self.expect.is_met(request, answer), "{:?}", self.expect);
        });
    }
}

/// Calls that are made while something else is held.
#[derive(Debug)]
pub struct While<H, S> {
    _held: H,
    subject: S,
}

/// `subject`, for as long as `held` is.
pub const fn holding<H: Sync, S: Subject>(held: H, subject: S) -> While<H, S> {
    While {
        _held: held,
        subject,
    }
}

impl<H: Sync, S: Subject> Subject for While<H, S> {
    #[inline]
    fn calls(&self, caller: u64, number: u64) {
        self.subject.calls(caller, number);
    }
}

/// What is asked by a key, without a service.
#[derive(Debug)]
pub struct Keyed<T, F> {
    expect: Expect,
    shared: T,
    ask: F,
    keys: u64,
}

/// `shared`, asked by `ask`, which says whether the call would go through.
pub const fn keyed<T, F>(expect: Expect, shared: T, ask: F) -> Keyed<T, F>
where
    T: Sync,
    F: Fn(&T, u64) -> bool + Sync,
{
    Keyed {
        expect,
        shared,
        ask,
        keys: KEYS,
    }
}

impl<T, F> Keyed<T, F> {
    /// Asks for the numbers below `keys`. Default: [`KEYS`].
    #[must_use]
    pub fn of_keys(self, keys: u64) -> Self {
        Self { keys, ..self }
    }
}

impl<T: Sync, F: Fn(&T, u64) -> bool + Sync> Subject for Keyed<T, F> {
    #[inline]
    fn calls(&self, caller: u64, number: u64) {
        walk(caller, number, self.keys, |key| {
            assert_eq!(
                (self.ask)(&self.shared, key),
                self.expect == Expect::Admitted
            );
        });
    }
}

/// A service around [`BareHttp`](crate::BareHttp): a call ends with the end of its answer's body.
#[derive(Debug)]
pub struct Http<S> {
    service: S,
    addresses: Box<[Uri]>,
}

/// `service`, which answers requests for a hundred pages.
///
/// # Panics
///
/// Never: the pages' addresses are valid.
pub fn http<S, B>(service: S) -> Http<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>> + Clone + Sync,
    B: http_body::Body,
{
    let address = |page| format!("http://localhost/dishes/{page}").parse();
    Http {
        service,
        addresses: (0..PAGES)
            .map(|page| address(page).expect("an address"))
            .collect(),
    }
}

impl<S, B> Http<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>> + Clone + Sync,
    B: http_body::Body,
{
    /// Asks for each page once, inside of a runtime, which a page may need that is not there yet.
    ///
    /// # Panics
    ///
    /// Where there is no answer.
    pub async fn load(&self) {
        for address in &*self.addresses {
            let mut request = Request::new(Empty::new());
            *request.uri_mut() = address.clone();
            let answer = self.service.clone().oneshot(request).await;
            let Ok(answer) = answer else {
                panic!("no answer")
            };
            assert!(answer.into_body().collect().await.is_ok());
        }
    }
}

impl<S, B> Subject for Http<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>> + Clone + Sync,
    B: http_body::Body,
{
    #[inline]
    fn calls(&self, caller: u64, number: u64) {
        let mut service = self.service.clone();
        let mut addresses = self.addresses.iter().cycle();
        let skip = usize::try_from(caller * STRIDE % PAGES).unwrap_or_default();
        let mut next = || addresses.next().cloned().unwrap_or_default();
        (0..skip).for_each(|_| drop(next()));
        for _ in 0..number {
            let mut request = Request::new(Empty::new());
            *request.uri_mut() = next();
            let answer = call(&mut service, black_box(request));
            let Ok(answer) = answer else {
                panic!("no answer")
            };
            assert!(answer.status().is_success(), "{}", answer.status());
            assert!(now(answer.into_body().collect()).is_ok());
        }
    }
}

/// One call from readiness to answer, without a runtime.
///
/// What is pending is polled again: a peer that waits for its own lock gets it, and pays for that.
///
/// # Errors
///
/// What the service returns.
#[inline]
pub fn call<S: Service<R>, R>(service: &mut S, request: R) -> Result<S::Response, S::Error> {
    let mut context = Context::from_waker(Waker::noop());
    while service.poll_ready(&mut context)?.is_pending() {
        thread::yield_now();
    }
    now(service.call(request))
}

/// Polls `future` to its end.
///
/// Inlined, so that the future is polled where it was made, as one that is awaited: to move it once
/// more would be counted as the layer's.
#[inline(always)]
pub fn now<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::yield_now();
    }
}

/// Visits `number` of the keys below `keys` in an order that no cache line follows, each caller from a place of its
/// own: callers who keep step with each other would always meet at the same key.
#[inline]
pub fn walk(caller: u64, number: u64, keys: u64, mut visit: impl FnMut(u64)) {
    let mut key = caller * STRIDE % keys;
    let step = STEP % keys;
    for _ in 0..number {
        key += step;
        if key >= keys {
            key -= keys;
        }
        visit(black_box(key));
    }
}

/// A prime: the walk comes to all keys, unless their number is a multiple of it.
const STEP: u64 = 7_919;
const STRIDE: u64 = 1_237;

/// How many addresses are asked for.
const PAGES: u64 = 100;
