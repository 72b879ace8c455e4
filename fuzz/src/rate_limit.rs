//! No window ever holds more than its quota, and whoever comes back when told to is let in.

use std::time::Duration;

use resilience_core::{
    Environment, ManualClock, Rejected, Timestamp,
    rate_limit::{Algorithm, Policy, Quota, RateLimiter, Reservation},
};

use super::bytes::Bytes;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let rules: Vec<Rule> = (0..=bytes.u8() % 2)
        .map(|_| Rule::read(&mut bytes))
        .collect();
    let max_wait = bytes.duration();
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    let policy = policy(&rules, max_wait);
    let Ok(limiter) = RateLimiter::new_in(policy.clone(), &environment) else {
        return;
    };
    let mut till = Till {
        limiter,
        clock,
        rules,
        policy,
        reserved: Vec::new(),
        used: Default::default(),
        exact: true,
        taken_back: false,
        steady: true,
    };
    while !bytes.is_empty() {
        till.step(&mut bytes);
    }
    till.check();
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    algorithm: Algorithm,
    limit: u64,
    per: Duration,
    burst: Option<u64>,
}

impl Rule {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        let algorithm = match bytes.u8() % 3 {
            0 => Algorithm::SlidingLog,
            1 => Algorithm::SlidingWindow,
            _ => Algorithm::Gcra,
        };
        let limit = match bytes.u8() {
            255 => bytes.u64(),
            limit => u64::from(limit % 8),
        };
        let burst = match (algorithm, bytes.u8()) {
            (Algorithm::Gcra, burst @ 0..8) => Some(u64::from(burst)),
            _ => None,
        };
        Self {
            algorithm,
            limit,
            per: bytes.duration(),
            burst,
        }
    }

    fn quota(&self) -> Quota {
        let quota = Quota::new(self.limit, self.per).algorithm(self.algorithm);
        match self.burst {
            Some(burst) => quota.burst(burst),
            None => quota,
        }
    }

    /// The most units that may be used from one instant up to another, by the words of the docs.
    fn most(&self, length: u64) -> Option<u128> {
        let limit = u128::from(self.limit);
        // Longer ones count as 2^64 nanoseconds.
        let per = self.per.as_nanos().min(u128::from(u64::MAX));
        match self.algorithm {
            Algorithm::Gcra => {
                // A wait is rounded up, so that booked units may be used up to a nanosecond after
                // the instant that they count from.
                let refilled = (limit * (u128::from(length) + 1)).div_ceil(per);
                Some(refilled + u128::from(self.burst.unwrap_or(self.limit)))
            }
            _ => (u128::from(length) < per).then_some(limit),
        }
    }
}

fn policy(rules: &[Rule], max_wait: Duration) -> Policy {
    let (first, rest) = rules.split_first().expect("there is one at least");
    rest.iter().fold(
        Policy::new("fuzz", first.quota()).max_wait(max_wait),
        |policy, rule| policy.and(rule.quota()),
    )
}

const KEYS: u8 = 2;

/// The limiter, its customers, and what they used.
struct Till {
    limiter: RateLimiter<u8>,
    clock: ManualClock,
    rules: Vec<Rule>,
    policy: Policy,
    reserved: Vec<(u8, (Timestamp, u64), Reservation<u8>)>,
    /// When how many units may be used, by key.
    used: [Vec<(Timestamp, u64)>; KEYS as usize],
    /// Whether `used` is all that counts: not after a refund, since nobody says which units came
    /// back.
    exact: bool,
    /// Whether units were taken back from under bookings: a bucket, which is one number, does not
    /// move those bookings, and can hold more than its burst when they fall due.
    taken_back: bool,
    /// Whether the clock never went back; then the limiter's time stands still for a while.
    steady: bool,
}

