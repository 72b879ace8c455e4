//! Those who wait: in which order, for how long, and until they go away.

use std::{
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use resilience_core::{Clock, Environment, Reason, Timestamp, concurrency::Bulkhead};

use super::{
    SECOND, is_admitted, manual, policy, poll, poll_now, queued, reason, started, waiting,
};

#[test]
fn a_wait_without_end_never_ends() {
    let (bulkhead, clock) = manual(policy(1).queue(1).max_wait(Duration::MAX));
    let running = bulkhead.try_acquire().unwrap();
    let mut waiting = waiting(&bulkhead);
    clock.set(Timestamp::from_nanos(u64::MAX - 1));
    assert!(poll(waiting.as_mut()).is_pending());
    drop(running);
    assert!(is_admitted(&mut waiting));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_waited_max_wait_is_refused() {
    let environment = Environment::new().clock(Clock::tokio());
    let bulkhead = Bulkhead::new_in(queued(1, 2), &environment).unwrap();
    let _running = bulkhead.try_acquire().unwrap();
    let (clock, before) = started();
    let refused = bulkhead.acquire().await;
    assert_eq!(clock.now().saturating_since(before), SECOND);
    assert_eq!(reason(refused), Some(Reason::QueueTimeout));
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.timed_out, snapshot.queued), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_is_woken_by_the_one_that_leaves() {
    let environment = Environment::new().clock(Clock::tokio());
    let bulkhead = Bulkhead::new_in(queued(1, 1), &environment).unwrap();
    let running = bulkhead.try_acquire().unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(SECOND / 4).await;
        drop(running);
    });
    let (clock, before) = started();
    assert!(bulkhead.acquire().await.is_ok());
    assert_eq!(clock.now().saturating_since(before), SECOND / 4);
}

/// Peers' waiters spin: millions of polls in a second.
#[tokio::test(start_paused = true)]
async fn a_timer_whose_clock_is_not_ours_makes_no_waiter_spin() {
    let (bulkhead, _stands_still) = manual(queued(1, 1));
    let _running = bulkhead.try_acquire().unwrap();
    let mut waiting = waiting(&bulkhead);
    let polls = AtomicU32::new(0);
    let counted = std::future::poll_fn(|cx| {
        polls.fetch_add(1, SeqCst);
        waiting.as_mut().poll(cx)
    });
    let ended = tokio::time::timeout(SECOND * 10, counted).await;
    assert!(ended.is_err());
    assert!(polls.load(SeqCst) <= 12, "{polls:?}");
}

#[test]
fn a_waiter_that_goes_away_gives_up_its_place() {
    let (bulkhead, _clock) = manual(queued(1, 2));
    let running = bulkhead.try_acquire().unwrap();
    let first = waiting(&bulkhead);
    let mut second = waiting(&bulkhead);
    drop(first);
    assert_eq!(bulkhead.snapshot().queued, 1);
    drop(running);
    assert!(is_admitted(&mut second));
    assert_eq!(bulkhead.snapshot().abandoned, 1);
}

#[test]
fn a_permit_just_given_to_a_waiter_that_goes_away_is_passed_on() {
    let (bulkhead, _clock) = manual(queued(1, 2));
    let running = bulkhead.try_acquire().unwrap();
    let (first, mut second) = (waiting(&bulkhead), waiting(&bulkhead));
    drop(running);
    assert_eq!(bulkhead.snapshot().running, 1);
    drop(first);
    assert!(is_admitted(&mut second));
    assert_eq!(bulkhead.snapshot().running, 0);
}

#[test]
fn nobody_passes_those_who_wait() {
    let (bulkhead, _clock) = manual(queued(1, 2));
    let running = bulkhead.try_acquire().unwrap();
    let mut first = waiting(&bulkhead);
    drop(running);
    assert!(bulkhead.try_acquire().is_err());
    let mut second = waiting(&bulkhead);
    assert!(poll(second.as_mut()).is_pending());
    assert!(is_admitted(&mut first));
    assert!(is_admitted(&mut second));
}

#[test]
fn a_clock_that_jumps_and_goes_back_leaves_nobody_behind() {
    let (bulkhead, clock) = manual(queued(1, 2));
    let running = bulkhead.try_acquire().unwrap();
    clock.set(Timestamp::from_nanos(u64::MAX / 2));
    let mut first = waiting(&bulkhead);
    clock.set(Timestamp::ZERO);
    let second = waiting(&bulkhead);
    assert!(poll(first.as_mut()).is_pending());
    clock.advance(SECOND);
    // It stands behind one whose wait is far from over.
    assert_eq!(reason(poll_now(second)), Some(Reason::QueueTimeout));
    drop(running);
    assert!(is_admitted(&mut first));
}
