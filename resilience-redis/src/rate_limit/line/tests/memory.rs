//! What a limiter in memory says of the same calls.

use std::time::Duration;

use resilience_core::{
    Environment, ManualClock,
    rate_limit::{Algorithm, RateLimiter, Reservation},
};

use super::{
    ALL, LATE, SECOND, at,
    fleet::{End, Fleet},
    micros,
};

#[test]
fn who_waits_is_served_in_time_and_who_would_be_too_late_is_refused_at_once() {
    for algorithm in ALL {
        let mut compared = 0;
        for seed in 0..30 {
            let mut fleet = Fleet::new(seed, 1, algorithm, 10);
            let max_wait = fleet.random.u64(0..4 * SECOND);
            let mut memory = Memory::new(&fleet, max_wait);
            for _ in 0..300 {
                fleet.come(0, 1, max_wait);
                memory.come(fleet.now);
                let pause = fleet.random.u64(0..60_000);
                fleet.run(pause);
            }
            fleet.run(10 * SECOND);
            for (caller, booked) in fleet.callers.iter().zip(&memory.waits) {
                let took = caller.took();
                // Units that are booked in memory are used an instant before a step begins, and come
                // back a step sooner than those that are taken when it has begun, each time.
                let told = (caller.end.as_ref().expect("an answer").1, *booked);
                let wait = match told.0 {
                    End::Refused(wait) => wait,
                    End::Granted | End::Failed => took,
                };
                let late = match algorithm {
                    Algorithm::SlidingWindow => LATE + (1 + wait / SECOND) * SECOND / 10,
                    _ => LATE,
                };
                let case = format!("{algorithm:?} {seed} {told:?} {caller:?}, {max_wait}");
                match told {
                    (End::Granted, Ok(wait)) => assert!(took.abs_diff(wait) <= late, "{case}"),
                    (End::Refused(wait), Err(other)) => {
                        assert!(took <= LATE && wait.abs_diff(other) <= late, "{case}");
                    }
                    // One had just not time enough, and what comes then is another story.
                    (End::Granted, Err(wait)) | (End::Refused(wait), Ok(_)) => {
                        assert!(wait.abs_diff(max_wait) <= late, "{case}");
                        break;
                    }
                    (End::Failed, _) => unreachable!("the server is up"),
                }
                compared += 1;
            }
            for caller in &fleet.callers {
                assert!(
                    caller.took() <= max_wait + LATE,
                    "{algorithm:?} {seed} {caller:?}"
                );
                let refused = matches!(caller.end, Some((_, End::Refused(_))));
                assert!(
                    !refused || caller.took() <= LATE,
                    "{algorithm:?} {seed} {caller:?}"
                );
            }
            fleet.check();
            let waited = fleet.callers.iter().filter(|it| it.took() > LATE).count();
            assert!(
                waited > 20 || max_wait < SECOND / 2,
                "{algorithm:?} {seed} {waited}"
            );
            assert!(fleet.granted() > 50);
        }
        assert!(compared > 1000, "{algorithm:?}: {compared}");
    }
}

/// The limiter of one process, in memory, asked the same.
struct Memory {
    limiter: RateLimiter,
    clock: ManualClock,
    /// Kept, since units that are not used go back.
    booked: Vec<Reservation>,
    /// Of each caller, how long he waits or would have to.
    waits: Vec<Result<u64, u64>>,
}

impl Memory {
    fn new(fleet: &Fleet, max_wait: u64) -> Self {
        let clock = ManualClock::new();
        clock.set(at(fleet.now));
        let environment = Environment::new().clock(clock.clone());
        let policy = fleet
            .server
            .policy()
            .max_wait(Duration::from_micros(max_wait));
        Self {
            limiter: RateLimiter::new_in(policy, &environment).expect("a valid policy"),
            clock,
            booked: Vec::new(),
            waits: Vec::new(),
        }
    }

    fn come(&mut self, now: u64) {
        self.clock.set(at(now));
        let wait = match self.limiter.reserve(&(), 1) {
            Ok(booked) => {
                let wait = booked.wait();
                self.booked.push(booked);
                Ok(micros(wait))
            }
            Err(rejected) => Err(micros(rejected.retry_after().expect("a wait"))),
        };
        self.waits.push(wait);
    }
}
