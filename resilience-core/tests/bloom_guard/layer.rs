//! The layer, and calls without one.

use std::{
    cell::RefCell,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use resilience_core::{BoxError, Error, Reason, Rejectable as _, bloom_guard::NotFound};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use super::{false_positives, forgetful};

#[tokio::test]
async fn find_answers_none_for_what_is_absent_and_learns_what_is_not_found() {
    let (guard, _clock) = forgetful(100);
    let ghost = false_positives(&guard).next().unwrap();
    let calls = RefCell::new(0);
    let look = async |key: u64| {
        let load = async || {
            *calls.borrow_mut() += 1;
            Ok::<_, Infallible>((key < 1000).then_some("soup"))
        };
        guard.find(&key, load).await.unwrap()
    };
    assert_eq!(look(5).await, Some("soup"));
    assert_eq!(look(ghost).await, None);
    assert_eq!(look(ghost).await, None);
    assert_eq!(*calls.borrow(), 2);
    let failed = guard.find(&5, async || Err::<Option<()>, _>("gone")).await;
    assert_eq!(failed, Err("gone"));
    let absent = guard.call(&ghost, async || Ok::<_, &str>(())).await;
    assert!(matches!(absent, Err(Error::Rejected(it)) if it.reason() == Reason::Absent));
    assert_eq!(guard.call(&5, async || Ok::<_, &str>(7)).await, Ok(7));
}

#[tokio::test]
async fn a_typed_service_is_guarded_and_tells_what_was_not_found() {
    let (guard, _clock) = forgetful(100);
    let ghost = false_positives(&guard).next().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let service = service_fn(move |key: u64| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, BoxError>((key < 1000).then_some("soup")) }
    });
    let missing = NotFound::when(|result: &Result<Option<_>, BoxError>| matches!(result, Ok(None)));
    let key = |key: &u64| (*key != 77).then_some(*key);
    let mut service = guard.layer_with(key, missing).layer(service);
    let mut call = async |key| service.ready().await.unwrap().call(key).await;
    assert_eq!(call(5).await.unwrap(), Some("soup"));
    assert_eq!(call(ghost).await.unwrap(), None);
    assert_eq!(
        call(77).await.unwrap(),
        Some("soup"),
        "without a key it passes"
    );
    let before = calls.load(Ordering::Relaxed);
    let refused = call(ghost).await.unwrap_err();
    assert_eq!(refused.as_rejected().unwrap().reason(), Reason::Absent);
    assert_eq!(calls.load(Ordering::Relaxed), before);
}
