//! The way back to an engine, for a permit that seldom takes it.
//!
//! What a call took from a rate limit is rarely given back. A permit that owned its engine all the
//! same would count itself in and out on every call, and the two counts cost more than the
//! decision. An [`Address`] is copied for nothing, and finds its engine as long as that is there.
//!
//! Engines live in places that are never freed and used again: 56 bytes for each engine of the
//! most there ever were at once.

use std::{
    any::Any,
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Where an engine can be found while it is there.
pub(crate) struct Address<T> {
    place: &'static Place,
    tenant: u64,
    engine: PhantomData<fn() -> T>,
}

/// An engine's right to be found; it owns one and drops it.
#[derive(Debug)]
pub(crate) struct Tenancy {
    place: &'static Place,
    tenant: u64,
}

type Place = Mutex<Tenants>;

#[derive(Debug, Default)]
struct Tenants {
    /// How many there were, the present one included.
    count: u64,
    present: Option<Weak<dyn Any + Send + Sync>>,
}

/// Places whose last tenant is gone.
static FREE: Mutex<Vec<&'static Place>> = Mutex::new(Vec::new());

impl Tenancy {
    /// Makes `engine` known.
    pub(crate) fn new<T: Any + Send + Sync>(engine: Weak<T>) -> Self {
        let free = lock(&FREE).pop();
        let place = free.unwrap_or_else(|| Box::leak(Box::default()));
        let mut tenants = lock(place);
        tenants.count += 1;
        tenants.present = Some(engine);
        let tenant = tenants.count;
        Self { place, tenant }
    }

    /// The address of the engine, which must be of the type that it was made known with.
    #[inline]
    pub(crate) const fn address<T>(&self) -> Address<T> {
        Address {
            place: self.place,
            tenant: self.tenant,
            engine: PhantomData,
        }
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        lock(self.place).present = None;
        lock(&FREE).push(self.place);
    }
}

impl<T: Any + Send + Sync> Address<T> {
    /// The engine, or nobody where it is gone.
    pub(crate) fn find(self) -> Option<Arc<T>> {
        let tenants = lock(self.place);
        if tenants.count != self.tenant {
            return None;
        }
        tenants.present.as_ref()?.upgrade()?.downcast().ok()
    }
}

/// The critical sections here run nobody's code, and leave what is inside valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By hand, since the engine need not be.
impl<T> Clone for Address<T> {
    fn clone(&self) -> Self {
        *self
    }
}

/// By hand, since the engine need not be.
impl<T> Copy for Address<T> {}

impl<T> fmt::Debug for Address<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use super::*;

    struct Engine {
        tenancy: Tenancy,
        name: &'static str,
    }

    fn engine(name: &'static str) -> Arc<Engine> {
        Arc::new_cyclic(|this| Engine {
            tenancy: Tenancy::new::<Engine>(this.clone()),
            name,
        })
    }

    fn found(address: Address<Engine>) -> Option<&'static str> {
        address.find().map(|it| it.name)
    }

    #[test]
    fn an_address_finds_its_engine_while_that_is_there_and_no_other_afterwards() {
        let (first, second) = (engine("first"), engine("second"));
        let addresses: [Address<Engine>; 2] = [first.tenancy.address(), second.tenancy.address()];
        assert_eq!(addresses.map(found), [Some("first"), Some("second")]);
        drop(first);
        let others: Vec<_> = (0..100).map(|_| engine("other")).collect();
        assert_eq!(addresses.map(found), [None, Some("second")]);
        assert_eq!(others.len(), 100);
    }

    #[test]
    fn places_are_used_again() {
        // Other tests take places as well, so that one of a few attempts must do.
        let reused = (0..100).any(|_| {
            let address: Address<Engine> = engine("gone").tenancy.address();
            let next: Address<Engine> = engine("next").tenancy.address();
            std::ptr::eq(address.place, next.place)
        });
        assert!(reused);
    }
}
