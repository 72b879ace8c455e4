//! The time on a server, as its answers tell.

use std::time::Duration;

use resilience_core::Timestamp;

/// What the clock of one server shows, as far as its last answer tells.
///
/// Only a guess, to ask the right question: the server looks at its clock itself, and answers
/// nothing but the time where the guess was wrong. The clock of this machine's wall is never read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServerClock {
    /// When the last question that was answered was sent, and the microseconds since 1970 that the
    /// server read when it had it.
    heard: Option<(Timestamp, u64)>,
}

impl ServerClock {
    /// What the server will read when it has a question that is sent at `now`, if that takes as
    /// long as the last one did; 0 where it was never heard.
    pub(super) fn at(&self, now: Timestamp) -> u64 {
        self.heard.map_or(0, |(sent, micros)| {
            let passed = now.saturating_since(sent).as_micros();
            micros.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
        })
    }

    /// What the server read last; 0 where it was never heard. It can read no less, unless its clock
    /// is set back.
    pub(super) fn last(&self) -> u64 {
        self.heard.map_or(0, |(_, micros)| micros)
    }

    /// The server read `micros` when it had a question that was sent at `sent`.
    pub(super) fn hear(&mut self, sent: Timestamp, micros: u64) {
        self.heard = Some((sent, micros));
    }
}

/// Time since 1970.
pub(super) const fn since_1970(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_tells_the_time() {
        let at = Timestamp::from_nanos;
        let mut clock = ServerClock::default();
        assert_eq!((clock.at(at(5_000)), clock.last()), (0, 0));
        clock.hear(at(10_000), 1_000_000);
        assert_eq!(clock.at(at(10_000)), 1_000_000);
        assert_eq!(clock.at(at(13_999)), 1_000_003);
        assert_eq!(clock.last(), 1_000_000);
        // Either clock was set back: so be it.
        clock.hear(at(20_000), 500);
        assert_eq!(clock.at(at(30_000)), 510);
        clock.hear(at(7_000), 1_000_007);
        assert_eq!(clock.at(at(6_000)), 1_000_007);
        assert_eq!(clock.at(at(9_000)), 1_000_009);
    }
}
