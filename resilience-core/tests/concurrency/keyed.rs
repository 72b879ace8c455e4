//! Permits for each key.

use std::future::ready;

use resilience_core::{
    BoxError, Reason, Rejectable as _, Rejected, Results, concurrency::Bulkheads,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::policy;

#[test]
fn each_key_has_permits_of_its_own() {
    let bulkheads = Bulkheads::<String>::new(policy(1)).unwrap();
    let _soup = bulkheads.bulkhead("soup").try_acquire().unwrap();
    assert!(bulkheads.bulkhead("soup").try_acquire().is_err());
    assert!(bulkheads.bulkhead("rice").try_acquire().is_ok());
    bulkheads.set_permits(2);
    assert!(bulkheads.bulkhead("soup").try_acquire().is_ok());
    assert!(bulkheads.bulkhead("fish").try_acquire().is_ok());
    let snapshot = bulkheads.snapshot();
    assert_eq!(
        (snapshot.permits, snapshot.running, snapshot.admitted),
        (2, 1, 4)
    );
}

#[test]
fn a_key_with_calls_under_way_is_never_forgotten_and_memory_is_bounded() {
    let bulkheads = Bulkheads::<u32>::new(policy(1).capacity(16)).unwrap();
    let _running = bulkheads.bulkhead(&0).try_acquire().unwrap();
    for stranger in 1..10_000 {
        assert!(bulkheads.bulkhead(&stranger).try_acquire().is_ok());
        assert!(bulkheads.len() <= 16);
    }
    assert!(bulkheads.bulkhead(&0).try_acquire().is_err());
}

#[test]
fn where_all_places_are_taken_new_keys_share_and_are_still_held() {
    let bulkheads = Bulkheads::<u32>::new(policy(1).capacity(8)).unwrap();
    let permits: Vec<_> = (0..1000)
        .map(|key| bulkheads.bulkhead(&key).try_acquire())
        .collect();
    let admitted = permits.iter().filter(|it| it.is_ok()).count();
    assert!((8..=16).contains(&admitted), "{admitted}");
    assert_eq!(bulkheads.len(), 8);
}

#[tokio::test]
async fn a_request_that_names_no_key_is_refused() {
    let bulkheads = Bulkheads::<u8>::new(policy(1)).unwrap();
    let extractor = |request: &Option<u8>| *request;
    let echo = service_fn(|request: Option<u8>| ready(Ok::<_, BoxError>(request)));
    let service = bulkheads.layer_with(extractor, Results).layer(echo);
    assert_eq!(service.clone().oneshot(Some(1)).await.unwrap(), Some(1));
    let error = service.oneshot(None).await.unwrap_err();
    let reason = error.as_rejected().map(Rejected::reason);
    assert_eq!(reason, Some(Reason::MissingKey));
}
