//! Callers of one key who want different things.

use resilience_core::rate_limit::Algorithm;

use super::{ALL, SECOND, fleet::Fleet};

#[test]
fn all_for_whom_there_is_room_are_asked_for_at_once_whatever_each_wants() {
    for max_wait in [0, SECOND] {
        let mut fleet = Fleet::new(0, 1, Algorithm::SlidingWindow, 900);
        fleet.come(0, 1, 0);
        fleet.run(1000);
        let before = fleet.questions;
        for index in 0..500 {
            fleet.come(0, 2 - index % 2, max_wait);
        }
        fleet.run(1000);
        assert_eq!((fleet.granted(), fleet.questions), (501, before + 1));
        // Of more than there is room for each stands for himself.
        fleet.come(0, 200, max_wait);
        fleet.come(0, 149, max_wait);
        fleet.come(0, 1, 0);
        fleet.run(1000);
        assert_eq!(fleet.granted(), if max_wait == 0 { 502 } else { 501 });
    }
}

#[test]
fn those_who_want_different_things_are_asked_for_together_whatever_counts_them() {
    for algorithm in ALL {
        for room in [900, 300] {
            let mut fleet = Fleet::new(0, 1, algorithm, 900);
            fleet.come(0, 900 - room, 5 * SECOND);
            fleet.run(1000);
            let before = fleet.questions;
            for index in 0..300 {
                fleet.come(0, 2 - index % 2, 5 * SECOND);
            }
            // Before much of the cells is back.
            fleet.run(4000);
            assert!(fleet.granted() > 200, "{algorithm:?} {}", fleet.granted());
            let asked = fleet.questions - before;
            assert!(asked < 10, "{algorithm:?} {room}: {asked}");
            fleet.run(5 * SECOND);
            fleet.check();
            assert_eq!(fleet.granted(), 301, "{algorithm:?}");
        }
    }
}

#[test]
fn whoever_cannot_wait_holds_up_nobody_for_whom_there_is_room() {
    for algorithm in ALL {
        for max_wait in [0, SECOND / 100] {
            let mut fleet = Fleet::new(0, 1, algorithm, 10);
            fleet.come(0, 5, 0);
            fleet.run(1000);
            for (cost, max_wait) in [(9, max_wait), (2, max_wait), (8, 5 * SECOND), (1, 0)] {
                fleet.come(0, cost, max_wait);
            }
            fleet.run(2000);
            assert_eq!(fleet.granted(), 2, "{algorithm:?} {:?}", fleet.callers);
            assert_eq!(fleet.waiting(), 1, "{algorithm:?} {:?}", fleet.callers);
        }
    }
}
