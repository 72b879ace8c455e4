use std::{fmt, time::Duration};

use resilience_core::Timestamp;

/// How long a lock is surely ours, and when to ask for more: a machine without a clock.
///
/// ```text
/// taken ──▶ held ──renewed──▶ held
///             ├──── another has it ──▶ lost
///             └──── not renewed by `valid_until` ──▶ lost
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    ttl: Duration,
    standing: Standing,
    renew_at: Timestamp,
}

/// Whether a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody else has it before this instant.
    Until(Timestamp),
    /// It is held no more.
    Lost(Loss),
}

/// Why a lock is held no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// It could not be renewed in time, or its holder stood still for too long.
    Expired,
    /// The server says that it is another's or nobody's.
    Taken,
}

/// What the server said to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    Renewed,
    NotOwner,
    /// It may have been renewed, or not.
    NoAnswer,
}

impl Lease {
    /// A lock that was taken by a request which was sent at `sent`.
    pub(super) fn taken(ttl: Duration, sent: Timestamp) -> Self {
        Self {
            ttl,
            standing: Standing::Until(valid_until(ttl, sent)),
            renew_at: sent.saturating_add(ttl / RENEWALS),
        }
    }

    pub(super) const fn standing(&self) -> Standing {
        self.standing
    }

    /// When the server is to be asked for more, or the end has come; `None` where it has.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        match self.standing {
            Standing::Until(until) => Some(self.renew_at.min(until)),
            Standing::Lost(_) => None,
        }
    }

    /// The request for a renewal that was sent at `sent` has ended so.
    pub(super) fn answered(&mut self, now: Timestamp, sent: Timestamp, answer: Renewal) {
        let Standing::Until(until) = self.standing else {
            return;
        };
        match answer {
            // Its work was told to stop, and why: what the server says after that changes nothing.
            _ if now >= until => self.standing = Standing::Lost(Loss::Expired),
            Renewal::NotOwner => self.standing = Standing::Lost(Loss::Taken),
            Renewal::Renewed => *self = Self::taken(self.ttl, sent),
            Renewal::NoAnswer => self.renew_at = now.saturating_add(self.ttl / RETRIES),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the lock was not renewed in time",
            Self::Taken => "the lock is another's or nobody's",
        })
    }
}

impl std::error::Error for Loss {}

/// The server counts the time to live from when it runs the request, which is not before `sent`,
/// and by a clock that may be faster than ours.
fn valid_until(ttl: Duration, sent: Timestamp) -> Timestamp {
    sent.saturating_add(ttl.saturating_sub(ttl / 100).saturating_sub(GRAIN))
}

/// Two renewals may fail before the lock is lost.
const RENEWALS: u32 = 3;
/// A renewal without an answer is tried again soon, yet not so soon that a server which just came
/// back has to hear of nothing else.
const RETRIES: u32 = 20;
/// The server's clock for expiry counts in whole milliseconds, and so does the timer.
const GRAIN: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_millis(3000);

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO.saturating_add(Duration::from_millis(millis))
    }

    #[test]
    fn a_lock_that_is_renewed_every_third_is_held_on() {
        let mut lease = Lease::taken(TTL, at(0));
        for round in 1..100 {
            let due = at(round * 1000);
            assert_eq!(lease.wake_at(), Some(due));
            let now = due.saturating_add(TTL / 6);
            lease.answered(now, due, Renewal::Renewed);
            assert_eq!(lease.standing(), Standing::Until(at(round * 1000 + 2968)));
        }
    }

    #[test]
    fn a_server_without_an_answer_is_asked_again_until_the_end_that_was_surely_ours() {
        let mut lease = Lease::taken(TTL, at(0));
        let mut asked = Vec::new();
        while let Some(due) = lease.wake_at() {
            asked.push(due);
            lease.answered(due, due, Renewal::NoAnswer);
        }
        assert_eq!(lease.standing(), Standing::Lost(Loss::Expired));
        assert_eq!(asked.first(), Some(&at(1000)));
        assert_eq!(asked.last(), Some(&at(2968)));
        assert_eq!(asked.len(), 15);
    }

    #[test]
    fn an_answer_that_comes_after_the_end_changes_nothing() {
        for answer in [Renewal::Renewed, Renewal::NotOwner, Renewal::NoAnswer] {
            let mut lease = Lease::taken(TTL, at(0));
            lease.answered(at(2968), at(1000), answer);
            assert_eq!(lease.standing(), Standing::Lost(Loss::Expired));
            lease.answered(at(2969), at(2900), Renewal::Renewed);
            assert_eq!(lease.standing(), Standing::Lost(Loss::Expired));
        }
    }

    #[test]
    fn whoever_hears_that_another_has_it_has_lost_it_at_once() {
        let mut lease = Lease::taken(TTL, at(0));
        lease.answered(at(1001), at(1000), Renewal::NotOwner);
        assert_eq!(lease.standing(), Standing::Lost(Loss::Taken));
        assert_eq!(lease.wake_at(), None);
    }
}
