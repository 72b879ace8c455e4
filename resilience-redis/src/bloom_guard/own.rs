use std::collections::VecDeque;

use resilience_core::bloom_guard::Fingerprint;

/// The last keys that this process inserted, for when Redis has not heard of them, or has forgotten.
#[derive(Debug, Default)]
pub(super) struct Own {
    keys: VecDeque<Fingerprint>,
    untold: bool,
}

impl Own {
    pub(super) fn push(&mut self, key: Fingerprint) {
        if self.keys.len() == KEPT {
            self.keys.pop_front();
        }
        self.keys.push_back(key);
    }

    /// Some of the keys may not be in Redis: they are to be told again.
    pub(super) const fn doubt(&mut self) {
        self.untold = true;
    }

    /// All keys, where some of them are to be told again; once.
    pub(super) fn take_untold(&mut self) -> Option<Vec<Fingerprint>> {
        std::mem::take(&mut self.untold).then(|| self.keys.iter().copied().collect())
    }
}

/// 64 KiB of keys, as many as the guard itself keeps for a rebuild.
const KEPT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Fingerprint {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Fingerprint::from_bytes(bytes)
    }

    #[test]
    fn the_last_keys_are_told_again_once_and_only_where_there_is_doubt() {
        let mut own = Own::default();
        for number in 0..KEPT + 7 {
            own.push(key(number));
        }
        assert_eq!(own.take_untold(), None);
        own.doubt();
        let last: Vec<_> = (7..KEPT + 7).map(key).collect();
        assert_eq!(own.take_untold(), Some(last));
        assert_eq!(own.take_untold(), None);
    }
}
