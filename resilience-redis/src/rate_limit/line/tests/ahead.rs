//! Units that are taken ahead beside those who wait.

use resilience_core::rate_limit::Algorithm;

use super::{LATE, SECOND, WAY, fleet::Fleet};

#[test]
fn nothing_is_taken_ahead_of_one_who_would_wait() {
    let mut fleet = Fleet::new(0, 2, Algorithm::SlidingWindow, 40);
    fleet.leases();
    for _ in 0..6 {
        fleet.come(0, 1, SECOND);
        fleet.run(1000);
    }
    let ahead = fleet.ahead;
    assert!(ahead > 0 && fleet.granted() == 6);
    // Of this the first process knows nothing.
    fleet.come(1, 32, 0);
    fleet.run(1000);
    fleet.come(0, 3, 3 * SECOND);
    fleet.run(10_000);
    assert_eq!((fleet.waiting(), fleet.ahead), (1, ahead));
}

#[test]
fn units_that_were_taken_ahead_are_for_those_who_wait_first() {
    let mut ahead = 0;
    for seed in 0..50 {
        let mut fleet = Fleet::new(seed, 2, Algorithm::SlidingWindow, 40);
        fleet.leases();
        for _ in 0..1000 {
            let process = fleet.random.usize(0..2);
            let cost = fleet.random.u64(1..4);
            fleet.come(process, cost, SECOND);
            let pause = fleet.random.u64(0..20_000);
            fleet.run(pause);
        }
        fleet.run(5 * SECOND);
        fleet.check();
        ahead += fleet.ahead;
    }
    assert!(ahead > 100, "{ahead}");
}

#[test]
fn units_that_come_back_to_what_was_taken_ahead_are_for_those_who_wait() {
    let mut fleet = Fleet::new(0, 2, Algorithm::SlidingWindow, 40);
    fleet.leases();
    for _ in 0..6 {
        fleet.come(0, 1, SECOND);
        fleet.run(1000);
    }
    assert!(fleet.ahead > 0);
    fleet.come(1, 31, 0);
    fleet.run(1000);
    for cost in [3, 1, 2, 1] {
        fleet.come(0, cost, 3 * SECOND);
    }
    fleet.run(10_000);
    // There was room for the first.
    let granted = fleet.granted();
    assert_eq!(fleet.waiting(), 3);
    for (back, served) in [(1, 1), (1, 1), (1, 2), (5, 3)] {
        fleet.put_back(0, back);
        assert_eq!(fleet.granted() - granted, served);
    }
    assert!(fleet.processes[0].line.waiters.is_none());
}

#[test]
fn whatever_a_crowd_wants_in_all_nothing_is_taken_ahead_of_it() {
    let most = 1 << 52;
    let mut fleet = Fleet::new(0, 1, Algorithm::SlidingWindow, most);
    fleet.leases();
    for _ in 0..3 {
        fleet.come(0, 1, 0);
        fleet.run(1000);
    }
    let ahead = fleet.ahead;
    // Together more than there are numbers.
    for _ in 0..=u64::MAX / most {
        fleet.come(0, most, 0);
    }
    fleet.run(LATE);
    fleet.check();
    assert_eq!((fleet.granted(), fleet.ahead), (3, ahead));
}

#[test]
fn who_gets_what_was_taken_ahead_leaves_nobody_behind_him_waiting_in_vain() {
    let mut fleet = Fleet::new(0, 2, Algorithm::SlidingWindow, 40);
    fleet.leases();
    fleet.come(1, 40, 0);
    fleet.run(1000);
    fleet.come(0, 1, 2 * SECOND);
    fleet.run(SECOND * 11 / 10 - 1000);
    while fleet.processes[0].asked.is_none() {
        fleet.run(WAY / 2);
    }
    // One comes while another is asked for, and the last gets what was taken ahead.
    for _ in 0..2 {
        fleet.come(0, 1, 0);
        fleet.run(2 * WAY);
    }
    assert_eq!((fleet.granted(), fleet.ahead), (4, 2));
    fleet.come(0, 40, 2 * SECOND);
    fleet.run(2 * SECOND);
    fleet.check();
    assert_eq!(fleet.granted(), 5);
    assert!(fleet.processes[0].line.waiters.is_none());
}
