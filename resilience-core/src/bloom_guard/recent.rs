use std::collections::VecDeque;

use super::Fingerprint;

/// The last keys that were inserted, and how many were before.
///
/// Whether a key was inserted while a call was under way, or shortly before, is told by them; and
/// a rebuild takes them along, since its source may not have them yet.
#[derive(Debug, Default)]
pub(super) struct Recent {
    keys: VecDeque<Fingerprint>,
    inserted: u64,
}

/// 64 KiB of keys: more than are created between an insert and the commit that makes it visible.
pub(super) const KEPT: usize = 4096;

impl Recent {
    pub(super) fn push(&mut self, key: Fingerprint) {
        self.inserted = self.inserted.wrapping_add(1);
        if self.keys.len() == KEPT {
            self.keys.pop_front();
        }
        self.keys.push_back(key);
    }

    /// All keys before are as good as unknown: nothing is said of those under way.
    pub(super) fn forget_order(&mut self) {
        self.inserted = self.inserted.wrapping_add(KEPT as u64 + 1);
    }

    /// A key that was removed was not inserted.
    pub(super) fn remove(&mut self, key: Fingerprint) {
        self.keys.retain(|kept| *kept != key);
    }

    /// How many were inserted so far: what a call takes with it.
    pub(super) const fn inserted(&self) -> u64 {
        self.inserted
    }

    /// Whether `key` is none that was inserted since `before`, nor one of the last.
    pub(super) fn surely_lacks(&self, key: Fingerprint, before: u64) -> bool {
        self.inserted.wrapping_sub(before) <= KEPT as u64 && !self.keys.contains(&key)
    }

    pub(super) fn keys(&self) -> Vec<Fingerprint> {
        self.keys.iter().copied().collect()
    }
}
