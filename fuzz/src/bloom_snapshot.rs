//! Whatever is loaded for a snapshot, no key that was inserted is refused; what is loaded is saved
//! again byte for byte; and what is no good makes the guard let everything pass.

use resilience_core::{
    BloomGuard,
    bloom_guard::{Policy, Presence, SnapshotError, Standing},
};

use super::bytes::Bytes;

const SEED: [u8; 32] = *b"thirty-two bytes that are secret";

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let policy = Policy::new("fuzz").expected_keys(16).seed(SEED);
    let guard = BloomGuard::<u8>::new(policy).expect("a policy that works");
    let inserted: Vec<u8> = (0..bytes.u8() % 8).map(|_| bytes.u8()).collect();
    inserted.iter().for_each(|key| guard.insert(key));
    let snapshot = snapshot(&mut bytes);
    match guard.load(&snapshot) {
        Ok(()) => {
            // A snapshot with every bit set may be overloaded, and is no worse for it.
            assert_ne!(guard.snapshot().standing, Standing::Empty);
            let saved = guard.save().expect("it is loaded");
            assert_eq!(saved.len(), snapshot.len());
            let lost = snapshot
                .iter()
                .zip(&saved)
                .any(|(old, new)| old & !new != 0);
            assert!(!lost, "a bit of the snapshot is lost");
            assert!(!inserted.is_empty() || saved == snapshot);
        }
        Err(error) => {
            assert_ne!(error, SnapshotError::RebuildUnderWay);
            assert_eq!(guard.save(), None);
            assert!((0..=u8::MAX).all(|key| guard.check(&key) == Presence::Maybe));
        }
    }
    assert!(
        inserted
            .iter()
            .all(|key| guard.check(key) == Presence::Maybe)
    );
}

/// Bytes as they come, or under a header that is right but for one thing.
fn snapshot(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let (wrong, hashes) = (bytes.u8() % 8, bytes.u8() % 70);
    let bits = bytes.take(200);
    if wrong == 0 {
        return bits.to_vec();
    }
    let size = bits.len() as u64 + u64::from(wrong == 1);
    let seed = if wrong == 2 { [0; 32] } else { SEED };
    let version = if wrong == 3 { 0 } else { 1 };
    let mut snapshot = vec![version];
    snapshot.extend(size.to_le_bytes());
    snapshot.extend(u32::from(hashes).to_le_bytes());
    snapshot.extend(seed);
    snapshot.extend(bits);
    snapshot
}
