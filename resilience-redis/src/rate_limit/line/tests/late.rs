//! Who has waited for too long to hear of an answer in time hears that, and nobody else.

use std::{task::Waker, time::Duration};

use resilience_core::{Timestamp, rate_limit::Algorithm};

use super::{
    ALL, PATIENCE, SECOND, at,
    fleet::{End, Fleet},
    server::Server,
};
use crate::{
    StoreError,
    rate_limit::{
        line::{Aftermath, Answer, Caller, Entered, Line},
        quota::{Rule, Run},
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
fn who_has_time_waits_for_one_more_question_where_none_is_answered_in_time() {
    let late = StoreError::Timeout(Duration::from_micros(PATIENCE));
    for algorithm in ALL {
        let rules = Server::new(algorithm, 1000).rules();
        let mut line = Line::new(&rules, false);
        let mut aftermath = Aftermath::default();
        for wait in [SECOND, 0, SECOND] {
            let caller = Caller {
                cost: 1,
                now: at(SECOND),
                until: at(SECOND + wait),
                waker: None,
            };
            line.enter(caller);
        }
        let mut left = vec![0, 1, 2];
        for (round, waits) in [&[0, 2][..], &[]].into_iter().enumerate() {
            let sent = SECOND + round as u64 * PATIENCE;
            let asked = ask(&mut line, &rules, sent, &mut aftermath);
            assert_eq!(asked, Some(at(sent)), "{algorithm:?}");
            let goes_on = line.fail(&late, at(sent + PATIENCE), &mut aftermath);
            assert_eq!(goes_on, !waits.is_empty());
            left.retain(|place| match line.poll(*place, Waker::noop()) {
                None => true,
                Some(answer) => {
                    assert_eq!(answer, Answer::Failed(late.clone()));
                    false
                }
            });
            assert_eq!(left, waits, "{algorithm:?}");
        }
    }
}

#[test]
fn who_has_time_waits_for_a_question_of_his_own_where_it_is_late_for_the_first() {
    let late = StoreError::Timeout(Duration::from_micros(PATIENCE));
    let rules = Server::new(Algorithm::Gcra, 1000).rules();
    let mut line = Line::new(&rules, false);
    let mut aftermath = Aftermath::default();
    for time in [0, 10, 20] {
        let caller = Caller {
            cost: 1,
            now: at(SECOND + time),
            until: at(2 * SECOND),
            waker: None,
        };
        line.enter(caller);
    }
    let sent = SECOND + PATIENCE;
    let asked = ask(&mut line, &rules, sent, &mut aftermath);
    assert_eq!(asked, Some(at(sent)));
    assert!((0..3).all(|place| line.poll(place, Waker::noop()).is_none()));
    // That was the one.
    line.fail(&late, at(sent + PATIENCE), &mut aftermath);
    for place in 0..3 {
        let answer = line.poll(place, Waker::noop());
        assert_eq!(answer, Some(Answer::Failed(late.clone())));
    }
}

#[test]
fn who_has_no_time_hears_in_time_where_he_is_asked_for_with_one_who_has() {
    let rules = Server::new(Algorithm::SlidingWindow, 1000).rules();
    let mut fleet = Fleet::new(0, 1, Algorithm::SlidingWindow, 1000);
    let line = &mut fleet.processes[0].line;
    let mut aftermath = Aftermath::default();
    let come = |line: &mut Line, time, wait| {
        let caller = Caller {
            cost: 1,
            now: at(SECOND + time),
            until: at(SECOND + time + wait),
            waker: None,
        };
        line.enter(caller);
    };
    come(line, 0, SECOND);
    come(line, 2000, 0);
    // Nothing was heard in time of the first, who waits for one more question.
    let late = StoreError::Timeout(Duration::from_micros(PATIENCE));
    let sent = SECOND + PATIENCE;
    let asked = ask(line, &rules, sent, &mut aftermath);
    assert_eq!(asked, Some(at(SECOND + 2000)));
    line.fail(&late, at(SECOND + 2000 + PATIENCE), &mut aftermath);
    let answer = line.poll(1, Waker::noop());
    assert_eq!(answer, Some(Answer::Failed(late)));
}

/// Asks for those in line, and says since when the first of them waits for an answer.
fn ask(line: &mut Line, rules: &[Rule], now: u64, aftermath: &mut Aftermath) -> Option<Timestamp> {
    let (mut runs, mut past) = (Vec::new(), Vec::new());
    let late = StoreError::Timeout(Duration::from_micros(PATIENCE));
    let limit = (at(now), at(now - PATIENCE * 7 / 8), &late);
    let steps = [rules[0].step(now)];
    let question = (&mut runs, &mut past);
    let asked = line.ask(rules, &steps, question, None, limit, aftermath);
    asked.map(|it| it.since)
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
