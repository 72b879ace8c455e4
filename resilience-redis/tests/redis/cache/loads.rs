//! Of many processes one loads, and holds nobody up when it is gone.

use std::{sync::Arc, time::Duration};

use resilience_core::cache::{Claim, Tier as _, Unfilled};

use super::{MINUTE, Process, Source, fleet_of_two, keys, policy, stored};
use crate::support::{PATIENCE, RedisServer, eventually, patient};

#[tokio::test]
async fn a_fleet_loads_a_key_once() {
    let server = RedisServer::start().await;
    let mut fleet = Vec::new();
    for _ in 0..6 {
        fleet.push(Arc::new(Process::at(&server.url()).await));
    }
    let source = Source::slow();
    for key in 0..10 {
        let callers: Vec<_> = fleet
            .iter()
            .flat_map(|process| (0..5).map(move |_| process.clone()))
            .map(|process| {
                let source = source.clone();
                tokio::spawn(async move { process.load(key, &source).await })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), format!("load {}", key + 1));
        }
    }
    assert_eq!(source.loads(), 10);
}

#[tokio::test]
async fn nothing_is_stored_that_another_process_changed_while_it_was_loaded() {
    let (server, one, other) = fleet_of_two().await;
    let (one, (source, gate)) = (Arc::new(one), Source::held());
    for (key, after) in [(7, "load 2"), (8, "stew")] {
        let loading = tokio::spawn({
            let (one, source) = (one.clone(), source.clone());
            async move { one.load(key, &source).await }
        });
        eventually(async || {
            let leases = keys(&server, "res:cache_lease:*").await;
            (!leases.is_empty()).then_some(())
        })
        .await;
        if after == "stew" {
            other.cache.insert(key, after.to_owned());
            stored(&server).await;
        } else {
            other.cache.forget(&key).await.unwrap();
        }
        gate.notify_one();
        assert!(loading.await.unwrap().starts_with("load"));
        one.eventually_without(key).await;
        // What is on its way to Redis arrives before the answer to this does.
        one.cache.forget(&99).await.unwrap();
        assert_eq!(other.load(key, &Source::numbered(1)).await, after);
        other.cache.forget(&key).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_waits_for_a_load_that_is_lost_with_its_process_goes_on_when_the_lease_ends() {
    let (_server, one, other) = fleet_of_two().await;
    let claim = one.tier.claim(b"7", Duration::from_millis(300), PATIENCE);
    assert!(matches!(claim.await, Ok(Claim::Granted(_))));
    drop(one);
    assert_eq!(other.load(7, &Source::default()).await, "load 1");
}

#[tokio::test]
async fn whoever_never_learned_that_it_may_load_holds_nobody_up() {
    let (server, _, other) = fleet_of_two().await;
    let short = patient().decision_timeout(Duration::from_millis(50));
    let one = Process::with(&server.url(), short, policy()).await;
    // Once for the server to know the scripts: of one that it does not know it does nothing.
    let Ok(Claim::Granted(lease)) = other.tier.claim(b"7", MINUTE, PATIENCE).await else {
        panic!("not granted")
    };
    let failed = other.tier.release(b"7", lease, Unfilled::Failed);
    failed.await.unwrap();
    server.freeze();
    assert!(one.tier.claim(b"7", MINUTE, PATIENCE).await.is_err());
    server.thaw();
    // It is answered after all that was asked before.
    eventually(async || one.tier.get(b"8").await.ok()).await;
    eventually(async || keys(&server, "*").await.is_empty().then_some(())).await;
    assert_eq!(other.load(7, &Source::default()).await, "load 1");
}
