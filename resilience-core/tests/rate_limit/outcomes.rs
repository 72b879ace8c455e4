use std::{
    future::pending,
    task::{Context, Poll, Waker},
};

use resilience_core::{
    BoxError, Error, Reason, Rejectable, Rejected, Results,
    rate_limit::{Charge, Everybody, Quota, RateLimiter},
};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{ALL, MINUTE, log, policy, unkeyed};

async fn call(limiter: &RateLimiter, outcome: Result<(), Reason>) {
    let inner = service_fn(move |(): ()| async move {
        outcome.map_err(|reason| BoxError::from(Rejected::new(reason, "inner")))
    });
    let service = limiter.layer_with(Everybody, Results).layer(inner);
    let _ = service.oneshot(()).await;
}

#[tokio::test]
async fn a_call_that_an_inner_layer_refused_costs_nothing() {
    let (limiter, _) = unkeyed(policy(log(5, MINUTE)));
    call(&limiter, Err(Reason::CircuitOpen)).await;
    assert_eq!(limiter.peek(&()).remaining, 5);
    call(&limiter, Err(Reason::Panicked)).await;
    call(&limiter, Ok(())).await;
    assert_eq!(limiter.peek(&()).remaining, 3);
}

#[tokio::test]
async fn only_failures_are_charged_where_the_policy_says_so() {
    for algorithm in ALL {
        let quota = Quota::new(2, MINUTE).algorithm(algorithm);
        let (limiter, _) = unkeyed(policy(quota).charge(Charge::Failures));
        for _ in 0..10 {
            call(&limiter, Ok(())).await;
        }
        let fail = || async { Err::<(), _>("wrong password") };
        for _ in 0..2 {
            assert_eq!(
                limiter.call(&(), fail).await,
                Err(Error::Inner("wrong password"))
            );
        }
        let refused = limiter.call(&(), fail).await.unwrap_err();
        assert_eq!(refused.as_rejected().unwrap().reason(), Reason::RateLimited);
    }
}

#[tokio::test]
async fn calls_under_way_cannot_exceed_the_quota_together() {
    let (limiter, _) = unkeyed(policy(log(2, MINUTE)).charge(Charge::Failures));
    let mut context = Context::from_waker(Waker::noop());
    let login = || limiter.call(&(), pending::<Result<(), ()>>);
    let mut calls: Vec<_> = (0..3).map(|_| Box::pin(login())).collect();
    let polls = calls.iter_mut().map(|it| it.as_mut().poll(&mut context));
    let refused = polls.filter(|it| matches!(it, Poll::Ready(Err(_)))).count();
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn a_call_dropped_after_it_was_admitted_keeps_its_units() {
    for charge in [Charge::Every, Charge::Failures] {
        let (limiter, _) = unkeyed(policy(log(5, MINUTE)).charge(charge));
        let inner = service_fn(|(): ()| pending::<Result<(), BoxError>>());
        let mut service = limiter.layer_with(Everybody, Results).layer(inner);
        drop(service.ready().await.unwrap().call(()));
        assert_eq!(limiter.peek(&()).remaining, 4);
    }
}
