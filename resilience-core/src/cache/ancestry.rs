//! Which loads a piece of code runs in.
//!
//! A load that asks for its own key would wait for itself. Tokio's task-local storage knows which
//! loads the asking code is part of, also through nested loads, each of which runs in a task of
//! its own. It does not know of tasks that a loader spawns by itself; those wait until the hard
//! timeout.

use std::{
    any::Any,
    future::Future,
    sync::{Arc, Weak},
};

/// A load, and the one that it is part of.
#[derive(Clone, Debug)]
pub(super) struct Ancestry(Option<Arc<Load>>);

#[derive(Debug)]
struct Load {
    /// Its flight. Its address is no other's for as long as this is here.
    flight: Weak<dyn Any + Send + Sync>,
    outer: Ancestry,
}

tokio::task_local! {
    static HERE: Ancestry;
}

impl Ancestry {
    /// The loads that the code here is part of.
    pub(super) fn here() -> Self {
        HERE.try_with(Clone::clone).unwrap_or_else(|_| Self::none())
    }

    /// No load at all.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Runs `future` as part of the load behind `flight`, and of those in here.
    pub(super) fn run<T, F>(
        self,
        flight: &Arc<T>,
        future: F,
    ) -> impl Future<Output = F::Output> + use<T, F>
    where
        T: Send + Sync + 'static,
        F: Future,
    {
        let flight = Arc::downgrade(flight);
        let load = Load {
            flight,
            outer: self,
        };
        HERE.scope(Self(Some(Arc::new(load))), future)
    }

    /// Whether the load behind `flight` is among them.
    pub(super) fn contains<T>(&self, flight: &Arc<T>) -> bool {
        let loads = std::iter::successors(self.0.as_ref(), |load| load.outer.0.as_ref());
        let address = Arc::as_ptr(flight).addr();
        let mut flights = loads.map(|load| load.flight.as_ptr().addr());
        flights.any(|flight| flight == address)
    }
}
