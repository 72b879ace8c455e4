//! Who has waited for too long to hear of an answer in time hears that, and nobody else.

use std::{task::Waker, time::Duration};

use resilience_core::rate_limit::Algorithm;

use super::{
    ALL, PATIENCE, SECOND, at,
    fleet::{End, Fleet},
    server::Server,
};
use crate::{
    StoreError,
    rate_limit::{
        line::{Aftermath, Answer, Caller, Entered, Line},
        quota::Run,
    },
};

#[test]
fn those_who_came_behind_one_who_is_late_are_asked_for() {
    for algorithm in ALL {
        let rules = Server::new(algorithm, 1000).rules();
        let mut line = Line::new(&rules, false);
        let mut aftermath = Aftermath::default();
        let late = StoreError::Timeout(Duration::from_micros(PATIENCE));
        let come = |line: &mut Line, time| {
            let (now, until) = (at(SECOND + time), at(SECOND + time));
            let caller = Caller {
                cost: 1,
                now,
                until,
                waker: None,
            };
            match line.enter(caller) {
                Entered::First(place) | Entered::Waits(place) => place,
                other => panic!("{other:?}"),
            }
        };
        let first = [0, 10, 20].map(|time| come(&mut line, time));
        let rest = (0..500).map(|_| come(&mut line, 8000));
        let rest: Vec<_> = rest.collect();
        let (mut runs, mut past) = (Vec::new(), Vec::new());
        let limit = (at(SECOND + 9000), at(SECOND + 250), &late);
        let steps = [rules[0].step(SECOND)];
        let question = (&mut runs, &mut past);
        let asked = line.ask(&rules, &steps, question, None, limit, &mut aftermath);
        assert_eq!(asked.map(|it| it.since), Some(at(SECOND + 8000)));
        let callers = 500;
        assert_eq!(
            (&runs[..], past.len()),
            (
                &[Run {
                    cost: 1,
                    callers,
                    holds_up: false
                }][..],
                1
            )
        );
        for place in first {
            let answer = line.poll(place, Waker::noop());
            assert_eq!(answer, Some(Answer::Failed(late.clone())));
        }
        let mut rest = rest.into_iter();
        assert!(rest.all(|place| line.poll(place, Waker::noop()).is_none()));
    }
}

#[test]
fn who_has_no_time_hears_in_time_whoever_is_before_him() {
    for algorithm in [Algorithm::SlidingLog, Algorithm::Gcra] {
        let mut fleet = Fleet::new(0, 1, algorithm, 900);
        fleet.come(0, 1, SECOND);
        fleet.run(PATIENCE);
        fleet.come_in_a_long_row();
        for _ in 0..3 {
            fleet.come(0, 1, 0);
        }
        fleet.run(PATIENCE);
        let (early, late) = fleet.callers.split_at(fleet.callers.len() - 3);
        let early = early.len();
        for late in late {
            assert!(late.took() <= PATIENCE, "{late:?}");
            assert!(matches!(late.end, Some((_, End::Failed))), "{late:?}");
        }
        fleet.run(SECOND / 2);
        assert_eq!(fleet.granted(), early, "{algorithm:?}");
    }
}
