use std::time::Duration;

use super::{
    geometry::{Geometry, LEAST_RATE},
    hash::Secret,
    misses,
};
use crate::{InvalidPolicy, invalid::check_name};

/// How many keys a guard is sized for, and how often it may be wrong about others.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub(super) name: &'static str,
    pub(super) expected_keys: u64,
    pub(super) false_positive_rate: f64,
    pub(super) overload_factor: f64,
    pub(super) seed: Option<Secret>,
    pub(super) remember: Option<(usize, Duration)>,
}

impl Policy {
    /// 100 000 keys, of unknown keys 1 in 100 taken for known, a random seed, and nothing
    /// remembered.
    ///
    /// `name` stands in refusals, metrics and logs.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            expected_keys: 100_000,
            false_positive_rate: 0.01,
            overload_factor: 2.0,
            seed: None,
            remember: None,
        }
    }

    /// Sets how many keys the filter is sized for. Default 100 000.
    ///
    /// More can be inserted, at the price of more false positives; the next rebuild is then sized
    /// for twice as many, or four times, and so on. At 1 in 100 a key takes 10 bits; the filter
    /// must fit into 512 MiB. With an [exact set](super::BloomGuard::exact) it is only the number
    /// from which on [`Event::FilterFull`](crate::Event::FilterFull) says that there are more.
    #[must_use]
    pub const fn expected_keys(mut self, expected_keys: u64) -> Self {
        self.expected_keys = expected_keys;
        self
    }

    /// Sets how many of the unknown keys may pass while the filter holds no more than it is sized
    /// for, from 1e-12 to below 1. Default 0.01.
    #[must_use]
    pub const fn false_positive_rate(mut self, false_positive_rate: f64) -> Self {
        self.false_positive_rate = false_positive_rate;
        self
    }

    /// Sets the seed of the hashes, which is needed where snapshots are to be
    /// [loaded](super::BloomGuard::load). Default: drawn from the operating system.
    ///
    /// Each half is the key of one hash, and they must differ.
    ///
    /// Keep it as secret as a password: who knows it can choose unknown keys that all pass. It
    /// is never printed, but it is part of every snapshot.
    #[must_use]
    pub const fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(Secret(seed));
        self
    }

    /// Sets from how many times its size on a filter is no longer asked, so that everything
    /// passes until it is rebuilt: at least 1. Default 2, where a filter made for 1 false positive
    /// in 100 has become wrong about 16. Infinite is never.
    #[must_use]
    pub const fn overload_factor(mut self, overload_factor: f64) -> Self {
        self.overload_factor = overload_factor;
        self
    }

    /// Remembers up to `capacity` false positives (at most 2^24, 32 bytes each), each for `ttl`
    /// from the answer that told so. By default none are.
    ///
    /// Only where "not found" is about the key itself: an answer of 404 for a missing photograph
    /// of a dish that exists would hide the dish for as long.
    #[must_use]
    pub const fn remember(mut self, capacity: usize, ttl: Duration) -> Self {
        self.remember = Some((capacity, ttl));
        self
    }

    /// What stands in refusals, metrics and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        check_name(self.name)?;
        if self.expected_keys == 0 {
            return Err(InvalidPolicy::new("expected_keys", "must be at least 1"));
        }
        if !(LEAST_RATE..1.0).contains(&self.false_positive_rate) {
            return Err(InvalidPolicy::new(
                "false_positive_rate",
                "must be at least 1e-12 and below 1",
            ));
        }
        // Not-a-number is not at least 1 either.
        if self.overload_factor.is_nan() || self.overload_factor < 1.0 {
            return Err(InvalidPolicy::new("overload_factor", "must be at least 1"));
        }
        if self.seed.is_some_and(|it| it.0[..16] == it.0[16..]) {
            return Err(InvalidPolicy::new(
                "seed",
                "must have two halves that differ: each is the key of one hash",
            ));
        }
        if let Some((capacity, ttl)) = self.remember {
            if !(1..=misses::MOST).contains(&capacity) {
                return Err(InvalidPolicy::new(
                    "remember",
                    "must hold at least 1 key and at most 2^24",
                ));
            }
            if ttl.is_zero() {
                return Err(InvalidPolicy::new("remember", "must last longer than zero"));
            }
        }
        Ok(())
    }

    /// Whether others can have the same seed.
    pub(super) fn check_seed(&self) -> Result<(), InvalidPolicy> {
        if self.seed.is_some() {
            return Ok(());
        }
        Err(InvalidPolicy::new(
            "seed",
            "must be given: all processes of a fleet need the same",
        ))
    }

    /// Whether a filter of bits can be as large as this asks for.
    pub(super) fn check_bits(&self) -> Result<(), InvalidPolicy> {
        if Geometry::fits(self.expected_keys, self.false_positive_rate) {
            return Ok(());
        }
        Err(InvalidPolicy::new(
            "expected_keys",
            "must be fewer, or the false positive rate higher: the filter would exceed 512 MiB",
        ))
    }
}
