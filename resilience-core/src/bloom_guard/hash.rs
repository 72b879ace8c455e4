use std::{cell::Cell, fmt, hash::Hash, hash::Hasher as _};

use bloomfilter::reexports::{getrandom::getrandom, siphasher::sip::SipHasher13};

use super::policy::Secret;
use crate::InvalidPolicy;

/// Two keyed hashes, which are those of the `bloomfilter` crate.
#[derive(Clone)]
pub(super) struct Seed {
    sips: [SipHasher13; 2],
    secret: Secret,
}

impl Seed {
    pub(super) fn new(given: Option<Secret>) -> Result<Self, InvalidPolicy> {
        let secret = match given {
            Some(secret) => secret,
            None => draw()?,
        };
        let [mut first, mut second] = [[0; 16]; 2];
        first.copy_from_slice(&secret.0[..16]);
        second.copy_from_slice(&secret.0[16..]);
        let sips = [first, second].map(|key| SipHasher13::new_with_key(&key));
        Ok(Self { sips, secret })
    }

    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.secret.0
    }

    #[inline]
    fn hash<Q: Hash + ?Sized>(&self, which: usize, key: &Q) -> u64 {
        let mut sip = self.sips[which];
        key.hash(&mut sip);
        sip.finish()
    }
}

fn draw() -> Result<Secret, InvalidPolicy> {
    let mut bytes = [0; 32];
    match getrandom(&mut bytes) {
        Ok(()) => Ok(Secret(bytes)),
        Err(_) => Err(InvalidPolicy::new(
            "seed",
            "must be given: the operating system has no random bytes",
        )),
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.secret.fmt(f)
    }
}

/// A key on its way to a [`Filter`](super::Filter), hashed as far as was asked for: a key that is
/// not in the filter is mostly told by the first hash alone.
pub struct Hashed<'a, Q: ?Sized> {
    key: &'a Q,
    seed: &'a Seed,
    first: u64,
    second: Cell<Option<u64>>,
}

impl<'a, Q: Hash + ?Sized> Hashed<'a, Q> {
    #[inline]
    pub(super) fn new(seed: &'a Seed, key: &'a Q) -> Self {
        Self {
            key,
            seed,
            first: seed.hash(0, key),
            second: Cell::new(None),
        }
    }

    #[inline]
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    #[inline]
    pub(super) fn second(&self) -> u64 {
        self.second.get().unwrap_or_else(|| {
            let second = self.seed.hash(1, self.key);
            self.second.set(Some(second));
            second
        })
    }

    #[inline]
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            first: self.first(),
            second: self.second(),
        }
    }
}

/// By hand, since keys are nobody's business, and their hashes neither.
impl<Q: ?Sized> fmt::Debug for Hashed<'_, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashed").finish_non_exhaustive()
    }
}

/// Both hashes of a key: 128 bits that stand for it.
///
/// Two keys with the same ones are not expected before 2^64 keys (the birthday bound), and nobody
/// can look for them who does not know the seed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    pub(super) first: u64,
    pub(super) second: u64,
}

/// By hand, since it tells of the seed.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

/// Turns the hashes of a key into the `index`-th of an unlimited row (Kirsch and Mitzenmacher,
/// "Less Hashing, Same Performance", 2006), as the `bloomfilter` crate does.
#[inline]
pub(super) fn nth(first: u64, second: impl FnOnce() -> u64, index: u32) -> u64 {
    /// The largest prime below 2^64.
    const PRIME: u64 = 0xFFFF_FFFF_FFFF_FFC5;
    match index {
        0 => first,
        1 => second(),
        _ => first.wrapping_add(u64::from(index).wrapping_mul(second())) % PRIME,
    }
}
