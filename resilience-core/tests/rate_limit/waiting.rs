use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use resilience_core::{
    BoxError, Clock, Rejected, Results, Timestamp,
    rate_limit::{Algorithm, Everybody, Quota},
};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{ALL, MINUTE, SECOND, count, log, manual, paused, policy, retry_after, unkeyed};

#[test]
fn a_reservation_dropped_before_its_time_gives_its_units_back() {
    for algorithm in ALL {
        let quota = Quota::new(1, SECOND).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota).max_wait(MINUTE));
        limiter.try_take(&()).unwrap();
        let first = limiter.reserve(&(), 1).unwrap();
        let second = limiter.reserve(&(), 1).unwrap();
        assert!(first.wait() < second.wait());
        let due = first.wait();
        drop(second);
        clock.advance(due);
        // Its time has come: it may have been used.
        drop(first);
        assert!(limiter.try_take(&()).is_err());
        assert!(limiter.reserve(&(), 1).unwrap().wait() <= Duration::from_millis(1100));
    }
}

#[test]
fn units_given_back_late_are_those_that_still_count() {
    let quota = Quota::new(10, SECOND * 10).algorithm(Algorithm::Gcra);
    let (limiter, clock) = unkeyed(policy(quota));
    let early = limiter.reserve(&(), 5).unwrap();
    clock.advance(SECOND * 2);
    limiter.try_take_n(&(), 4).unwrap();
    assert_eq!(limiter.peek(&()).remaining, 3);
    early.cancel();
    assert_eq!(limiter.peek(&()).remaining, 6);
}

#[test]
fn units_given_back_in_any_order_are_nobody_elses() {
    for algorithm in ALL {
        let quota = Quota::new(10, SECOND * 10).algorithm(algorithm);
        let (limiter, clock) = unkeyed(policy(quota));
        let first = limiter.reserve(&(), 5).unwrap();
        let second = limiter.reserve(&(), 5).unwrap();
        first.cancel();
        clock.advance(SECOND * 6);
        limiter.try_take_n(&(), 5).unwrap();
        second.cancel();
        assert!(count(&limiter, 20) <= 5, "{algorithm:?}");
    }
}

#[test]
fn units_given_back_at_once_are_all_free_in_any_order() {
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for algorithm in ALL {
        for order in orders {
            let quota = Quota::new(10, SECOND * 10).algorithm(algorithm);
            let (limiter, _clock) = unkeyed(policy(quota));
            let mut held = [2, 3, 4].map(|units| limiter.reserve(&(), units).ok());
            limiter.try_take(&()).unwrap();
            for index in order {
                held[index].take().unwrap().cancel();
            }
            assert_eq!(limiter.peek(&()).remaining, 9, "{algorithm:?}, {order:?}");
        }
    }
}

#[test]
fn a_booking_counts_from_its_time_for_every_quota() {
    let each = log(1, SECOND * 10);
    let all = Quota::per_second(1).algorithm(Algorithm::Gcra);
    let (limiter, clock) = manual::<u8>(policy(each).global(all).max_wait(MINUTE));
    limiter.try_take(&1).unwrap();
    let booked = limiter.reserve(&1, 1).unwrap();
    assert_eq!(booked.wait(), SECOND * 10);
    clock.advance(Duration::from_millis(10_500));
    assert_eq!(
        retry_after(limiter.try_take(&2)),
        Duration::from_millis(500)
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_known_to_be_too_long_is_refused_at_once() {
    let limiter = paused(policy(log(1, SECOND)).max_wait(SECOND));
    let started = Clock::tokio();
    limiter.take(&()).await.unwrap();
    let waiter = limiter.clone();
    let waiter = tokio::spawn(async move { waiter.take(&()).await });
    tokio::task::yield_now().await;
    let before = started.now();
    assert_eq!(retry_after(limiter.take(&()).await), SECOND * 2);
    assert_eq!(started.now(), before);
    waiter.await.unwrap().unwrap();
    assert!(started.now() >= Timestamp::ZERO.saturating_add(SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_caller_dropped_while_it_waits_takes_nothing() {
    let limiter = paused(policy(log(1, SECOND)).max_wait(MINUTE));
    limiter.take(&()).await.unwrap();
    {
        let mut waiting = pin!(limiter.take(&()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert_eq!(limiter.peek(&()).retry_after, SECOND * 2);
        tokio::time::advance(SECOND * 3 / 2).await;
        assert_eq!(limiter.peek(&()).remaining, 0);
    }
    assert_eq!(limiter.peek(&()).remaining, 1);
}

#[test]
fn a_call_that_cannot_wait_for_want_of_a_runtime_takes_nothing() {
    let (limiter, _) = unkeyed(policy(log(1, SECOND)).max_wait(MINUTE));
    limiter.try_take(&()).unwrap();
    let echo = service_fn(async |()| Ok::<_, Rejected>(()));
    let mut service = limiter.layer_with(Everybody, Results).layer(echo);
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    catch_unwind(AssertUnwindSafe(|| drop(service.call(())))).unwrap_err();
    assert_eq!(limiter.peek(&()).retry_after, SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_layer_paces_calls_and_forgets_those_that_go_away() {
    let quota = Quota::new(1, SECOND).algorithm(Algorithm::Gcra);
    let limiter = paused(policy(quota).max_wait(MINUTE));
    let clock = Clock::tokio();
    let inner = service_fn(|(): ()| async { Ok::<_, BoxError>(()) });
    let mut service = limiter.layer_with(Everybody, Results).layer(inner);
    let first = service.ready().await.unwrap().call(());
    let second = service.ready().await.unwrap().call(());
    let third = service.ready().await.unwrap().call(());
    drop(second);
    first.await.unwrap();
    let fourth = service.ready().await.unwrap().call(());
    third.await.unwrap();
    assert_eq!(clock.now(), Timestamp::ZERO.saturating_add(SECOND * 2));
    fourth.await.unwrap();
    assert!(clock.now() <= Timestamp::ZERO.saturating_add(SECOND * 3));
}
