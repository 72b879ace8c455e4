//! The rate limiter against slow, obvious models: a list of every use, looked through at every
//! step, and the textbook's arrival times in fractions.

use std::time::Duration;

use proptest::prelude::*;
use resilience_core::{
    Environment, ManualClock, Reason, Timestamp,
    rate_limit::{Algorithm, Policy, Quota, RateLimiter, Reservation},
};

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(u64),
    Reserve(u64),
    /// Gives a reservation back, whichever the number falls on.
    Cancel(usize),
    Refund(u64),
    Set(u64, u64),
    Pass(u64),
    /// A whole window, and so many nanoseconds more or less.
    PassWindow(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5_u64).prop_map(Step::Take),
        6 => (0..5_u64).prop_map(Step::Reserve),
        3 => any::<usize>().prop_map(Step::Cancel),
        1 => (0..4_u64).prop_map(Step::Refund),
        1 => rule().prop_map(|(limit, per)| Step::Set(limit, per)),
        8 => (0..12_u64).prop_map(Step::Pass),
        2 => (-1..2_i64).prop_map(Step::PassWindow),
        1 => Just(Step::Pass(1 << 40)),
    ]
}

/// Small, so that uses meet.
fn rule() -> impl Strategy<Value = (u64, u64)> {
    (1..8_u64, 1..40_u64)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..80)
}

/// Without what changes or forgets on purpose.
fn plain_steps() -> impl Strategy<Value = Vec<Step>> {
    let keep = |it: &Step| !matches!(it, Step::Set(..) | Step::Refund(_) | Step::Cancel(_));
    prop::collection::vec(step().prop_filter("plain", keep), 1..80)
}

/// Every use that may still matter: when, and how many units.
#[derive(Clone, Debug)]
struct Log {
    limit: u64,
    per: u64,
    uses: Vec<(u64, u64)>,
}

impl Log {
    /// Whether some window that contains `at` holds too much for `units` more. The fullest begins
    /// with a use.
    fn fits(&self, at: u64, units: u64) -> bool {
        let starts = self.uses.iter().map(|it| it.0).chain([at]);
        let mut starts = starts.filter(|&start| start <= at && at < start + self.per);
        starts.all(|start| self.held(start) + units <= self.limit)
    }

    /// Units in the window that begins at `start`.
    fn held(&self, start: u64) -> u64 {
        let inside = |it: &&(u64, u64)| start <= it.0 && it.0 < start + self.per;
        self.uses.iter().filter(inside).map(|it| it.1).sum()
    }

    fn earliest(&self, now: u64, units: u64) -> u64 {
        let ends = self.uses.iter().map(|it| it.0 + self.per);
        let candidates = ends.chain([now]).filter(|&at| at >= now);
        candidates.filter(|&at| self.fits(at, units)).min().unwrap()
    }

    fn remaining(&self, now: u64) -> u64 {
        (0..=self.limit)
            .rev()
            .find(|&units| self.fits(now, units))
            .unwrap_or(0)
    }

    fn forget(&mut self, now: u64) {
        self.uses.retain(|it| it.0 + self.per > now);
    }

    fn refund(&mut self, now: u64, mut units: u64) {
        self.forget(now);
        self.uses.sort_unstable();
        for (at, held) in &mut self.uses {
            if *at <= now {
                let removed = units.min(*held);
                *held -= removed;
                units -= removed;
            }
        }
        self.uses.retain(|it| it.1 > 0);
    }

    fn cancel(&mut self, at: u64, mut units: u64) {
        for (when, held) in &mut self.uses {
            if *when == at {
                let removed = units.min(*held);
                *held -= removed;
                units -= removed;
            }
        }
        self.uses.retain(|it| it.1 > 0);
    }

    fn holds_everywhere(&self) -> bool {
        let starts = self.uses.iter().map(|it| it.0);
        starts.clone().all(|start| self.held(start) <= self.limit)
    }
}

struct Bench {
    limiter: RateLimiter,
    clock: ManualClock,
    algorithm: Algorithm,
    held: Vec<(Reservation, u64, u64)>,
}

const MAX_WAIT: u64 = 100;

fn policy(algorithm: Algorithm, limit: u64, per: u64) -> Policy {
    let quota = Quota::new(limit, Duration::from_nanos(per)).algorithm(algorithm);
    Policy::new("test", quota).max_wait(Duration::from_nanos(MAX_WAIT))
}

