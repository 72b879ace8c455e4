//! What stands ahead of an entry in Redis: a mark, the version, flags, and when the entry ends.
//!
//! When it ends stands in the entry because asking for it costs a second command a read.

use std::time::Duration;

/// A moment by the server's clock, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerTime(pub(super) u64);

impl ServerTime {
    pub(super) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// By how many milliseconds this is ahead of another clock that says `local`.
    pub(super) fn ahead_of(self, local: u64) -> i64 {
        let [server, local] = [self.0, local].map(|it| i64::try_from(it).unwrap_or(i64::MAX));
        server.saturating_sub(local)
    }

    pub(super) const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// `entry`, which ends at `end`.
pub(super) fn wrap(entry: &[u8], end: ServerTime) -> Vec<u8> {
    let mut framed = Vec::with_capacity(HEAD + entry.len());
    framed.extend(MARK);
    framed.push(VERSION);
    framed.push(NO_FLAGS);
    framed.extend(end.0.to_le_bytes());
    framed.extend(entry);
    framed
}

/// The entry and when it ends; `None` for what this version has not written.
pub(super) fn unwrap(framed: &[u8]) -> Option<(&[u8], ServerTime)> {
    let rest = framed.strip_prefix(&MARK)?;
    let rest = rest.strip_prefix(&[VERSION, NO_FLAGS])?;
    let (end, entry) = rest.split_first_chunk()?;
    Some((entry, ServerTime(u64::from_le_bytes(*end))))
}

/// Rounded up, so that nothing lives for zero.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

const MARK: [u8; 2] = *b"rc";
const VERSION: u8 = 1;
/// None is known yet; an entry with any is from a later version.
const NO_FLAGS: u8 = 0;
const HEAD: usize = MARK.len() + 2 + size_of::<u64>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrapped_is_unwrapped_and_nothing_else_is() {
        let end = ServerTime(1_763_800_000_000);
        let framed = wrap(b"soup", end);
        assert_eq!(unwrap(&framed), Some((&b"soup"[..], end)));
        assert_eq!(unwrap(&wrap(b"", end)), Some((&b""[..], end)));
        for length in 0..HEAD {
            assert_eq!(unwrap(&framed[..length]), None);
        }
        for at in 0..4 {
            let mut other = framed.clone();
            other[at] ^= 1;
            assert_eq!(unwrap(&other), None);
        }
    }

    #[test]
    fn ends_are_counted_up_and_never_overflow() {
        let start = ServerTime(5);
        assert_eq!(start.after(Duration::from_nanos(1)), ServerTime(6));
        assert_eq!(start.after(Duration::MAX), ServerTime(u64::MAX));
        assert_eq!(start.since(ServerTime(9)), Duration::ZERO);
    }
}
