//! Who gets a place, and when it is free again.

use std::{
    convert::Infallible,
    future::ready,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use resilience_core::{Error, Outcome, Reason, Settle as _, concurrency::Permit, gate::Entry};

use super::{SECOND, bulkhead, manual, policy, poll, poll_now, queued, reason, waiting};

#[test]
fn whoever_finds_no_place_is_refused_at_once_without_a_runtime() {
    let bulkhead = bulkhead(policy(2));
    let permits = [bulkhead.try_acquire(), bulkhead.try_acquire()];
    assert!(permits.iter().all(Result::is_ok));
    let refused = bulkhead.try_acquire().unwrap_err();
    assert_eq!(refused.reason(), Reason::ConcurrencyLimited);
    assert_eq!((refused.policy(), refused.retry_after()), ("test", None));
    assert!(matches!(bulkhead.enter(), Entry::Refused(_)));
    drop(permits);
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn a_full_queue_refuses_at_once() {
    let (bulkhead, _clock) = manual(queued(1, 1));
    let _running = bulkhead.try_acquire().unwrap();
    let _waiting = waiting(&bulkhead);
    let refused = poll(pin!(bulkhead.acquire()));
    let Poll::Ready(refused) = refused else {
        panic!("it waits");
    };
    assert_eq!(reason(refused), Some(Reason::ConcurrencyLimited));
}

#[test]
fn a_wait_of_zero_is_to_be_refused_at_once() {
    let (bulkhead, _clock) = manual(policy(1).queue(5).max_wait(Duration::ZERO));
    let _running = bulkhead.try_acquire().unwrap();
    assert!(matches!(bulkhead.enter(), Entry::Refused(_)));
}

#[test]
fn fewer_permits_throw_nobody_out_and_nobody_enters_until_enough_have_left() {
    let bulkhead = bulkhead(policy(3));
    let mut permits: Vec<Permit> = (0..3).map(|_| bulkhead.try_acquire().unwrap()).collect();
    bulkhead.set_permits(1);
    for left in [2, 1] {
        permits.pop();
        assert_eq!(bulkhead.snapshot().running, left);
        assert!(bulkhead.try_acquire().is_err());
    }
    permits.pop();
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn more_permits_let_in_those_who_wait_in_order() {
    let (bulkhead, _clock) = manual(queued(0, 3));
    let mut callers: Vec<_> = (0..3).map(|_| waiting(&bulkhead)).collect();
    bulkhead.set_permits(2);
    let stands: Vec<_> = callers
        .iter_mut()
        .map(|caller| poll(caller.as_mut()))
        .collect();
    assert!(stands[0].is_ready() && stands[1].is_ready() && stands[2].is_pending());
}

#[test]
fn closed_nobody_gets_in_and_those_who_wait_are_refused() {
    let (bulkhead, _clock) = manual(queued(1, 1));
    let running = bulkhead.try_acquire().unwrap();
    let mut waiting = waiting(&bulkhead);
    bulkhead.close();
    let Poll::Ready(refused) = poll(waiting.as_mut()) else {
        panic!("it waits on");
    };
    assert_eq!(reason(refused), Some(Reason::Closed));
    drop(running);
    bulkhead.set_permits(5);
    assert_eq!(reason(bulkhead.try_acquire()), Some(Reason::Closed));
    assert_eq!(reason(poll_now(bulkhead.acquire())), Some(Reason::Closed));
    assert_eq!(bulkhead.snapshot().running, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_callers_never_more_than_ten_run_and_all_get_their_turn() {
    let bulkhead = bulkhead(policy(10).queue(1000).max_wait(SECOND * 60));
    let (now, peak) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (bulkhead, now, peak) = (bulkhead.clone(), now.clone(), peak.clone());
        tasks.spawn(async move {
            let operation = || async {
                peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, SeqCst);
                Ok::<_, Infallible>(())
            };
            bulkhead.call(operation).await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap().unwrap();
    }
    assert!(peak.load(SeqCst) <= 10);
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.admitted, snapshot.running), (1000, 0));
}

#[test]
fn an_outcome_gives_the_permit_back_and_failures_are_counted() {
    let bulkhead = bulkhead(policy(1));
    let settle = |outcome| bulkhead.try_acquire().unwrap().settle(outcome);
    settle(Outcome::Success);
    settle(Outcome::NotCalled);
    settle(Outcome::Failure);
    settle(Outcome::Overload { retry_after: None });
    settle(Outcome::Canceled);
    drop(bulkhead.try_acquire());
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.failed, snapshot.dropped), (2, 2));
    assert_eq!((snapshot.admitted, snapshot.running), (6, 0));
}

#[tokio::test]
async fn call_runs_the_operation_under_a_permit() {
    let bulkhead = bulkhead(policy(1));
    let inside = bulkhead.clone();
    let operation = || async move {
        let refused = inside.call(|| ready(Ok::<_, Infallible>(()))).await;
        assert!(matches!(refused, Err(Error::Rejected(_))));
        Err::<(), _>("broken")
    };
    assert_eq!(bulkhead.call(operation).await, Err(Error::Inner("broken")));
    assert_eq!(bulkhead.snapshot().running, 0);
}