impl Till {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let key = bytes.u8() % KEYS;
        match bytes.u8() % 16 {
            0..=4 => self.take(key, u64::from(bytes.u8() % 4)),
            5 => self.take(key, bytes.u64()),
            6 | 7 => self.reserve(key, u64::from(bytes.u8() % 4)),
            8 => self.cancel(bytes),
            9 => self.peek(key),
            10 | 11 => self.come_back(key, u64::from(bytes.u8() % 4)),
            12 => match bytes.u8() {
                0..64 => {
                    self.limiter.refund(&key, bytes.u64());
                    self.exact = false;
                }
                64..80 => self.set_clock(Timestamp::from_nanos(bytes.u64())),
                _ => self.reconfigure(),
            },
            _ => {
                let then = self.clock.now().saturating_add(bytes.duration());
                self.set_clock(then);
            }
        }
    }

    fn take(&mut self, key: u8, units: u64) {
        let before = self.limiter.peek(&key);
        let taken = self.limiter.try_take_n(&key, units);
        assert_eq!(taken.is_ok(), units <= before.remaining, "{before:?}");
        match taken {
            Ok(_) => self.use_at(key, self.clock.now(), units),
            Err(_) => assert_eq!(self.limiter.peek(&key), before),
        }
    }

    fn reserve(&mut self, key: u8, units: u64) {
        let before = self.limiter.peek(&key);
        match self.limiter.reserve(&key, units) {
            Ok(reservation) => {
                let due = self.clock.now().saturating_add(reservation.wait());
                self.use_at(key, due, units);
                self.reserved.push((key, (due, units), reservation));
            }
            Err(_) => assert_eq!(self.limiter.peek(&key), before),
        }
    }

    fn cancel(&mut self, bytes: &mut Bytes<'_>) {
        if self.reserved.is_empty() {
            return;
        }
        let index = usize::from(bytes.u8()) % self.reserved.len();
        let (key, use_, reservation) = self.reserved.swap_remove(index);
        reservation.cancel();
        self.taken_back = true;
        let used = &mut self.used[usize::from(key)];
        if let Some(index) = used.iter().position(|it| *it == use_) {
            used.swap_remove(index);
        }
    }

    fn peek(&mut self, key: u8) {
        let standing = self.limiter.peek(&key);
        assert_eq!(standing.remaining == 0, !standing.retry_after.is_zero());
        let more = standing.remaining.saturating_add(1);
        if more > standing.remaining {
            assert!(self.limiter.try_take_n(&key, more).is_err());
        }
        assert_eq!(self.limiter.peek(&key), standing);
        self.take(key, standing.remaining);
    }

    /// The wait that a refusal names is long enough, and no shorter one is.
    fn come_back(&mut self, key: u8, units: u64) {
        let Some(wait) = self.refused(key, units) else {
            return;
        };
        let now = self.clock.now();
        let then = now.saturating_add(wait);
        if wait.is_zero() || then > LATEST || !self.steady {
            return;
        }
        self.clock.set(Timestamp::from_nanos(then.as_nanos() - 1));
        assert_eq!(self.refused(key, units), Some(Duration::from_nanos(1)));
        self.clock.set(then);
        self.take(key, units);
        assert_eq!(self.limiter.try_take_n(&key, 0).err(), None);
    }

    /// How long to wait for units that are not to be had now.
    fn refused(&mut self, key: u8, units: u64) -> Option<Duration> {
        let refusal = self.limiter.try_take_n(&key, units);
        match refusal {
            Ok(_) => {
                self.use_at(key, self.clock.now(), units);
                None
            }
            Err(refusal) => Rejected::retry_after(&refusal),
        }
    }

    fn reconfigure(&mut self) {
        let same = self.limiter.reconfigure(self.policy.clone());
        assert!(same.is_ok(), "{same:?}");
    }

    fn set_clock(&mut self, then: Timestamp) {
        self.steady &= then >= self.clock.now();
        self.exact &= then <= LATEST;
        self.clock.set(then);
    }

    fn use_at(&mut self, key: u8, due: Timestamp, units: u64) {
        self.exact &= due <= LATEST;
        if units > 0 {
            self.used[usize::from(key)].push((due, units));
        }
    }

    fn check(&mut self) {
        if !self.exact || !self.steady {
            return;
        }
        let holds = |rule: &&Rule| rule.algorithm != Algorithm::Gcra || !self.taken_back;
        let rules: Vec<_> = self.rules.iter().filter(holds).collect();
        for used in &mut self.used {
            used.sort_unstable();
            for first in 0..used.len() {
                check_windows(&used[first..], &rules);
            }
        }
    }
}

/// Checks all windows that begin with the first use.
fn check_windows(used: &[(Timestamp, u64)], rules: &[&Rule]) {
    let start = used[0].0.as_nanos();
    let mut sum = 0;
    for (due, units) in used {
        sum += u128::from(*units);
        let length = due.as_nanos() - start;
        for rule in rules {
            let most = rule.most(length).unwrap_or(u128::MAX);
            assert!(sum <= most, "{sum} in {length} ns by {rule:?}");
        }
    }
}

/// Later than this, waits meet the end of time.
const LATEST: Timestamp = Timestamp::from_nanos(u64::MAX / 2);
