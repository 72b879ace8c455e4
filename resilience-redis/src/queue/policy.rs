use std::time::Duration;

use resilience_core::InvalidPolicy;

/// What a queue is called, who reads it, and what it holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) name: &'static str,
    pub(super) capacity: u64,
    pub(super) groups: &'static [&'static str],
    pub(super) longest_payload: usize,
    pub(super) abandoned_after: Duration,
    pub(super) deliveries: u32,
    pub(super) remember: Duration,
    pub(super) dead_letters: u64,
    pub(super) keep_dead_letters: Duration,
}

impl Policy {
    /// 10 000 messages of up to 64 KiB, for one group called `workers`; given out again after 30 s, 5
    /// times in all.
    ///
    /// `name` stands in keys, refusals and metrics.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            capacity: 10_000,
            groups: &["workers"],
            longest_payload: 64 * 1024,
            abandoned_after: Duration::from_secs(30),
            deliveries: 5,
            remember: Duration::from_secs(600),
            dead_letters: 1_000,
            keep_dead_letters: WEEK,
        }
    }

    /// Sets how many messages it holds at most: 1 to 2^53 - 1. Default: 10 000.
    ///
    /// What consumers get done in the time for which a message is of use to anybody. Messages that
    /// all groups are done with do not count; they are kept while one in front of them is not done,
    /// up to four times as many in all. (Before Redis 7.0, and after somebody deleted messages, they
    /// count.) While such are kept, one that several groups were given and are not done with counts for
    /// each of them: there may be less room, and never more.
    #[must_use]
    pub const fn capacity(mut self, messages: u64) -> Self {
        self.capacity = messages;
        self
    }

    /// Sets who reads it: 1 to 16 groups, each of which gets every message once. Default: `workers`.
    ///
    /// All processes must name the same groups: a message goes when all of them are done with it,
    /// and those that were named earlier. One that is given up fills the queue until
    /// [`Queue::drop_group`](super::Queue::drop_group) says so.
    #[must_use]
    pub const fn groups(mut self, groups: &'static [&'static str]) -> Self {
        self.groups = groups;
        self
    }

    /// Sets how many bytes a message has at most: up to 1 MiB. Default: 64 KiB.
    ///
    /// What is larger belongs elsewhere, and its name in here.
    #[must_use]
    pub const fn longest_payload(mut self, bytes: usize) -> Self {
        self.longest_payload = bytes;
        self
    }

    /// Sets after how long a message that was not acknowledged is given to another consumer: 1 ms to
    /// a day. Default: 30 s.
    ///
    /// Longer than a batch takes: a slow consumer is not a dead one.
    #[must_use]
    pub const fn abandoned_after(mut self, time: Duration) -> Self {
        self.abandoned_after = time;
        self
    }

    /// Sets how often a message is given out until it becomes a dead letter: at least once.
    /// Default: 5 times.
    ///
    /// The first time counts when Redis sends the message; every other when it has arrived, so that
    /// no message is given up because answers are late.
    #[must_use]
    pub const fn deliveries(mut self, times: u32) -> Self {
        self.deliveries = times;
        self
    }

    /// Sets how long the id of a message is known: 1 ms to 30 days. Default: ten minutes.
    ///
    /// Longer than anybody tries again.
    #[must_use]
    pub const fn remember(mut self, time: Duration) -> Self {
        self.remember = time;
        self
    }

    /// Sets how many dead letters there are at most: 1 to 2^53 - 1. Default: 1 000.
    ///
    /// Where there are as many, and none is old enough to go, messages that nobody can do anything
    /// with stay in the queue.
    #[must_use]
    pub const fn dead_letters(mut self, letters: u64) -> Self {
        self.dead_letters = letters;
        self
    }

    /// Sets how long a dead letter is kept: 1 ms to 365 days. Default: a week.
    #[must_use]
    pub const fn keep_dead_letters(mut self, time: Duration) -> Self {
        self.keep_dead_letters = time;
        self
    }

    /// Messages that one answer of the server may hold.
    pub(super) const fn messages_a_step(&self) -> usize {
        let messages = BYTES_A_STEP / self.longest_payload;
        if messages > MOST_A_STEP {
            MOST_A_STEP
        } else if messages == 0 {
            1
        } else {
            messages
        }
    }

    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        let numbers = [
            ("capacity", self.capacity),
            ("dead_letters", self.dead_letters),
        ];
        for (field, number) in numbers {
            if !(1..1 << 53).contains(&number) {
                return Err(InvalidPolicy::new(field, "must be 1 to 2^53 - 1"));
            }
        }
        self.check_times()?;
        if !(1..=LARGEST_PAYLOAD).contains(&self.longest_payload) {
            return Err(InvalidPolicy::new(
                "longest_payload",
                "must be 1 byte to 1 MiB",
            ));
        }
        if self.deliveries == 0 {
            return Err(InvalidPolicy::new("deliveries", "must be at least 1"));
        }
        self.check_groups()
    }

    fn check_times(&self) -> Result<(), InvalidPolicy> {
        let times = [
            (
                "abandoned_after",
                self.abandoned_after,
                DAY,
                "must be 1 ms to a day",
            ),
            (
                "remember",
                self.remember,
                DAY * 30,
                "must be 1 ms to 30 days",
            ),
            (
                "keep_dead_letters",
                self.keep_dead_letters,
                DAY * 365,
                "must be 1 ms to 365 days",
            ),
        ];
        for (field, time, longest, problem) in times {
            if !(SHORTEST..=longest).contains(&time) {
                return Err(InvalidPolicy::new(field, problem));
            }
        }
        Ok(())
    }

    fn check_groups(&self) -> Result<(), InvalidPolicy> {
        if !(1..=MOST_GROUPS).contains(&self.groups.len()) {
            return Err(InvalidPolicy::new("groups", "must be 1 to 16"));
        }
        for (index, group) in self.groups.iter().enumerate() {
            if !(1..=LONGEST_GROUP).contains(&group.len()) {
                return Err(InvalidPolicy::new(
                    "groups",
                    "must have names of 1 to 64 bytes",
                ));
            }
            if self.groups[..index].contains(group) {
                return Err(InvalidPolicy::new("groups", "must have a name each"));
            }
        }
        Ok(())
    }
}

/// The server counts in milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);
/// 24 × 60 × 60 s.
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// One of them holds up whoever shares its server for about a millisecond.
const LARGEST_PAYLOAD: usize = 1024 * 1024;
/// Less than a millisecond of the server's time, in which nobody else is answered.
const BYTES_A_STEP: usize = 1024 * 1024;
/// As much time for what is short: each message is noted as given out.
const MOST_A_STEP: usize = 250;
/// Each push to a full queue looks at all of them.
const MOST_GROUPS: usize = 16;
const LONGEST_GROUP: usize = 64;
