use std::{borrow::Borrow, future::Future, hash::Hash, sync::Arc};

use tokio::runtime::Handle;
use tracing::Instrument as _;

use super::{
    ancestry::Ancestry,
    brought::{Brought, Explain, Fetched, Need, Source},
    entry::{Entry, Found},
    hashed::{Hashed, HashedRef},
    lease::First,
    load::Load,
    shared::{Freshness, Lookup, Shared},
};

/// What a caller gets without waiting.
#[derive(Debug)]
pub(super) enum AtOnce<K, V, P, F, E> {
    Done(Fetched<V, P, F>),
    Load(Load<K, V, F, E>),
}

impl<K, V> Shared<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What a look at a key comes to without waiting; a load in the background may begin.
    #[cold]
    pub(super) fn at_once<Q, F, Fut, P, E>(
        self: &Arc<Self>,
        lookup: Lookup<V>,
        looked: HashedRef<'_, Q>,
        loader: F,
        explain: Explain<E>,
    ) -> AtOnce<K, V, P, F, E>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Brought<V, P>, E>> + Send + 'static,
        P: Send + 'static,
        E: Send + 'static,
    {
        let key = || Hashed {
            hash: looked.hash,
            key: looked.key.to_owned(),
        };
        let need = Need::of(&lookup);
        match lookup {
            Lookup::Serve(entry, freshness) => {
                return AtOnce::Done(self.serve(entry, freshness, loader));
            }
            Lookup::Refresh(entry, freshness) => match Handle::try_current() {
                Ok(runtime) => {
                    self.count(&entry, freshness);
                    if let Some(lead) = self.refresh(&key(), &entry) {
                        let lead = lead.in_task();
                        let load = lead.run(First::Claim, loader, Ancestry::none(), explain);
                        runtime.spawn(load.in_current_span());
                    }
                    return AtOnce::Done(Fetched::Entry(entry, Source::Stored(freshness)));
                }
                // There is no background to load in.
                Err(_) if freshness == Freshness::Fresh => {
                    return AtOnce::Done(self.serve(entry, freshness, loader));
                }
                Err(_) => {}
            },
            Lookup::Stale(_) | Lookup::Miss => {}
        }
        AtOnce::Load(Load::new(self.clone(), key(), need, explain, loader))
    }

    /// What one gets who is served from what is stored.
    pub(super) fn serve<P, F>(
        &self,
        entry: Entry<V>,
        freshness: Freshness,
        loader: F,
    ) -> Fetched<V, P, F> {
        self.count(&entry, freshness);
        match entry.found {
            Found::Private => Fetched::Alone(loader),
            Found::Value(_) | Found::Absent | Found::Failed(_) => {
                Fetched::Entry(entry, Source::Stored(freshness))
            }
        }
    }
}
