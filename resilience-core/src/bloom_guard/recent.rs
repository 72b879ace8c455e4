use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::Fingerprint;

/// The last keys that were inserted, and how many were before.
///
/// Whether a key was inserted while a call was under way, or shortly before, is told by them; and
/// a rebuild takes them along, since its source may not have them yet.
#[derive(Debug, Default)]
pub(super) struct Recent {
    keys: VecDeque<Fingerprint>,
    /// How often each of them is among them: whether one is, is asked for with the lock held, at
    /// each "not found".
    times: HashMap<Fingerprint, u32, RandomState>,
    inserted: u64,
}

/// 64 KiB of keys: more than are created between an insert and the commit that makes it visible.
pub(super) const KEPT: usize = 4096;

impl Recent {
    pub(super) fn push(&mut self, key: Fingerprint) {
        self.inserted = self.inserted.wrapping_add(1);
        if self.keys.len() == KEPT
            && let Some(oldest) = self.keys.pop_front()
        {
            self.forget_once(oldest);
        }
        self.keys.push_back(key);
        *self.times.entry(key).or_insert(0) += 1;
    }

    /// All keys before are as good as unknown: nothing is said of those under way.
    pub(super) fn forget_order(&mut self) {
        self.inserted = self.inserted.wrapping_add(KEPT as u64 + 1);
    }

    /// A key that was removed was not inserted.
    pub(super) fn remove(&mut self, key: Fingerprint) {
        if self.times.remove(&key).is_some() {
            self.keys.retain(|kept| *kept != key);
        }
    }

    /// How many were inserted so far: what a call takes with it.
    pub(super) const fn inserted(&self) -> u64 {
        self.inserted
    }

    /// Whether `key` is none that was inserted since `before`, nor one of the last.
    pub(super) fn surely_lacks(&self, key: Fingerprint, before: u64) -> bool {
        self.inserted.wrapping_sub(before) <= KEPT as u64 && !self.times.contains_key(&key)
    }

    pub(super) fn keys(&self) -> Vec<Fingerprint> {
        self.keys.iter().copied().collect()
    }

    fn forget_once(&mut self, key: Fingerprint) {
        if let Some(times) = self.times.get_mut(&key) {
            *times -= 1;
            if *times == 0 {
                self.times.remove(&key);
            }
        }
    }
}

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u64) -> Fingerprint {
        Fingerprint {
            first: number,
            second: number,
        }
    }

    proptest! {
        #[test]
        fn what_is_among_the_last_is_what_a_search_would_find(
            pushed in prop::collection::vec((0..6000_u64, 0..500_u64), 1..20),
            removed in 0..6000_u64,
        ) {
            let mut recent = Recent::default();
            for (first, number) in pushed {
                (first..first + number).for_each(|number| recent.push(key(number)));
                recent.remove(key(removed));
            }
            let before = recent.inserted();
            for number in (0..6500).step_by(97) {
                let searched = recent.keys.contains(&key(number));
                prop_assert_eq!(recent.surely_lacks(key(number), before), !searched);
            }
        }
    }
}
