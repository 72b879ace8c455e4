//! Who waits is served in turn, and in time.

use resilience_core::rate_limit::Algorithm;

use super::{
    ALL, LATE, PATIENCE, SECOND, WAY,
    fleet::{Call, End, Fleet},
};

#[test]
fn nobody_is_overtaken_or_forgotten_whatever_comes_and_goes() {
    let (mut waited, mut late) = (0, 0);
    for seed in 0..120 {
        let mut fleet = Fleet::of_any(seed, 3);
        for _ in 0..400 {
            let process = fleet.random.usize(0..3);
            match fleet.random.u8(..40) {
                0..8 => fleet.drop_one(),
                8 => fleet.recall(process),
                9 => fleet.server.limit = [5, 10, 20][fleet.random.usize(0..3)],
                10 => fleet.server.fails = fleet.random.u8(..4) == 0,
                11..13 => fleet.server.undecided = true,
                _ => {
                    let cost = [0, 1, 1, 1, 2, 5][fleet.random.usize(0..6)];
                    let max_wait = [0, SECOND / 2, SECOND][fleet.random.usize(0..3)];
                    fleet.come(process, cost, max_wait);
                }
            }
            let pause = fleet.random.u64(0..50_000);
            fleet.run(pause);
        }
        fleet.server.fails = false;
        fleet.run(10 * SECOND);
        fleet.check();
        for caller in &fleet.callers {
            let took = caller.took();
            assert!(took <= caller.max_wait + LATE, "seed {seed}: {caller:?}");
            waited += u32::from(took > LATE);
            let refused = matches!(caller.end, Some((_, End::Refused(_))));
            late += u32::from(refused && took > LATE);
        }
        assert!(fleet.processes.iter().all(|it| it.line.waiters.is_none()));
    }
    assert!(
        waited > 1000 && late > 100,
        "{waited} waited, {late} of them in vain"
    );
}

#[test]
fn a_servers_clock_that_jumps_keeps_nobody_waiting_for_longer() {
    for seed in 0..60 {
        let mut fleet = Fleet::of_any(seed, 2);
        for round in 0..300 {
            if round % 60 == 59 {
                let jump = [SECOND / 2, 3600 * SECOND][fleet.random.usize(0..2)].cast_signed();
                fleet.server.skew += if fleet.random.bool() { jump } else { -jump };
                fleet.server.skew = fleet.server.skew.max(0);
            }
            let process = fleet.random.usize(0..2);
            fleet.come(process, 1, 2 * SECOND);
            let pause = fleet.random.u64(0..60_000);
            fleet.run(pause);
        }
        fleet.run(10 * SECOND);
        fleet.check();
        for caller in &fleet.callers {
            assert!(caller.took() <= caller.max_wait + LATE, "{seed} {caller:?}");
        }
        assert!(fleet.granted() > 50, "{}", fleet.granted());
    }
}

#[test]
fn while_the_server_is_away_those_who_wait_are_decided_when_there_was_to_be_room() {
    for algorithm in ALL {
        let wait = |fails: bool| {
            let mut fleet = Fleet::new(1, 1, algorithm, 10);
            for _ in 0..35 {
                fleet.come(0, 1, 4 * SECOND);
            }
            fleet.run(10_000);
            fleet.server.fails = fails;
            fleet.run(5 * SECOND);
            let failed = |it: &&Call| matches!(it.end, Some((_, End::Failed)));
            let failed = fleet.callers.iter().filter(failed).count();
            assert_eq!(failed, if fails { 25 } else { 0 });
            fleet.callers.iter().map(Call::took).collect::<Vec<_>>()
        };
        for (took, other) in wait(true).into_iter().zip(wait(false)) {
            assert!(took.abs_diff(other) <= LATE, "{algorithm:?} {took} {other}");
        }
    }
}

#[test]
fn no_more_wait_than_get_their_units_in_time() {
    for algorithm in ALL {
        let mut fleet = Fleet::new(1, 1, algorithm, 10);
        for _ in 0..50 {
            for _ in 0..1000 {
                fleet.come(0, 1, 3 * SECOND);
            }
            fleet.run(20_000);
            let waiting = fleet.waiting();
            // Three windows' worth, and one that is there for all at the start.
            assert!((20..=40).contains(&waiting), "{algorithm:?} {waiting}");
            assert!(fleet.processes[0].line.places.len() <= 1100);
        }
    }
}

#[test]
fn those_who_go_away_leave_no_trace() {
    let mut fleet = Fleet::new(1, 1, Algorithm::SlidingWindow, 10);
    for _ in 0..20 {
        fleet.come(0, 1, 3 * SECOND);
    }
    fleet.run(10_000);
    for _ in 0..10_000 {
        fleet.come(0, 1, 3 * SECOND);
        let last = fleet.callers.len() - 1;
        fleet.leave(last);
    }
    assert!(fleet.processes[0].line.places.len() < 100);
    assert_eq!(fleet.waiting(), 10);
    fleet.run(5 * SECOND);
    fleet.check();
    assert_eq!(fleet.granted(), 20);
}

