//! The time on a server, as its answers tell.

use std::{collections::HashMap, hash::Hash, time::Duration};

use resilience_core::Timestamp;

use crate::connection::WeakNode;

/// What the clock of one server shows, as far as its last answer tells.
///
/// Only a guess, to ask the right question: the server looks at its clock itself, and answers
/// nothing but the time where the guess was wrong. The clock of this machine's wall is never read.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::rate_limit) struct ServerClock {
    /// When the last question that was answered was sent, and the microseconds since 1970 that the
    /// server read when it had it.
    heard: Option<(Timestamp, u64)>,
}

impl ServerClock {
    /// What the server will read when it has a question that is sent at `now`, if that takes as
    /// long as the last one did; 0 where it was never heard.
    pub(in crate::rate_limit) fn at(&self, now: Timestamp) -> u64 {
        self.heard.map_or(0, |(sent, micros)| {
            let passed = now.saturating_since(sent).as_micros();
            micros.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
        })
    }

    /// What the server read last; 0 where it was never heard. It can read no less, unless its clock
    /// is set back.
    pub(in crate::rate_limit) fn last(&self) -> u64 {
        self.heard.map_or(0, |(_, micros)| micros)
    }

    /// The server read `micros` when it had a question that was sent at `sent`.
    pub(super) fn hear(&mut self, sent: Timestamp, micros: u64) {
        self.heard = Some((sent, micros));
    }
}

/// The clocks of all servers that a limiter asks; each server is an `N`.
///
/// The owners of a cluster need not agree: by the clock of another, each change of owner would cost a
/// second question.
#[derive(Debug)]
pub(in crate::rate_limit) struct ServerClocks<N> {
    /// That of the server that was heard last, of a cluster or not.
    last: ServerClock,
    /// Those of the owners of a cluster.
    owners: HashMap<N, ServerClock>,
}

/// Whether a server is still asked by anybody.
pub(in crate::rate_limit) trait IsUsed {
    fn is_used(&self) -> bool;
}

impl<N: IsUsed + Eq + Hash + Clone> ServerClocks<N> {
    /// The clock of `owner`, and of one that was never heard that of another: mostly they agree.
    /// `None` is the only server there is.
    pub(in crate::rate_limit) fn of(&self, owner: Option<&N>) -> ServerClock {
        let clock = owner.and_then(|owner| self.owners.get(owner));
        clock.copied().unwrap_or(self.last)
    }

    /// As [`ServerClock::hear`], of the clock of `owner`.
    pub(in crate::rate_limit) fn hear(&mut self, owner: Option<&N>, sent: Timestamp, micros: u64) {
        self.last.hear(sent, micros);
        let Some(owner) = owner else { return };
        if let Some(clock) = self.owners.get_mut(owner) {
            *clock = self.last;
        } else {
            // No more are kept than there are, and those that went away since the last came.
            self.owners.retain(|owner, _| owner.is_used());
            self.owners.insert(owner.clone(), self.last);
        }
    }
}

impl<N> Default for ServerClocks<N> {
    fn default() -> Self {
        Self {
            last: ServerClock::default(),
            owners: HashMap::new(),
        }
    }
}

impl IsUsed for WeakNode {
    fn is_used(&self) -> bool {
        Self::is_used(self)
    }
}

/// Time since 1970.
pub(in crate::rate_limit) const fn since_1970(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Weak};

    use super::*;

    /// A server that is used as long as somebody holds its number.
    #[derive(Clone, Debug)]
    struct Server(u8, Weak<()>);

    impl Server {
        fn new(number: u8) -> (Arc<()>, Self) {
            let user = Arc::default();
            let server = Self(number, Arc::downgrade(&user));
            (user, server)
        }
    }

    impl PartialEq for Server {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }

    impl Eq for Server {}

    impl Hash for Server {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    impl IsUsed for Server {
        fn is_used(&self) -> bool {
            self.1.strong_count() > 0
        }
    }

    #[test]
    fn every_owner_of_a_cluster_has_a_clock_of_its_own() {
        let at = Timestamp::from_nanos;
        let (_users, [one, other, third]) = {
            let all = [1, 2, 3].map(Server::new);
            (
                all.clone().map(|(user, _)| user),
                all.map(|(_, server)| server),
            )
        };
        let (one, other) = (Some(&one), Some(&other));
        let mut clocks = ServerClocks::default();
        clocks.hear(one, at(0), 1_000_000);
        // Until one is heard it is taken to agree with the others.
        assert_eq!(clocks.of(other).at(at(5_000)), 1_000_005);
        clocks.hear(other, at(0), 9_000_000);
        for _ in 0..2 {
            assert_eq!(clocks.of(one).at(at(5_000)), 1_000_005);
            assert_eq!(clocks.of(other).at(at(5_000)), 9_000_005);
        }
        assert_eq!(clocks.of(Some(&third)).last(), 9_000_000);
        clocks.hear(one, at(9_000), 500);
        assert_eq!(clocks.of(one).last(), 500);
        assert_eq!(clocks.of(other).last(), 9_000_000);
    }

    #[test]
    fn a_server_that_is_alone_has_the_only_clock() {
        let at = Timestamp::from_nanos;
        let mut clocks = ServerClocks::<Server>::default();
        assert_eq!(clocks.of(None).last(), 0);
        clocks.hear(None, at(0), 1_000_000);
        assert_eq!(clocks.of(None).at(at(7_000)), 1_000_007);
        assert_eq!(clocks.owners.capacity(), 0);
    }

    #[test]
    fn the_clock_of_an_owner_is_forgotten_when_nobody_uses_that_any_more() {
        let mut clocks = ServerClocks::default();
        let (_user, stays) = Server::new(0);
        clocks.hear(Some(&stays), Timestamp::from_nanos(0), 7);
        for number in 1..=100 {
            let (_gone_after_this, server) = Server::new(number);
            clocks.hear(Some(&server), Timestamp::from_nanos(0), 1_000);
        }
        assert_eq!(clocks.owners.len(), 2);
        assert_eq!(clocks.of(Some(&stays)).last(), 7);
    }

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
