//! From shares and factors back to whole numbers.

/// The whole part of `value`: 0 below zero and for what is no number, at most `u64::MAX`.
#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "saturation is what is asked for"
)]
pub(crate) const fn saturate(value: f64) -> u64 {
    value as u64
}