impl Bench {
    fn new(algorithm: Algorithm, limit: u64, per: u64) -> Self {
        let clock = ManualClock::new();
        let environment = Environment::new().clock(clock.clone());
        let policy = policy(algorithm, limit, per);
        Self {
            limiter: RateLimiter::new_in(policy, &environment).unwrap(),
            clock,
            algorithm,
            held: Vec::new(),
        }
    }

    fn now(&self) -> u64 {
        self.clock.now().as_nanos()
    }

    fn pass(&self, nanos: u64) {
        self.clock.set(Timestamp::from_nanos(self.now() + nanos));
    }

    /// Zero for allowed, the wait for refused, nothing for a cost that never fits.
    fn take(&self, units: u64) -> Option<u64> {
        match self.limiter.try_take_n(&(), units) {
            Ok(_) => Some(0),
            Err(rejected) if rejected.reason() == Reason::CostExceedsQuota => None,
            Err(rejected) => Some(nanos(rejected.retry_after().unwrap())),
        }
    }

    /// The wait, where something was booked.
    fn reserve(&mut self, units: u64) -> Option<u64> {
        let reservation = self.limiter.reserve(&(), units).ok()?;
        let wait = nanos(reservation.wait());
        self.held.push((reservation, self.now() + wait, units));
        Some(wait)
    }

