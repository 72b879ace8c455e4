use std::{
    any::Any,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Layer, Plain, Snapshot, future::Catching, message, state::Log};
use crate::{
    Environment, Error, Event, InvalidPolicy, Reason, Rejected,
    engine::{Engine, keep_at_hand},
    invalid::check_name,
    sync::{Mutex, lock},
};

/// Turns panics into refusals; see the [module](super).
///
/// Clones, layers and services made from it share its counters.
#[derive(Clone)]
pub struct CatchPanic {
    shared: Engine<Shared>,
}

struct Shared {
    name: &'static str,
    environment: Environment,
    counters: [AtomicU64; Place::COUNT],
    log: Mutex<Log>,
}

/// Where a panic was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Call,
    Future,
    PollReady,
    Body,
}

keep_at_hand!(Shared);

impl Place {
    const COUNT: usize = 4;
}

impl CatchPanic {
    /// Catches in the default [`Environment`]. `name` stands in refusals, metrics and logs.
    ///
    /// # Errors
    ///
    /// A name that cannot stand in a header.
    pub fn new(name: &'static str) -> Result<Self, InvalidPolicy> {
        Self::new_in(name, &Environment::default())
    }

    /// Catches in `environment`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn new_in(name: &'static str, environment: &Environment) -> Result<Self, InvalidPolicy> {
        check_name(name)?;
        let shared = Shared {
            name,
            environment: environment.clone(),
            counters: Default::default(),
            log: Mutex::new(Log::default()),
        };
        Ok(Self {
            shared: Engine::striped(shared, environment),
        })
    }

    /// Runs `operation`, whose panics are refusals.
    ///
    /// # Errors
    ///
    /// The panic, or the error of `operation`.
    pub async fn call<F, Fut, T, E>(&self, operation: F) -> Result<T, Error<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let future = self.catch(Place::Call, operation)?;
        Catching::new(Some(future), self.for_call())
            .await?
            .map_err(Error::Inner)
    }

    /// A layer for HTTP and gRPC, which catches until the end of the answer's body.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn layer(&self) -> Layer<super::Streaming> {
        Layer::new(self.clone())
    }

    /// A layer for any service, which catches until the call has returned.
    #[must_use]
    pub fn plain_layer(&self) -> Layer<Plain> {
        Layer::new(self.clone())
    }

    /// How many panics were caught, and where.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let count = |place: Place| self.shared.counters[place as usize].load(Relaxed);
        Snapshot {
            call: count(Place::Call),
            future: count(Place::Future),
            poll_ready: count(Place::PollReady),
            body: count(Place::Body),
        }
    }

    /// The same engine, for one call.
    #[inline]
    pub(super) fn for_call(&self) -> Self {
        let shared = Engine::Single(self.shared.hold());
        Self { shared }
    }

    pub(super) fn name(&self) -> &'static str {
        self.shared.name
    }

    /// Runs `act`; its panic is a refusal.
    ///
    /// Nothing that unwound is used again: callers drop the future or the body in question, and
    /// hand on what a service does as its own.
    #[inline]
    pub(crate) fn catch<R>(&self, place: Place, act: impl FnOnce() -> R) -> Result<R, Rejected> {
        catch_unwind(AssertUnwindSafe(act)).map_err(|payload| self.report(place, payload))
    }

    #[cold]
    fn report(&self, place: Place, payload: Box<dyn Any + Send>) -> Rejected {
        let Shared {
            name,
            environment,
            counters,
            log,
        } = &*self.shared;
        counters[place as usize].fetch_add(1, Relaxed);
        let told = lock(log).tell(environment.now());
        let message = message::take(payload);
        if let Some(suppressed) = told {
            environment.emit(&Event::Panicked {
                policy: name,
                message: &message,
                suppressed,
            });
        }
        Rejected::new(Reason::Panicked, name)
    }
}

impl fmt::Debug for CatchPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchPanic")
            .field("name", &self.shared.name)
            .field("caught", &self.snapshot())
            .finish()
    }
}
