//! Who may load a key for all, and how those hear of the end who wait for that.

use std::time::Duration;

use resilience_core::cache::{Claim, Lease, Tier as _, Unfilled};

use super::{MINUTE, Process, fleet_of_two, keys};
use crate::support::{PATIENCE, RedisServer, eventually};

const KEY: &[u8] = b"7";
const VALUE: &str = "res:cache:{dishes:7}";

/// Takes the lease of the key, which nobody else has, or only for a moment yet.
async fn granted(process: &Process, life: Duration) -> Lease {
    eventually(
        async || match process.tier.claim(KEY, life, PATIENCE).await.unwrap() {
            Claim::Granted(lease) => Some(lease),
            Claim::Over => None,
            Claim::Refused => panic!("not granted"),
        },
    )
    .await
}

/// What `process` hears who waits for the load of another, since `end` happens meanwhile.
async fn hears(server: &RedisServer, process: &Process, end: impl AsyncFnOnce()) -> Claim {
    let waiting = process.tier.claim(KEY, MINUTE, PATIENCE);
    let ending = async {
        // The lease says that somebody waits.
        eventually(async || {
            let lease: String = server.ask("GET res:cache_lease:{dishes:7}").await;
            lease.ends_with('!').then_some(())
        })
        .await;
        end().await;
    };
    let (claim, ()) = tokio::join!(waiting, ending);
    claim.unwrap()
}

#[tokio::test]
async fn who_waits_for_a_load_hears_how_it_ends() {
    let (server, one, other) = fleet_of_two().await;
    let lease = granted(&one, MINUTE).await;
    let filled = async || {
        one.tier
            .fill(KEY, lease, b"x".to_vec(), MINUTE)
            .await
            .unwrap()
    };
    assert!(matches!(hears(&server, &other, filled).await, Claim::Over));

    let lease = granted(&one, MINUTE).await;
    let failed = async || {
        one.tier
            .release(KEY, lease, Unfilled::Failed)
            .await
            .unwrap()
    };
    assert!(matches!(hears(&server, &other, failed).await, Claim::Over));

    // Whoever changes the key ends the load.
    granted(&one, MINUTE).await;
    let removed = async || one.tier.remove(KEY).await.unwrap();
    assert!(matches!(hears(&server, &other, removed).await, Claim::Over));
    granted(&other, MINUTE).await;
}

#[tokio::test]
async fn who_waits_for_a_load_goes_on_when_redis_is_gone_or_the_lease_has_ended() {
    let (mut server, one, other) = fleet_of_two().await;
    granted(&one, Duration::from_millis(300)).await;
    // Who waited is not refused, but asks again.
    let lease = granted(&other, MINUTE).await;
    let failed = other.tier.release(KEY, lease, Unfilled::Failed);
    failed.await.unwrap();

    granted(&one, MINUTE).await;
    let waiting = other.tier.claim(KEY, MINUTE, PATIENCE);
    let ending = async {
        eventually(async || {
            let lease: String = server.ask("GET res:cache_lease:{dishes:7}").await;
            lease.ends_with('!').then_some(())
        })
        .await;
        server.kill();
    };
    let (claim, ()) = tokio::join!(waiting, ending);
    assert!(matches!(claim, Ok(Claim::Over)), "{claim:?}");
}

#[tokio::test]
async fn nobody_waits_for_what_is_not_for_all() {
    let (_server, one, other) = fleet_of_two().await;
    let claim = eventually(async || {
        let lease = granted(&one, MINUTE).await;
        let private = one.tier.release(KEY, lease, Unfilled::Private);
        private.await.unwrap();
        // Within a second.
        let claim = other.tier.claim(KEY, MINUTE, PATIENCE).await.unwrap();
        match claim {
            Claim::Granted(lease) => {
                let failed = other.tier.release(KEY, lease, Unfilled::Failed);
                failed.await.unwrap();
                None
            }
            claim => Some(claim),
        }
    });
    assert!(matches!(claim.await, Claim::Refused));
}

#[tokio::test]
async fn what_changed_under_a_lease_is_not_stored_by_it() {
    let (server, one, other) = fleet_of_two().await;
    for is_put in [false, true] {
        let lease = granted(&one, MINUTE).await;
        if is_put {
            let put = other.tier.put(KEY, b"new".to_vec(), MINUTE);
            put.await.unwrap();
        } else {
            other.tier.remove(KEY).await.unwrap();
        }
        let before: Option<Vec<u8>> = server.ask(&format!("GET {VALUE}")).await;
        assert_eq!(before.is_some(), is_put);
        // Whether the other was heard by now makes no difference.
        one.tier
            .fill(KEY, lease, b"old".to_vec(), MINUTE)
            .await
            .unwrap();
        let after: Option<Vec<u8>> = server.ask(&format!("GET {VALUE}")).await;
        assert_eq!(before, after);
    }
}

#[tokio::test]
async fn where_a_load_cannot_be_stored_nobody_waits_for_it() {
    let (server, one, other) = fleet_of_two().await;
    let lease = granted(&one, MINUTE).await;
    server.tell("CONFIG SET maxmemory 1").await;
    let filled = one.tier.fill(KEY, lease, b"x".to_vec(), MINUTE).await;
    filled.expect_err("there is no memory for it");
    assert!(keys(&server, "*").await.is_empty());
    server.tell("CONFIG SET maxmemory 0").await;
    granted(&other, MINUTE).await;
}
