//! Which loads a piece of code runs in.
//!
//! A load that asks for its own key would wait for itself. Tokio's task-local storage knows which
//! loads the asking code is part of, also through nested loads, each of which runs in a task of
//! its own. It does not know of tasks that a loader spawns by itself; those wait until the hard
//! timeout.

use std::{future::Future, sync::Arc};

/// A load, and the one that it is part of.
#[derive(Clone, Debug)]
pub(super) struct Ancestry(Option<Arc<Load>>);

#[derive(Debug)]
struct Load {
    /// The address of its flight, which no other has while it is under way.
    flight: usize,
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
    pub(super) fn run<T, F: Future>(
        self,
        flight: &Arc<T>,
        future: F,
    ) -> impl Future<Output = F::Output> + use<T, F> {
        let load = Load {
            flight: address(flight),
            outer: self,
        };
        HERE.scope(Self(Some(Arc::new(load))), future)
    }

    /// Whether the load behind `flight` is among them.
    pub(super) fn contains<T>(&self, flight: &Arc<T>) -> bool {
        let loads = std::iter::successors(self.0.as_ref(), |load| load.outer.0.as_ref());
        loads.into_iter().any(|load| load.flight == address(flight))
    }
}

fn address<T>(flight: &Arc<T>) -> usize {
    Arc::as_ptr(flight).addr()
}
