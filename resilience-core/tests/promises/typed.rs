//! The error type does not change, whatever it is; and layers work without Tower.

use std::time::Duration;

use resilience_core::{
    BoxError, Bulkhead, CircuitBreaker, Error, RateLimiter, Reason, Rejectable, Rejected, Results,
    circuit_breaker, concurrency,
    rate_limit::{self, Quota},
};
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};

async fn refusal_of<E>() -> E
where
    E: Rejectable + Send + 'static,
{
    let quota = Quota::new(1, Duration::from_secs(3600));
    let limiter = RateLimiter::new(rate_limit::Policy::new("one", quota)).unwrap();
    let breaker = CircuitBreaker::new(circuit_breaker::Policy::new("kitchen")).unwrap();
    let bulkhead = Bulkhead::new(concurrency::Policy::new("one", 1)).unwrap();
    let mut service = ServiceBuilder::new()
        .layer(bulkhead.layer_with(Results))
        .layer(breaker.layer_with(Results))
        .layer(limiter.layer_with(|_: &u32| Some(()), Results))
        .service(service_fn(async |number: u32| Ok::<_, E>(number)));
    assert_eq!(
        service.ready().await.ok().unwrap().call(7).await.ok(),
        Some(7)
    );
    let error = service
        .ready()
        .await
        .ok()
        .unwrap()
        .call(7)
        .await
        .err()
        .unwrap();
    assert_eq!(
        breaker.snapshot().calls,
        1,
        "a refusal further in is no vote"
    );
    error
}

#[tokio::test]
async fn the_error_type_does_not_change() {
    let boxed = refusal_of::<BoxError>().await;
    let rejected = boxed.downcast_ref::<Rejected>().unwrap();
    assert_eq!(rejected.reason(), Reason::RateLimited);
    assert!(rejected.retry_after().unwrap() > Duration::from_secs(3000));

    let plain = refusal_of::<Rejected>().await;
    assert_eq!(plain.reason(), Reason::RateLimited);

    let status = refusal_of::<tonic::Status>().await;
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(status.as_rejected().unwrap().reason(), Reason::RateLimited);

    let own = refusal_of::<Error<std::io::Error>>().await;
    assert!(matches!(own, Error::Rejected(_)));
}

#[tokio::test]
async fn layers_work_without_tower() {
    let breaker = CircuitBreaker::new(
        circuit_breaker::Policy::new("sql")
            .min_calls(2)
            .failure_rate(1.0),
    )
    .unwrap();
    for _ in 0..2 {
        let failed = breaker.call(async || Err::<(), _>("no route")).await;
        assert_eq!(failed, Err(Error::Inner("no route")));
    }
    let refused = breaker.call(async || Ok::<_, &str>(7)).await.unwrap_err();
    assert_eq!(refused.as_rejected().unwrap().reason(), Reason::CircuitOpen);

    let bulkhead = Bulkhead::new(concurrency::Policy::new("sql", 1)).unwrap();
    assert_eq!(bulkhead.call(async || Ok::<_, &str>(7)).await, Ok(7));

    let limiter = RateLimiter::<u64>::new(rate_limit::Policy::new("user", Quota::per_minute(1)));
    let limiter = limiter.unwrap();
    assert_eq!(limiter.try_take(&1).unwrap().remaining, 0);
    assert_eq!(
        limiter.try_take(&1).unwrap_err().reason(),
        Reason::RateLimited
    );
    assert!(limiter.try_take(&2).is_ok());
}

#[tokio::test]
async fn layers_nest_without_tower_and_tell_a_refusal_from_a_failure() {
    let one = rate_limit::Policy::new("one", Quota::new(1, Duration::from_secs(3600)));
    let limiter = RateLimiter::<()>::new(one).unwrap();
    let breaker = CircuitBreaker::new(circuit_breaker::Policy::new("sql")).unwrap();
    let bulkhead = Bulkhead::new(concurrency::Policy::new("sql", 1)).unwrap();
    for expected in [Ok(7), Err(Reason::RateLimited), Err(Reason::RateLimited)] {
        let query = async || Ok::<_, std::io::Error>(7);
        let limited = || limiter.call(&(), query);
        let judged = || breaker.call_with(Results, limited);
        let answer = bulkhead.call_with(Results, judged).await;
        let answer = answer.map_err(|error| error.as_rejected().unwrap().reason());
        assert_eq!(answer, expected);
    }
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.calls, snapshot.failures), (1, 0));
    assert_eq!(snapshot.totals.not_called, 2);
}
