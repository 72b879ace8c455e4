use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash, Hasher},
};

use quick_cache::Equivalent;

/// A key and its hash, so that the tables inside hash nothing: a key is hashed once a visit, and
/// a `Hash` that panics never meets a table that is half moved.
#[derive(Clone, Debug)]
pub(super) struct Hashed<K> {
    pub(super) hash: u64,
    pub(super) key: K,
}

/// The same for a key to look up.
#[derive(Debug)]
pub(super) struct HashedRef<'a, Q: ?Sized> {
    pub(super) hash: u64,
    pub(super) key: &'a Q,
}

impl<K> Hashed<K> {
    pub(super) const fn of(&self) -> HashedRef<'_, K> {
        HashedRef {
            hash: self.hash,
            key: &self.key,
        }
    }
}

/// By hand, since a reference is copied whatever it refers to.
impl<Q: ?Sized> Clone for HashedRef<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for HashedRef<'_, Q> {}

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<Q: ?Sized> Hash for HashedRef<'_, Q> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Equal hashes prove nothing: the keys are compared.
impl<K: Eq> PartialEq for Hashed<K> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.key == other.key
    }
}

impl<K: Eq> Eq for Hashed<K> {}

impl<K, Q> Equivalent<Hashed<K>> for HashedRef<'_, Q>
where
    K: Borrow<Q>,
    Q: Eq + ?Sized,
{
    fn equivalent(&self, held: &Hashed<K>) -> bool {
        self.hash == held.hash && self.key == held.key.borrow()
    }
}

/// Takes the number it is given for the hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given(u64);

impl Hasher for Given {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only hashes are written here");
    }
}

impl BuildHasher for Given {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}