    fn set(&self, limit: u64, per: u64) {
        let policy = policy(self.algorithm, limit, per);
        self.limiter.reconfigure(policy).unwrap();
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn the_sliding_log_decides_as_a_list_of_every_use_does(
        (limit, per) in rule(),
        steps in steps(),
    ) {
        let mut bench = Bench::new(Algorithm::SlidingLog, limit, per);
        let mut log = Log { limit, per, uses: Vec::new() };
        for step in steps {
            let now = bench.now();
            log.forget(now);
            match step {
                Step::Take(0) => prop_assert_eq!(bench.take(0), Some(0)),
                Step::Take(units) if units > log.limit => prop_assert_eq!(bench.take(units), None),
                Step::Take(units) => {
                    let wait = log.earliest(now, units) - now;
                    prop_assert_eq!(bench.take(units), Some(wait));
                    if wait == 0 {
                        log.uses.push((now, units));
                    }
                }
                Step::Reserve(units) => {
                    let fits = units <= log.limit;
                    let wait = fits.then(|| match units {
                        0 => 0,
                        units => log.earliest(now, units) - now,
                    });
                    let wait = wait.filter(|&wait| wait <= MAX_WAIT);
                    prop_assert_eq!(bench.reserve(units), wait);
                    if let Some(wait) = wait && units > 0 {
                        log.uses.push((now + wait, units));
                    }
                }
                Step::Cancel(number) => {
                    if !bench.held.is_empty() {
                        let index = number % bench.held.len();
                        let (reservation, at, units) = bench.held.swap_remove(index);
                        reservation.cancel();
                        log.cancel(at, units);
                    }
                }
                Step::Refund(units) => {
                    bench.limiter.refund(&(), units);
                    log.refund(now, units);
                }
                Step::Set(limit, per) => {
                    bench.set(limit, per);
                    (log.limit, log.per) = (limit, per);
                }
                Step::Pass(nanos) => bench.pass(nanos),
                Step::PassWindow(more) => bench.pass(log.per.saturating_add_signed(more)),
            }
            let standing = bench.limiter.peek(&());
            let now = bench.now();
            prop_assert_eq!(standing.remaining, log.remaining(now));
            prop_assert_eq!(nanos(standing.retry_after), log.earliest(now, 1) - now);
        }
    }

    #[test]
    fn no_window_wherever_it_starts_holds_more_than_the_limit(
        (limit, per) in rule(),
        exact in any::<bool>(),
        steps in plain_steps(),
    ) {
        let algorithm = if exact { Algorithm::SlidingLog } else { Algorithm::SlidingWindow };
        let mut bench = Bench::new(algorithm, limit, per);
        let mut log = Log { limit, per, uses: Vec::new() };
        for step in steps {
            let now = bench.now();
            match step {
                Step::Take(units) if bench.take(units) == Some(0) => log.uses.push((now, units)),
                Step::Reserve(units) => {
                    if let Some(wait) = bench.reserve(units) {
                        log.uses.push((now + wait, units));
                    }
                }
                Step::Pass(nanos) => bench.pass(nanos),
                Step::PassWindow(more) => bench.pass(per.saturating_add_signed(more)),
                _ => {}
            }
        }
        prop_assert!(log.holds_everywhere(), "{:?}", log);
    }

    #[test]
    fn retry_after_is_the_shortest_wait_that_helps(
        (limit, per) in rule(),
        algorithm in algorithm(),
        steps in steps(),
        units in 1..5_u64,
    ) {
        let mut bench = Bench::new(algorithm, limit, per);
        let mut at_rest = (limit, per);
        for step in steps {
            match step {
                Step::Take(units) => _ = bench.take(units),
                Step::Reserve(units) => _ = bench.reserve(units),
                Step::Cancel(_) => _ = bench.held.pop().map(|it| it.0.cancel()),
                Step::Refund(units) => bench.limiter.refund(&(), units),
                Step::Set(limit, per) => {
                    bench.set(limit, per);
                    at_rest = (limit, per);
                }
                Step::Pass(nanos) => bench.pass(nanos),
                Step::PassWindow(more) => bench.pass(at_rest.1.saturating_add_signed(more)),
            }
        }
        let Some(wait) = bench.take(units) else {
            prop_assert!(units > at_rest.0);
            return Ok(());
        };
        if wait > 0 {
            bench.pass(wait - 1);
            prop_assert_eq!(bench.take(units), Some(1));
            bench.pass(1);
            prop_assert_eq!(bench.take(units), Some(0));
        }
    }

    #[test]
    fn the_sliding_window_gives_units_back_later_by_less_than_a_bucket(
        (limit, per) in (1..8_u64, 1..400_u64),
        steps in plain_steps(),
    ) {
        let bench = Bench::new(Algorithm::SlidingWindow, limit, per);
        let mut log = Log { limit, per, uses: Vec::new() };
        for step in steps {
            let now = bench.now();
            log.forget(now);
            match step {
                Step::Take(units) if (1..=limit).contains(&units) => {
                    let exact = log.earliest(now, units) - now;
                    let wait = bench.take(units).unwrap();
                    prop_assert!((exact..exact + (per / 10).max(1)).contains(&wait));
                    if wait == 0 {
                        log.uses.push((now, units));
                    }
                }
                Step::Pass(nanos) => bench.pass(nanos),
                Step::PassWindow(more) => bench.pass(per.saturating_add_signed(more)),
                _ => {}
            }
        }
    }

    #[test]
    fn gcra_decides_as_arrival_times_in_fractions_do(
        (limit, per) in rule(),
        burst in 1..6_u64,
        steps in plain_steps(),
    ) {
        let mut bench = gcra(limit, per, burst);
        // Everything in parts of a nanosecond, `limit` of them each (ITU-T I.371, virtual
        // scheduling); a unit is `per` of them.
        let mut arrival = 0_u128;
        let mut uses = Vec::new();
        let wide = u128::from;
        for step in steps {
            let now = bench.now();
            let earliest = |units: u64| {
                let from = wide(now) * wide(limit);
                let after = arrival.max(from) + wide(units) * wide(per);
                let excess = after.saturating_sub(from + wide(burst) * wide(per));
                (u64::try_from(excess.div_ceil(wide(limit))).unwrap(), after)
            };
            match step {
                Step::Take(units) | Step::Reserve(units) if units > burst => {
                    prop_assert_eq!(bench.take(units), None);
                    prop_assert_eq!(bench.reserve(units), None);
                }
                Step::Take(0) => prop_assert_eq!(bench.take(0), Some(0)),
                Step::Take(units) => {
                    let (wait, after) = earliest(units);
                    prop_assert_eq!(bench.take(units), Some(wait));
                    if wait == 0 {
                        arrival = after;
                        uses.push((now, units));
                    }
                }
                Step::Reserve(0) => prop_assert_eq!(bench.reserve(0), Some(0)),
                Step::Reserve(units) => {
                    let (wait, after) = earliest(units);
                    let wait = Some(wait).filter(|&wait| wait <= MAX_WAIT);
                    prop_assert_eq!(bench.reserve(units), wait);
                    if let Some(wait) = wait {
                        arrival = after;
                        uses.push((now + wait, units));
                    }
                }
                Step::Pass(nanos) => bench.pass(nanos),
                Step::PassWindow(more) => bench.pass(per.saturating_add_signed(more)),
                _ => {}
            }
        }
        for &(start, _) in &uses {
            for &(end, _) in &uses {
                let inside = |it: &&(u64, u64)| start <= it.0 && it.0 <= end;
                let held: u64 = uses.iter().filter(inside).map(|it| it.1).sum();
                let window = (end + 1).saturating_sub(start);
                prop_assert!(held <= burst + (limit * window).div_ceil(per));
            }
        }
    }

    #[test]
    fn a_cancelled_booking_leaves_no_trace(
        (limit, per) in rule(),
        algorithm in algorithm(),
        steps in plain_steps(),
        units in 1..5_u64,
        later in 0..40_u64,
    ) {
        let mut with = Bench::new(algorithm, limit, per);
        let mut without = Bench::new(algorithm, limit, per);
        for bench in [&mut with, &mut without] {
            for step in &steps {
                match *step {
                    Step::Take(units) => _ = bench.take(units),
                    Step::Reserve(units) => _ = bench.reserve(units),
                    Step::Pass(nanos) => bench.pass(nanos),
                    Step::PassWindow(more) => bench.pass(per.saturating_add_signed(more)),
                    _ => {}
                }
            }
        }
        if let Some(wait) = with.reserve(units) {
            with.pass(later.min(wait));
            without.pass(later.min(wait));
            with.held.pop().unwrap().0.cancel();
        }
        prop_assert_eq!(with.limiter.peek(&()), without.limiter.peek(&()));
        prop_assert_eq!(with.take(units), without.take(units));
    }

    #[test]
    fn several_quotas_allow_what_each_of_them_would(
        first in (rule(), algorithm()),
        second in (rule(), algorithm()),
        steps in plain_steps(),
    ) {
        let quota = |((limit, per), algorithm): ((u64, u64), Algorithm)| {
            Quota::new(limit, Duration::from_nanos(per)).algorithm(algorithm)
        };
        let clock = ManualClock::new();
        let environment = Environment::new().clock(clock.clone());
        let build = |policy| RateLimiter::<()>::new_in(policy, &environment).unwrap();
        let both = build(Policy::new("both", quota(first)).global(quota(second)));
        let alone = [first, second].map(|it| build(Policy::new("alone", quota(it))));
        for step in steps {
            match step {
                Step::Take(units) => {
                    let retry_after = |it: &RateLimiter| {
                        let reservation = it.try_take_n(&(), units);
                        reservation.err().map(|it| it.retry_after())
                    };
                    let standings = alone.each_ref().map(|it| it.peek(&()));
                    let fits = standings.iter().all(|it| units <= it.remaining);
                    let refusal = retry_after(&both);
                    prop_assert_eq!(refusal.is_none(), fits || units == 0);
                    if fits {
                        prop_assert_eq!(alone.each_ref().map(retry_after), [None, None]);
                    } else if let Some(Some(wait)) = refusal {
                        // Nobody books here, so that each quota only gets emptier with time.
                        let waits = standings.map(|it| it.retry_after);
                        prop_assert!(wait >= waits[0].max(waits[1]));
                    }
                }
                Step::Pass(nanos) => clock.advance(Duration::from_nanos(nanos)),
                _ => {}
            }
        }
    }
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![
        Just(Algorithm::SlidingLog),
        Just(Algorithm::SlidingWindow),
        Just(Algorithm::Gcra),
    ]
}

fn gcra(limit: u64, per: u64, burst: u64) -> Bench {
    let clock = ManualClock::new();
    let environment = Environment::new().clock(clock.clone());
    let quota = Quota::new(limit, Duration::from_nanos(per)).algorithm(Algorithm::Gcra);
    let policy = Policy::new("test", quota.burst(burst)).max_wait(Duration::from_nanos(MAX_WAIT));
    Bench {
        limiter: RateLimiter::new_in(policy, &environment).unwrap(),
        clock,
        algorithm: Algorithm::Gcra,
        held: Vec::new(),
    }
}
