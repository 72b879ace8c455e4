//! The one place where chance comes from.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Where an engine draws its jitter: from the thread's generator, or from a seed so that a run
/// can be repeated.
///
/// Good enough to spread load; not for secrets.
#[derive(Clone, Debug, Default)]
pub struct Random(Option<Arc<AtomicU64>>);

/// 2^64 divided by the golden ratio, the step of SplitMix64.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    /// Draws that depend on `seed` and on their order alone; clones share the sequence.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(seed))))
    }

    /// A number in `[0, 1)`, each as likely as the next.
    #[must_use]
    pub fn unit(&self) -> f64 {
        let Some(state) = &self.0 else {
            return fastrand::f64();
        };
        // SplitMix64 (Steele, Lea, Flood 2014), of which the upper 53 bits make the fraction.
        let mut z = state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_draws_within_zero_and_one() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        for _ in 0..1000 {
            let draw = a.unit();
            assert!((0.0..1.0).contains(&draw));
            assert_eq!(draw.to_bits(), b.unit().to_bits());
        }
    }
}
