use std::{borrow::Borrow, convert::Infallible, future::Future, hash::Hash};

use super::{
    Cache, Loaded, Origin,
    at_once::AtOnce,
    brought::{Brought, Cause, Explain, Fetched, Source},
    entry::Found,
    load::Load,
    shared::{Freshness, Lookup},
    tally::Count,
};
use crate::{Error, Reason};

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The value of `key`; what `loader` brings where there is none, or none that is fresh.
    ///
    /// Of all who ask for a key at the same time one loads, and the others wait. A value is
    /// stored with what the loader says of it: see [`Loaded`].
    ///
    /// # Errors
    ///
    /// To the caller whose loader failed, its error. To those who waited for that load,
    /// [`Reason::LoadFailed`]. To all of them [`Reason::Panicked`] where the loader panicked,
    /// [`Reason::LoadTimeout`] where it took too long, and [`Reason::Closed`] where its runtime
    /// was shut down. [`Reason::Reentrant`] to a loader that asks for its own key. None of these
    /// where a stale value may be served instead. [`Reason::Absent`] where it is known that the
    /// key has no value, which only [`get_or_find`](Self::get_or_find) gets to know.
    ///
    /// # Cancellation
    ///
    /// Dropped by the one who loads, the load goes on or is handed over: see
    /// [`OnLeaderGone`](super::OnLeaderGone). Dropped by another, nothing happens.
    pub async fn get_or_load<Q, F, Fut, L, E>(&self, key: &Q, loader: F) -> Result<V, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + Sync + ?Sized,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<V>>,
        E: Send + 'static,
    {
        let loader = || {
            let load = loader();
            async { Ok(Brought::Value(load.await?.into())) }
        };
        let load = match self.fetch(key, loader) {
            Fetch::Done(told) => return Ok(self.present(told)?.0),
            Fetch::Load(load) => load,
        };
        Ok(self.present(self.told(Box::pin(load.in_time()).await?))?.0)
    }

    /// The same, and where the value came from: for a `Cache-Status` field, or for who wants to
    /// see.
    ///
    /// # Errors
    ///
    /// As [`get_or_load`](Self::get_or_load).
    ///
    /// # Cancellation
    ///
    /// As [`get_or_load`](Self::get_or_load).
    pub async fn get_or_load_with_origin<Q, F, Fut, L, E>(
        &self,
        key: &Q,
        loader: F,
    ) -> Result<(V, Origin), Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + Sync + ?Sized,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<V>>,
        E: Send + 'static,
    {
        let loader = || {
            let load = loader();
            async { Ok(Brought::Value(load.await?.into())) }
        };
        let load = match self.fetch(key, loader) {
            Fetch::Done(told) => return self.present(told),
            Fetch::Load(load) => load,
        };
        self.present(self.told(Box::pin(load.in_time()).await?))
    }

    /// The same where a key may have no value: that is remembered as well, for the policy's
    /// [negative time to live](super::Policy::negative_ttl).
    ///
    /// # Errors
    ///
    /// As [`get_or_load`](Self::get_or_load), but for `Absent`.
    ///
    /// # Cancellation
    ///
    /// As [`get_or_load`](Self::get_or_load).
    pub async fn get_or_find<Q, F, Fut, L, E>(
        &self,
        key: &Q,
        loader: F,
    ) -> Result<Option<V>, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + Sync + ?Sized,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<V>>,
        E: Send + 'static,
    {
        let loader = || {
            let load = loader();
            async { Ok(Brought::found(load.await?)) }
        };
        let load = match self.fetch(key, loader) {
            Fetch::Done(told) => return Ok(told?.0),
            Fetch::Load(load) => load,
        };
        Ok(self.told(Box::pin(load.in_time()).await?)?.0)
    }

    /// The same, and where the value came from.
    ///
    /// # Errors
    ///
    /// As [`get_or_find`](Self::get_or_find).
    ///
    /// # Cancellation
    ///
    /// As [`get_or_load`](Self::get_or_load).
    pub async fn get_or_find_with_origin<Q, F, Fut, L, E>(
        &self,
        key: &Q,
        loader: F,
    ) -> Result<Option<(V, Origin)>, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + Sync + ?Sized,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<L>, E>> + Send + 'static,
        L: Into<Loaded<V>>,
        E: Send + 'static,
    {
        let loader = || {
            let load = loader();
            async { Ok(Brought::found(load.await?)) }
        };
        let load = match self.fetch(key, loader) {
            Fetch::Done(told) => return told.map(with_origin),
            Fetch::Load(load) => load,
        };
        self.told(Box::pin(load.in_time()).await?).map(with_origin)
    }

    /// The value of `key`, where there is a fresh one. Loads nothing.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let shared = &self.shared;
        let looked = shared.storage.hash(key);
        let lookup = match shared.look(looked, |value, _, _| value.clone()) {
            Ok(value) => {
                shared.tally.count(Count::Hit);
                return Some(value);
            }
            Err(lookup) => lookup,
        };
        match lookup {
            Lookup::Serve(entry, Freshness::Fresh) | Lookup::Refresh(entry, Freshness::Fresh) => {
                shared.count(&entry, Freshness::Fresh);
                match entry.found {
                    Found::Value(value) => Some(value),
                    Found::Absent | Found::Failed(_) | Found::Private => None,
                }
            }
            Lookup::Serve(_, Freshness::Stale)
            | Lookup::Refresh(_, Freshness::Stale)
            | Lookup::Stale(_)
            | Lookup::Miss => {
                shared.tally.count(Count::Miss);
                None
            }
        }
    }

    /// What there is of `key`, or a load of it: to be boxed, so that a hit does not carry the room
    /// for that.
    fn fetch<Q, F, Fut, E>(&self, key: &Q, loader: F) -> Fetch<Told<V, E>, Load<K, V, F, E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Brought<V, Infallible>, E>> + Send + 'static,
        E: Send + 'static,
    {
        let shared = &self.shared;
        let looked = shared.storage.hash(key);
        let lookup = match shared.look(looked, |value, _, _| value.clone()) {
            Ok(value) => {
                shared.tally.count(Count::Hit);
                return Fetch::Done(Ok((Some(value), Source::Stored(Freshness::Fresh))));
            }
            Err(lookup) => lookup,
        };
        let explain = Explain::by(|_: &E| Cause::Other);
        match shared.at_once(lookup, looked, loader, explain) {
            AtOnce::Done(fetched) => Fetch::Done(self.told(fetched)),
            AtOnce::Load(load) => Fetch::Load(load),
        }
    }

    /// What a caller is told of what was fetched.
    fn told<F, E>(&self, fetched: Unpacked<V, F>) -> Told<V, E> {
        match fetched {
            Fetched::Entry(entry, source) => match entry.found {
                Found::Value(value) => Ok((Some(value), source)),
                Found::Absent => Ok((None, source)),
                Found::Failed(rejected) => {
                    self.shared.tell(&rejected);
                    Err(Error::Rejected(*rejected))
                }
                Found::Private => unreachable!("no loader here brings anything private"),
            },
            Fetched::Private(never) => match never {},
            Fetched::Alone(_) => unreachable!("no loader here brings anything private"),
        }
    }

    /// The value, which must be there.
    fn present<E>(&self, told: Told<V, E>) -> Result<(V, Origin), Error<E>> {
        let (value, source) = told?;
        let value = value.ok_or_else(|| Error::Rejected(self.shared.refuse(Reason::Absent)))?;
        Ok((value, source.into()))
    }
}

/// What becomes of one who asks.
enum Fetch<T, L> {
    /// It is over at once.
    Done(T),
    /// It takes a load.
    Load(L),
}

/// What a caller is told: a value or that there is none, and where that comes from.
type Told<V, E> = Result<(Option<V>, Source), Error<E>>;

/// What loaders bring that bring nothing private.
type Unpacked<V, F> = Fetched<V, Infallible, F>;

fn with_origin<V>((value, source): (Option<V>, Source)) -> Option<(V, Origin)> {
    value.map(|value| (value, source.into()))
}

impl<V, P> Brought<V, P> {
    /// What was found, where there may be nothing.
    fn found(found: Option<impl Into<Loaded<V>>>) -> Self {
        found.map_or(Self::Absent, |value| Self::Value(value.into()))
    }
}
