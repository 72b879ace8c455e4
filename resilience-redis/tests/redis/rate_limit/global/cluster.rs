//! A key and all keys that stand on different servers.

use std::time::Duration;

use resilience_core::{Reason, Rejected, Results};
use resilience_redis::{
    RedisStore,
    rate_limit::{Fallback, Options, Source},
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{
    super::alike::{Ask as _, used_up, why},
    books::Books,
    of_all,
};
use crate::support::{RedisCluster, eventually, patient};

/// A cluster, the owner of what all keys take, and a key that another one owns.
async fn apart() -> (RedisCluster, usize, String) {
    let cluster = RedisCluster::start().await;
    let owner = cluster.owner_of("{test}").await;
    for key in 0.. {
        if cluster.owner_of(&format!("{{test:{key}}}")).await != owner {
            return (cluster, owner, key.to_string());
        }
    }
    unreachable!()
}

/// Servers write nothing until they are told that it is over, which is long before this.
const PAUSE: &str = "CLIENT PAUSE 600000 WRITE";
const GO_ON: &str = "CLIENT UNPAUSE";

#[tokio::test]
async fn in_a_cluster_whoever_goes_away_between_the_two_takes_nothing() {
    let (cluster, owner, key) = apart().await;
    let store = RedisStore::connect(&cluster.url(), patient()).await;
    let limiter = store.expect("a server").rate_limiter(&of_all(20));
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&cluster.url(), 20).await;
    limiter.try_take_n(&key, 2).await.expect("room");
    books.show(&key, 2, 18).await;
    let whose = |key: &String| Some(key.clone());
    let service = limiter.layer_with(whose, Results);
    let service = service.layer(service_fn(async |_| Ok::<_, Rejected>(())));
    for is_behind_tower in [false, true] {
        cluster.members[owner].tell(PAUSE).await;
        let (limiter, of_key) = (limiter.clone(), key.clone());
        let call = if is_behind_tower {
            let call = service.clone().oneshot(of_key);
            tokio::spawn(async move { call.await.is_ok() })
        } else {
            tokio::spawn(async move { limiter.try_take(&of_key).await.is_ok() })
        };
        eventually(async || (books.of_key(&key).await == 3).then_some(())).await;
        call.abort();
        eventually(async || (books.of_key(&key).await == 2).then_some(())).await;
        cluster.members[owner].tell(GO_ON).await;
        books.show(&key, 2, 18).await;
    }
}

#[tokio::test]
async fn in_a_cluster_what_all_keys_have_no_room_for_goes_back_to_the_key() {
    let (cluster, _, key) = apart().await;
    let store = RedisStore::connect(&cluster.url(), patient()).await;
    let limiter = store.expect("a server").rate_limiter(&of_all(4));
    let limiter = limiter.expect("a valid policy");
    let books = Books::open(&cluster.url(), 4).await;
    limiter.try_take_n(&key, 3).await.expect("room");
    assert_eq!(limiter.left(&key, 2).await, used_up("all"));
    books.show(&key, 3, 1).await;
    assert_eq!(limiter.left(&key, 1).await, Ok(0));
    books.show(&key, 4, 0).await;
}

#[tokio::test]
async fn in_a_cluster_that_cannot_say_what_all_keys_took_each_process_allows_its_part_of_that() {
    let (cluster, owner, key) = apart().await;
    let settings = patient().decision_timeout(Duration::from_millis(400));
    let store = RedisStore::connect(&cluster.url(), settings).await;
    let store = store.expect("a server");
    let of = |fallback| {
        let options = Options::new().fallback(fallback);
        let limiter = store.rate_limiter_with(&of_all(4), &options);
        limiter.expect("a valid policy")
    };
    let (share, deny) = (of(Fallback::LocalShare), of(Fallback::Deny));
    eventually(async || (share.nodes() == 2).then_some(())).await;
    let books = Books::open(&cluster.url(), 4).await;
    for limiter in [&share, &deny] {
        limiter.peek(&key).await.expect("redis is up");
    }
    cluster.members[owner].tell(PAUSE).await;
    for _ in 0..2 {
        let decision = share.decide(&key, 1).await;
        assert_eq!(decision.source, Source::Degraded);
        assert!(decision.error.is_some() && decision.time.is_some());
        decision.outcome.expect("its part");
    }
    let refused = share.decide(&key, 1).await;
    assert_eq!(refused.source, Source::Degraded);
    assert_eq!(
        why(&refused.outcome.expect_err("its part is used up")).1,
        "all"
    );
    let refused = deny.decide(&key, 1).await;
    assert!(refused.error.is_some());
    let rejected = refused.outcome.expect_err("nobody decides");
    assert_eq!(rejected.reason(), Reason::StoreUnavailable);
    eventually(async || (books.of_key(&key).await == 2).then_some(())).await;
    // What it was asked for too late nobody can take back; of the key nothing is lost.
    cluster.members[owner].tell(GO_ON).await;
    eventually(async || (books.of_key(&key).await == 2).then_some(())).await;
}