#[test]
fn who_goes_away_holds_up_nobody_behind_him() {
    for algorithm in ALL {
        let mut fleet = Fleet::new(0, 1, algorithm, 10);
        for cost in [6, 10, 1] {
            fleet.come(0, cost, 3 * SECOND);
        }
        fleet.run(10_000);
        assert_eq!(fleet.waiting(), 2, "{algorithm:?}");
        fleet.leave(1);
        fleet.run(10_000);
        assert_eq!(fleet.granted(), 2, "{algorithm:?}");
    }
}

#[test]
fn who_goes_away_while_he_is_asked_for_leaves_nobody_behind_him_waiting_in_vain() {
    for algorithm in ALL {
        let mut fleet = Fleet::new(0, 1, algorithm, 10);
        fleet.come(0, 10, 0);
        fleet.run(10_000);
        fleet.come(0, 1, 2 * SECOND);
        fleet.run(10_000);
        // Somebody rings for him.
        fleet.server.undecided = true;
        while fleet.processes[0].asked.is_none() {
            fleet.run(WAY / 2);
        }
        fleet.come(0, 1, 2 * SECOND);
        assert_eq!(fleet.waiting(), 2);
        fleet.leave(1);
        fleet.run(3 * SECOND);
        fleet.check();
        assert_eq!(fleet.granted(), 2, "{algorithm:?}");
    }
}

#[test]
fn who_tries_while_those_who_waited_are_asked_for_gets_what_they_leave() {
    for (algorithm, back) in [
        (Algorithm::SlidingWindow, SECOND * 11 / 10),
        (Algorithm::SlidingLog, SECOND),
    ] {
        let mut fleet = Fleet::new(0, 1, algorithm, 10);
        fleet.come(0, 10, 0);
        fleet.run(10_000);
        for cost in [2, 1, 2] {
            fleet.come(0, cost, 5 * SECOND);
        }
        fleet.run(back - 10_000);
        while fleet.processes[0].asked.is_none() {
            fleet.run(WAY / 2);
        }
        assert_eq!(fleet.granted(), 1);
        for cost in [1, 3, 2] {
            fleet.come(0, cost, 0);
        }
        fleet.run(LATE);
        fleet.check();
        // But for the one for whom there was no room.
        assert_eq!(fleet.granted(), 6, "{algorithm:?} {:?}", fleet.callers);
        assert!(matches!(fleet.callers[6].end, Some((_, End::Refused(wait))) if wait > SECOND / 2));
    }
}

#[test]
fn who_has_time_waits_for_his_turn_as_long_as_the_server_is_heard() {
    for algorithm in ALL {
        let mut fleet = Fleet::new(0, 1, algorithm, 900);
        fleet.come(0, 1, SECOND);
        fleet.run(10_000);
        fleet.come_in_a_long_row();
        fleet.run(PATIENCE);
        assert!(fleet.waiting() > 0, "{algorithm:?}");
        fleet.run(SECOND / 2);
        assert_eq!(fleet.granted(), fleet.callers.len(), "{algorithm:?}");
    }
}

#[test]
fn of_those_in_line_it_is_known_who_is_being_asked_for() {
    for algorithm in ALL {
        let mut fleet = Fleet::new(0, 1, algorithm, 10);
        for _ in 0..3 {
            fleet.come(0, 1, SECOND);
            fleet.run(WAY / 2);
        }
        let asked = |fleet: &Fleet| {
            let line = &fleet.processes[0].line;
            let asked = |it: &Call| it.place.is_some_and(|place| line.is_asked(place));
            fleet.callers.iter().map(asked).collect::<Vec<_>>()
        };
        assert_eq!(asked(&fleet), [true, false, false], "{algorithm:?}");
        fleet.run(WAY);
        assert_eq!(asked(&fleet), [false, true, true], "{algorithm:?}");
        fleet.run(2 * WAY);
        assert_eq!(asked(&fleet), [false; 3], "{algorithm:?}");
    }
}

#[test]
fn whoever_only_looks_meanwhile_puts_off_no_look_of_those_who_wait() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::SlidingLog] {
        let mut fleet = Fleet::new(0, 1, algorithm, 10);
        let taken = fleet.now + WAY;
        fleet.come(0, 10, 0);
        fleet.run(10_000);
        fleet.come(0, 1, 2 * SECOND);
        fleet.run(10_000);
        assert_eq!(fleet.waiting(), 1);
        fleet.run(SECOND / 4);
        // Another process gives units back, of a step that is over.
        fleet.server.give_back(5, taken);
        for _ in 0..6 {
            fleet.come(0, 0, 0);
            fleet.run(SECOND / 50);
        }
        assert_eq!(fleet.granted(), 8, "{algorithm:?}");
    }
}
