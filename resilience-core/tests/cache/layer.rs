//! The cache in front of any service.

use std::task::{Context, Poll, Waker};

use resilience_core::{CircuitBreaker, Rejected, Results, circuit_breaker};
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, service_fn};

use super::*;

fn numbers() -> Cache<u32, u64> {
    cache(policy())
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_shared_by_all_who_ask_for_its_key() {
    let (cache, calls) = (numbers(), Arc::new(AtomicU64::new(0)));
    let counted = calls.clone();
    let inner = service_fn(move |key: u32| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, Rejected>(u64::from(key) * 100 + number) }
    });
    let layer = cache.layer_with(|key: &u32| (*key < 10).then_some(*key));
    let (one, other) = (layer.layer(inner.clone()), layer.layer(inner));
    assert_eq!(one.clone().oneshot(7).await, Ok(700));
    assert_eq!(other.clone().oneshot(7).await, Ok(700));
    assert_eq!(other.oneshot(8).await, Ok(801));
    assert_eq!(one.clone().oneshot(70).await, Ok(7002), "no key");
    assert_eq!(one.oneshot(70).await, Ok(7003), "no key");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_served_when_a_breaker_inside_refuses() {
    let cache = cache(policy().stale_if_error(60 * SECOND));
    let breaker = CircuitBreaker::new(circuit_breaker::Policy::new("kitchen")).unwrap();
    let service = ServiceBuilder::new()
        .layer(cache.layer_with(|key: &u32| Some(*key)))
        .layer(breaker.layer_with(Results))
        .service(service_fn(async |_: u32| Ok::<u64, Rejected>(5)));
    assert_eq!(service.clone().oneshot(7).await, Ok(5));
    breaker.open_for(3600 * SECOND).unwrap();
    advance(11 * SECOND).await;
    assert_eq!(service.clone().oneshot(7).await, Ok(5));
    let (one, other) = tokio::join!(service.clone().oneshot(8), service.oneshot(8));
    assert_eq!(one.unwrap_err().reason(), Reason::CircuitOpen);
    // Those who waited are told what the one was told.
    assert_eq!(other.unwrap_err().reason(), Reason::CircuitOpen);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_readiness_is_the_answer_of_the_call() {
    #[derive(Clone)]
    struct Broken;
    impl Service<u32> for Broken {
        type Response = u64;
        type Error = Rejected;
        type Future = std::future::Ready<Result<u64, Rejected>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
            Poll::Ready(Err(Rejected::new(Reason::Closed, "inner")))
        }
        fn call(&mut self, _: u32) -> Self::Future {
            unreachable!("it was never ready")
        }
    }
    let service = numbers().layer_with(|key: &u32| Some(*key)).layer(Broken);
    assert_eq!(
        service.oneshot(7).await.unwrap_err().reason(),
        Reason::Closed
    );
}

#[test]
fn a_hit_is_served_without_a_runtime_and_at_the_first_poll() {
    let cache: Cache<u32, u64> = Cache::new(policy()).unwrap();
    cache.insert(7, 5);
    let inner = service_fn(async |_: u32| Err::<u64, _>(Rejected::new(Reason::Closed, "inner")));
    let mut service = cache.layer_with(|key: &u32| Some(*key)).layer(inner);
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    let mut hit = Box::pin(service.call(7));
    assert_eq!(hit.as_mut().poll(&mut context), Poll::Ready(Ok(5)));
}
