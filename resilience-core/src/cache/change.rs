use std::{borrow::Borrow, hash::Hash};

use super::{Cache, Loaded, entry::Found, hashed::Hashed};
use crate::BoxError;

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Stores a value. It wins over a load of its key that is under way: those who wait for that
    /// load get this value.
    ///
    /// A second tier is given it in the background, also while its circuit is open, as with
    /// [`forget`](Self::forget); where it is not for others, or not kept here, it is removed there.
    /// Where that fails, this process does not read the value before from there: it tells the tier
    /// again before it asks for that key, and after its next put that works. Until then other
    /// processes may read it: whoever must know that they do not calls `forget` first. A tier that
    /// missed the changes of more than 10 000 keys is told to forget everything, unless it
    /// [knows of them](super::Tier::knows_what_failed).
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
    /// The second tier's; here it is forgotten all the same. Where it matters, ask again: what the
    /// tier has not forgotten others go on reading there, unless it keeps in mind what it was told,
    /// as the one in Redis does.
    ///
    /// While its circuit is open, a tier that is away costs one change in twenty
    /// [timeouts](super::TierPolicy::timeout) its timeout, and all others no time: they fail with
    /// [`Reason::CircuitOpen`](crate::Reason::CircuitOpen). The first that works closes the circuit,
    /// and so does a tier that says that it is [in touch](super::Notice::InTouch) again.
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

    /// Forgets everything in the second tier as well, which has
    /// [more time](super::TierPolicy::clear_timeout) for it than for other calls.
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
    ///
    /// A second tier keeps its value, which is read from there again by whoever asks next:
    /// [`forget`](Self::forget) removes it there too.
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
    ///
    /// Tagged values are not put into a second tier. What was put there without the tag stays, and
    /// is read again: [`forget`](Self::forget) removes it there too.
    pub fn invalidate_tag(&self, tag: &str) {
        self.shared.tags.invalidate(tag);
    }

    /// Forgets everything, as [`invalidate`](Self::invalidate) does one.
    ///
    /// A second tier keeps what it has, and is read again: [`forget_all`](Self::forget_all)
    /// removes it there too.
    pub fn invalidate_all(&self) {
        self.shared.tags.invalidate_all();
        self.shared.storage.clear();
    }
}
