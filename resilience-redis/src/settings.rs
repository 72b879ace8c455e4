//! How a store reaches its server.

use std::time::Duration;

use resilience_core::InvalidPolicy;

use crate::key;

/// How a [`RedisStore`](crate::RedisStore) reaches its server and names its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    prefix: String,
    decision_timeout: Duration,
    connect_timeout: Duration,
    dead_after: Duration,
}

impl Settings {
    /// All defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            prefix: "res".to_owned(),
            decision_timeout: Duration::from_millis(10),
            connect_timeout: Duration::from_secs(1),
            dead_after: Duration::from_secs(1),
        }
    }

    /// Sets what every key begins with. Default: `res`.
    ///
    /// Stores share their counts where server, database and prefix are the same. A short one is worth
    /// it: the server needs less memory and less time for a key whose whole name has up to 44 bytes.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long one decision may take in all. Default: 10 ms.
    ///
    /// Someone waits for the answer with a request in hand; a limit that stalls its service is
    /// worse than none.
    #[must_use]
    pub const fn decision_timeout(mut self, timeout: Duration) -> Self {
        self.decision_timeout = timeout;
        self
    }

    /// Sets how long one attempt to connect may take, the login included. Default: 1 s.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a connection that left a call unanswered may leave a `PING` unanswered as
    /// well, until it is given up and made anew. Default: 1 s.
    ///
    /// A network that swallows packets reports no error, and the operating system alone takes
    /// about 15 minutes to notice. Not a number of timeouts: hundreds of calls time out together
    /// when the server stalls for a moment, and a server that is slower than every deadline needs
    /// no new connections on top.
    #[must_use]
    pub const fn dead_after(mut self, silence: Duration) -> Self {
        self.dead_after = silence;
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidPolicy> {
        if key::encoded_len(self.prefix.as_bytes()) > key::LONGEST_PREFIX {
            return Err(InvalidPolicy::new(
                "prefix",
                "must have at most 64 bytes, each one other than an ASCII letter, digit, `-`, `_`, \
                 `.` or `~` counted as three",
            ));
        }
        let times = [
            ("decision_timeout", self.decision_timeout),
            ("connect_timeout", self.connect_timeout),
            ("dead_after", self.dead_after),
        ];
        for (field, time) in times {
            if time < SHORTEST || time > LONGEST {
                return Err(InvalidPolicy::new(field, "must be 1 ms to 1 hour"));
            }
        }
        Ok(())
    }

    pub(crate) fn key_prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) const fn time_to_decide(&self) -> Duration {
        self.decision_timeout
    }

    pub(crate) const fn time_to_connect(&self) -> Duration {
        self.connect_timeout
    }

    pub(crate) const fn longest_silence(&self) -> Duration {
        self.dead_after
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

/// Timers and socket options count in milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(60 * 60);
