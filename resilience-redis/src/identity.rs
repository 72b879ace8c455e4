//! Names that no two callers in the fleet share.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// A name that nobody else uses: 128 bits of this process, and a number of its own.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number:x}", process())
}

/// The part of every [`unique`] name that is this process.
pub(crate) fn process() -> &'static str {
    // The operating system's own randomness, by way of the one thing in `std` that asks for it.
    static PROCESS: LazyLock<String> = LazyLock::new(|| {
        let [high, low] = [(); 2].map(|()| RandomState::new().hash_one(()));
        format!("{high:016x}{low:016x}")
    });
    &PROCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_short() {
        let (one, other) = (unique(), unique());
        assert_ne!(one, other);
        assert!(one.starts_with(process()) && one.len() <= 64, "{one}");
    }
}
