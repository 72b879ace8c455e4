use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use tower::Service;

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
        let (expect, mut service) = (self.expect, self.service.clone());
        walk(caller, number, self.keys, |request| {
            let came = match call(&mut service, request) {
                // To look at the answer keeps it from being optimised away.
                Ok(answer) if answer == request => Some(Expect::Admitted),
                Ok(_) => None,
                Err(_) => Some(Expect::Refused),
            };
            assert_eq!(came, Some(expect));
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

/// Between the places from which two callers start.
pub(crate) const STRIDE: u64 = 1_237;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::service_fn;

    use super::{
        Expect::{Admitted, Refused},
        *,
    };

    #[test]
    #[should_panic(expected = "Admitted")]
    fn an_answer_to_another_question_is_none() {
        let wrong = async |request: u64| Ok::<_, Infallible>(request + 1);
        layered(Admitted, service_fn(wrong)).calls(0, 1);
    }

    #[test]
    #[should_panic(expected = "Refused")]
    fn what_goes_through_was_not_refused() {
        let free = async |request: u64| Ok::<_, Infallible>(request);
        layered(Refused, service_fn(free)).calls(0, 1);
    }

    #[test]
    fn a_walk_comes_to_every_key_of_the_usual_numbers() {
        for keys in [100, 10_000, 1_000_000] {
            let mut seen = vec![false; usize::try_from(keys).unwrap_or_default()];
            walk(3, keys, keys, |key| {
                seen[usize::try_from(key).unwrap_or_default()] = true;
            });
            assert!(seen.iter().all(|seen| *seen), "{keys}");
        }
    }
}
