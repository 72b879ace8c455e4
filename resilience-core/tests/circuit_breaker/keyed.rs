use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use resilience_core::{
    BoxError, Environment, Event, ManualClock, Measured, Outcome, Reason, Rejectable, Results,
    circuit_breaker::{CircuitBreakers, OpenWait, Phase, Policy, Window},
};
use tower::{Layer, ServiceExt, service_fn};

use crate::{SECOND, fragile};

fn breakers<K: std::hash::Hash + Eq>(
    policy: Policy,
    capacity: usize,
) -> (CircuitBreakers<K>, ManualClock) {
    let clock = ManualClock::new();
    let environment = Environment::new()
        .clock(clock.clone())
        .observer(|_: &Event<'_>| {});
    let breakers = CircuitBreakers::new_in(policy.capacity(capacity), &environment).unwrap();
    (breakers, clock)
}

fn settle<K: std::hash::Hash + Eq + Clone>(
    breakers: &CircuitBreakers<K>,
    key: &K,
    outcome: Outcome,
) {
    breakers.breaker(key).try_acquire().unwrap().settle(outcome);
}

#[test]
fn one_failing_key_takes_no_other_out_of_service() {
    let (breakers, _clock) = breakers::<String>(fragile(), 100);
    settle(&breakers, &"down".to_owned(), Outcome::Failure);
    assert_eq!(breakers.breaker("down").phase(), Phase::Open);
    assert_eq!(breakers.breaker("up").phase(), Phase::Closed);
}

#[test]
fn a_circuit_that_refuses_is_never_forgotten_for_new_keys() {
    let (breakers, _clock) = breakers::<u64>(fragile().open(OpenWait::fixed(Duration::MAX)), 8);
    settle(&breakers, &0, Outcome::Failure);
    for key in 1..10_000 {
        settle(&breakers, &key, Outcome::Success);
    }
    assert!(breakers.len() <= 8);
    assert_eq!(breakers.breaker(&0).phase(), Phase::Open);
}

#[test]
fn a_circuit_with_a_call_under_way_is_never_forgotten() {
    let policy = fragile().window(Window::time(SECOND, 1));
    let (breakers, clock) = breakers::<u64>(policy, 1);
    let permit = breakers.breaker(&0).try_acquire().unwrap();
    clock.advance(SECOND * 60);
    for key in 1..100 {
        let _ = breakers.breaker(&key);
    }
    permit.settle(Outcome::Failure);
    assert_eq!(breakers.breaker(&0).phase(), Phase::Open);
}

#[test]
fn idle_circuits_make_room_first_and_then_those_with_the_fewest_failures() {
    let policy = Policy::new("p").window(Window::time(SECOND * 60, 6));
    let (breakers, _clock) = breakers::<u64>(policy, 3);
    for _ in 0..5 {
        settle(&breakers, &0, Outcome::Failure);
    }
    settle(&breakers, &1, Outcome::Failure);
    drop(breakers.breaker(&2));
    settle(&breakers, &3, Outcome::Success);
    settle(&breakers, &4, Outcome::Success);
    assert_eq!(breakers.breaker(&0).snapshot().failures, 5);
    assert_eq!(breakers.breaker(&1).snapshot().failures, 1);
}

#[test]
fn when_its_wait_is_over_an_open_circuit_may_be_forgotten() {
    let (breakers, clock) = breakers::<u64>(fragile(), 1);
    settle(&breakers, &0, Outcome::Failure);
    clock.advance(SECOND);
    settle(&breakers, &1, Outcome::Success);
    assert_eq!(breakers.breaker(&1).snapshot().totals.successes, 1);
    assert_eq!(breakers.len(), 1);
}

#[test]
fn counters_of_many_circuits_never_fall_though_circuits_are_forgotten() {
    let (breakers, clock) = breakers::<u64>(fragile(), 4);
    for key in 0..50 {
        settle(&breakers, &key, Outcome::Success);
        settle(&breakers, &key, Outcome::Failure);
        assert!(breakers.breaker(&key).try_acquire().is_err());
        clock.advance(SECOND);
    }
    assert!(breakers.len() <= 4);
    let mut figures = vec![];
    breakers.measure(&mut |sample| figures.push((sample.label, sample.value)));
    let calls = [("success", 50), ("failure", 50), ("overload", 0)];
    for (outcome, calls) in calls {
        assert!(figures.contains(&(Some(outcome), calls)), "{figures:?}");
    }
    assert_eq!(
        figures
            .iter()
            .filter(|figure| **figure == (None, 50))
            .count(),
        2
    );
    assert!(figures.contains(&(Some("open"), breakers.len() as u64)));
}

#[test]
fn no_capacity_is_no_policy() {
    let invalid = CircuitBreakers::<u64>::new(fragile().capacity(0)).unwrap_err();
    assert_eq!(invalid.field(), "capacity");
    let invalid = CircuitBreakers::<u64>::new(fragile().min_calls(0)).unwrap_err();
    assert_eq!(invalid.field(), "min_calls");
}

#[tokio::test]
async fn the_layer_asks_the_circuit_of_the_key() {
    let (breakers, _clock) = breakers::<u32>(fragile(), 10);
    let layer = breakers.layer_with(|request: &Option<u32>| *request, Results);
    let service = layer.layer(service_fn(|request: Option<u32>| {
        ready(if request == Some(7) {
            Err(BoxError::from("down"))
        } else {
            Ok(())
        })
    }));
    assert!(service.clone().oneshot(Some(7)).await.is_err());
    let reason = |error: BoxError| error.as_rejected().map(|rejected| rejected.reason());
    let refused = service.clone().oneshot(Some(7)).await.unwrap_err();
    assert_eq!(reason(refused), Some(Reason::CircuitOpen));
    service.clone().oneshot(Some(8)).await.unwrap();
    let keyless = service.oneshot(None).await.unwrap_err();
    assert_eq!(reason(keyless), Some(Reason::MissingKey));
}

#[tokio::test]
async fn a_request_without_a_key_is_refused_counted_and_told() {
    let told = Arc::new(AtomicU64::new(0));
    let ear = told.clone();
    let environment = Environment::new().observer(move |event: &Event<'_>| {
        assert!(matches!(event, Event::Rejected(_)));
        ear.fetch_add(1, Relaxed);
    });
    let breakers = CircuitBreakers::<u32>::new_in(fragile().capacity(10), &environment).unwrap();
    let service = breakers
        .layer_with(|_: &()| None, Results)
        .layer(service_fn(|()| ready(Ok::<(), BoxError>(()))));
    service.oneshot(()).await.unwrap_err();
    let mut rejected = 0;
    breakers.measure(&mut |sample| {
        if sample.instrument.name.ends_with(".rejected") {
            rejected += sample.value;
        }
    });
    assert_eq!((rejected, told.load(Relaxed)), (1, 1));
}
