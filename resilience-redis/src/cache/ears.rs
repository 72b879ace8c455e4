//! Where a process hears, and what is known of the servers there.

use std::collections::HashMap;

use super::{ear::Ear, frame::ServerTime, pulse::Pulse};
use crate::connection::Node;

/// Where a process hears.
#[derive(Default)]
#[allow(
    clippy::mutable_key_type,
    reason = "a node is known by where it is in memory"
)]
pub(super) struct Ears {
    pub(super) at: HashMap<Node, Server>,
    pub(super) in_touch: bool,
}

/// What is known of one server.
#[derive(Default)]
pub(super) struct Server {
    /// `None` while nothing is heard of it.
    pub(super) ear: Option<Ear>,
    /// What it said of itself when it was last asked.
    identity: Option<String>,
    /// How far its clock is ahead of ours, in milliseconds.
    ahead: Option<i64>,
    /// What it had heard of its cluster.
    pub(super) view: Option<String>,
    /// How often it was emptied, where it does not tell of that by itself.
    pub(super) flushes: Option<u64>,
}

impl Server {
    /// Its pulse was felt when our clock said `local`.
    pub(super) fn felt(&mut self, pulse: Pulse, local: u64) -> Told {
        self.ahead = Some(pulse.now.ahead_of(local));
        match self.identity.replace(pulse.identity) {
            known if known == self.identity => Told::AllSince,
            _ => Told::Nothing,
        }
    }

    /// What its clock says when ours says `local`, once its pulse was felt.
    pub(super) fn now(&self, local: u64) -> Option<ServerTime> {
        let ahead = self.ahead?;
        Some(ServerTime(local.saturating_add_signed(ahead)))
    }
}

/// What the server that answers now has been told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// All that it was told before: it is the same.
    AllSince,
    /// Nothing that is known of: it is another, or was not asked before.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse(millis: u64, identity: &str) -> Pulse {
        Pulse {
            now: ServerTime(millis),
            identity: identity.to_owned(),
        }
    }

    #[test]
    fn every_server_has_a_clock_of_its_own() {
        let [mut early, mut late] = [Server::default(), Server::default()];
        assert_eq!(early.now(100), None);
        early.felt(pulse(1_000, "one"), 100);
        late.felt(pulse(6_000, "other"), 100);
        assert_eq!(early.now(200), Some(ServerTime(1_100)));
        assert_eq!(late.now(200), Some(ServerTime(6_100)));
    }

    #[test]
    fn a_server_that_is_new_or_another_was_told_nothing() {
        let mut server = Server::default();
        assert_eq!(server.felt(pulse(0, "one"), 0), Told::Nothing);
        assert_eq!(server.felt(pulse(1, "one"), 1), Told::AllSince);
        assert_eq!(server.felt(pulse(2, "other"), 2), Told::Nothing);
        assert_eq!(server.felt(pulse(3, "other"), 3), Told::AllSince);
    }
}
