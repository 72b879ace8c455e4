use std::{borrow::Borrow, convert::Infallible, future::Future, hash::Hash, sync::Arc};

use super::{
    Codec, Layer, Loaded, Origin, Policy, Snapshot, Tier, TierPolicy,
    entry::Found,
    hashed::Hashed,
    load::{AtOnce, Brought, Explain, Fetched, Source},
    measure::Count,
    second::Second,
    shared::{Freshness, Lookup, Shared},
};
use crate::{BoxError, Environment, Error, InvalidPolicy, Reason};

/// Values by key, each loaded once for everybody; see the [module](super).
///
/// Clones, layers and services made from it share its entries and its loads. A value is cloned
/// for each caller, while nobody can change what is stored: put what is large into an [`Arc`]. A
/// `Clone` or `Eq` must not come back to the cache.
#[derive(Debug)]
pub struct Cache<K, V> {
    shared: Arc<Shared<K, V>>,
}

/// By hand, since clones share whatever the cache holds.
impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache in the default [`Environment`].
    ///
    /// # Errors
    ///
    /// A name that cannot stand in a header, or a setting that cannot work.
    pub fn new(policy: Policy) -> Result<Self, InvalidPolicy> {
        Self::new_in(policy, &Environment::default())
    }

    /// A cache in `environment`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn new_in(policy: Policy, environment: &Environment) -> Result<Self, InvalidPolicy> {
        let shared = Arc::new(Shared::new(policy, environment)?);
        Ok(Self { shared })
    }

    /// A cache over a second tier, which other processes share; see [`Tier`].
    ///
    /// Values without tags are put there when they were loaded or inserted, and looked for before
    /// a loader is asked. That a key has none is known to this process alone.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and a setting of the tier's policy that cannot work.
    pub fn new_over(
        policy: Policy,
        tier: (TierPolicy, impl Tier, impl Codec<K, V> + 'static),
        environment: &Environment,
    ) -> Result<Self, InvalidPolicy> {
        let mut shared = Shared::new(policy, environment)?;
        let (policy, tier, codec) = tier;
        let panics = shared.panics.clone();
        let second = Second::new(policy, tier, codec, panics, environment)?;
        let shared = Arc::new_cyclic(|shared_later| {
            shared.join_fleet(second, shared_later);
            shared
        });
        Ok(Self { shared })
    }

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
        let (found, _) = self.fetch(key, loader).await?;
        found.ok_or_else(|| Error::Rejected(self.shared.refuse(Reason::Absent)))
    }

    /// The same where a key may have no value: that is remembered as well, for the policy's
    /// [negative time to live](Policy::negative_ttl).
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
        let found = self.get_or_find_with_origin(key, loader).await?;
        Ok(found.map(|(value, _)| value))
    }

    /// The same, and where the value came from: for a `Cache-Status` field, or for who wants to
    /// see.
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
            async {
                Ok(match load.await? {
                    Some(value) => Brought::Value(value.into()),
                    None => Brought::Absent,
                })
            }
        };
        let (found, source) = self.fetch(key, loader).await?;
        Ok(found.map(|value| (value, source.into())))
    }

    async fn fetch<Q, F, Fut, E>(&self, key: &Q, loader: F) -> Result<(Option<V>, Source), Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + Sync + ?Sized,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Brought<V, Infallible>, E>> + Send + 'static,
        E: Send + 'static,
    {
        let shared = &self.shared;
        let looked = shared.storage.hash(key);
        let lookup = match shared.look(looked, |value, _, _| value.clone()) {
            Ok(value) => {
                shared.tally.count(Count::Hit);
                return Ok((Some(value), Source::Stored(Freshness::Fresh)));
            }
            Err(lookup) => lookup,
        };
        let explain = Explain::by(|_: &E| None);
        let fetched = match shared.at_once(lookup, looked, loader, explain) {
            AtOnce::Done(fetched) => fetched,
            // Boxed, so that a hit does not carry the room for a load.
            AtOnce::Load(load) => Box::pin(shared.load_in_time(load, explain)).await?,
        };
        match fetched {
            Fetched::Entry(entry, source) => match entry.found {
                Found::Value(value) => Ok((Some(value), source)),
                Found::Absent => Ok((None, source)),
                Found::Failed(rejected) => {
                    shared.tell(&rejected);
                    Err(Error::Rejected(*rejected))
                }
                Found::Private => unreachable!("no loader here brings anything private"),
            },
            Fetched::Private(never) => match never {},
            Fetched::Alone(_) => unreachable!("no loader here brings anything private"),
        }
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

    /// Stores a value. It wins over a load of its key that is under way: those who wait for that
    /// load get this value.
    pub fn insert(&self, key: K, value: impl Into<Loaded<V>>) {
        let Loaded { value, terms } = value.into();
        let found = Found::Value(value);
        let stamp = self.shared.stamp(&key);
        let entry = self.shared.entry(found, &terms, stamp);
        let hash = self.shared.storage.hash(&key).hash;
        let key = Hashed { hash, key };
        let second = self.shared.second.as_ref();
        let shared = second.map(|_| (key.clone(), entry.clone()));
        self.shared.put(key, entry);
        if let Some((key, entry)) = shared {
            self.shared.share(&key, &entry);
        }
    }

    /// Forgets the value of `key` in the second tier as well, as
    /// [`invalidate`](Self::invalidate) does in this process. Other processes may serve what they
    /// have until its end, unless the tier [tells them](super::Tier::listen).
    ///
    /// # Errors
    ///
    /// The second tier's; here it is forgotten all the same.
    ///
    /// # Cancellation
    ///
    /// Dropped, it may or may not have reached the second tier.
    pub async fn forget<Q>(&self, key: &Q) -> Result<(), BoxError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + Sync + ?Sized,
    {
        self.invalidate(key);
        if let Some(second) = &self.shared.second {
            if let Some(name) = second.name(&key.to_owned()) {
                second.remove(&name).await?;
            }
            // What was read from there before it was gone.
            self.invalidate(key);
        }
        Ok(())
    }

    /// Forgets everything in the second tier as well.
    ///
    /// # Errors
    ///
    /// As [`forget`](Self::forget).
    ///
    /// # Cancellation
    ///
    /// As [`forget`](Self::forget).
    pub async fn forget_all(&self) -> Result<(), BoxError> {
        self.invalidate_all();
        if let Some(second) = &self.shared.second {
            second.clear().await?;
            self.invalidate_all();
        }
        Ok(())
    }

    /// Forgets the value of `key`, or that it has none.
    ///
    /// It wins over a load that is under way: what that brings is not stored, and whoever asks
    /// from now on loads anew. Those who asked before get what they waited for, and where that
    /// fails, no stale value in its place.
    pub fn invalidate<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.invalidate(self.shared.storage.hash(key));
    }

    /// Forgets all values with this tag, as [`invalidate`](Self::invalidate) does one; the cost
    /// does not depend on their number. They are not served any more, and their memory is used
    /// again as they are met.
    pub fn invalidate_tag(&self, tag: &str) {
        self.shared.tags.invalidate(tag);
    }

    /// Forgets everything, as [`invalidate`](Self::invalidate) does one.
    pub fn invalidate_all(&self) {
        self.shared.tags.invalidate_all();
        self.shared.storage.clear();
    }

    /// A layer for any service whose answers may be shared: each key that `extractor` finds is
    /// asked for once, and every answer that is no error is stored. A request without a key
    /// passes.
    pub fn layer_with<X>(&self, extractor: X) -> Layer<K, V, X> {
        Layer::new(self.clone(), extractor)
    }

    /// How it stands now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    pub(super) const fn shared(&self) -> &Arc<Shared<K, V>> {
        &self.shared
    }

    pub(super) fn name(&self) -> &'static str {
        self.shared.policy.name
    }
}
