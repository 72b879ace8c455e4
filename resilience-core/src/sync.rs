//! The locks and atomics of the machines, replaced by loom's under `--cfg resilience_loom`.

#[cfg(not(resilience_loom))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering, fence},
};

#[cfg(resilience_loom)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering, fence},
};

/// Locks `mutex`, also after a panic while it was held.
///
/// Our critical sections leave the value valid at every step, and the only foreign code that runs
/// inside one is a key's (`Hash`, `Eq`, `Clone`, `Drop`): a panic there must not turn into one for
/// every later caller.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
