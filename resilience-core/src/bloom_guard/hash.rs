use std::{cell::Cell, fmt, hash::Hash, hash::Hasher as _};

use bloomfilter::reexports::{getrandom::getrandom, siphasher::sip::SipHasher13};

use crate::InvalidPolicy;

/// What nobody outside may know, or they could choose keys that the filter takes for known.
#[derive(Clone, Copy)]
pub(super) struct Secret(pub(super) [u8; 32]);

/// Two keyed hashes, which are those of the `bloomfilter` crate.
#[derive(Clone, Debug)]
pub(super) struct Seed(Secret);

impl Seed {
    pub(super) fn new(given: Option<Secret>) -> Result<Self, InvalidPolicy> {
        given.map_or_else(draw, Ok).map(Self)
    }

    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.0.0
    }

    /// By the half of the seed that starts at `HALF`.
    ///
    /// The hasher is made anew: whoever inlines this knows how it begins, and so which of its
    /// branches a key takes.
    #[inline]
    fn hash<const HALF: usize, Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        let mut half = [0; HALF_BYTES];
        half.copy_from_slice(&self.0.0[HALF..HALF + HALF_BYTES]);
        let mut sip = SipHasher13::new_with_key(&half);
        key.hash(&mut sip);
        sip.finish()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

const HALF_BYTES: usize = 16;

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
            first: seed.hash::<0, _>(key),
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
            let second = self.seed.hash::<HALF_BYTES, _>(self.key);
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

impl Fingerprint {
    /// The hashes as bytes, which are the same in every process with the same seed.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.first.to_le_bytes());
        bytes[8..].copy_from_slice(&self.second.to_le_bytes());
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [mut first, mut second] = [[0; 8]; 2];
        first.copy_from_slice(&bytes[..8]);
        second.copy_from_slice(&bytes[8..]);
        Self {
            first: u64::from_le_bytes(first),
            second: u64::from_le_bytes(second),
        }
    }
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
