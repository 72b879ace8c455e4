//! Callers who wait while another server begins to answer for their key.

use std::time::Duration;

use resilience_redis::{
    RedisStore,
    rate_limit::{Algorithm, Policy, Quota, RateLimiter, Source},
};
use tokio::task::JoinHandle;

use super::{Decision, decision, stands_in_line, waiter};
use crate::support::{RedisCluster, RedisSentinels, RedisServer, eventually, patient};

const HOUR: Duration = Duration::from_secs(3600);

/// A limit of two of which nothing comes back by itself, with somebody who waits for a unit.
async fn used_up(url: &str) -> (RateLimiter, JoinHandle<Decision>) {
    let settings = patient().decision_timeout(Duration::from_millis(500));
    let store = RedisStore::connect(url, settings).await.expect("a server");
    let quota = Quota::new(2, HOUR).algorithm(Algorithm::SlidingWindow);
    let policy = Policy::new("test", quota).max_wait(4 * HOUR);
    let limiter = store.rate_limiter(&policy).expect("a valid policy");
    limiter.take_n("key", 2).await.expect("a fresh key");
    let waiting = waiter(&limiter, 1).await;
    stands_in_line(&limiter).await;
    (limiter, waiting)
}

/// Until `server` decides, and knows of what was taken before.
async fn decides(server: &RedisServer, limiter: &RateLimiter) {
    eventually(async || server.is_primary().await.then_some(())).await;
    let remaining = eventually(async || {
        let look = limiter.decide("key", 0).await;
        (look.source == Source::Redis).then(|| look.outcome.expect("a look").remaining)
    });
    assert_eq!(remaining.await, 0);
}

/// A unit comes back, and who waited has it from the server that answers now.
async fn is_served(limiter: &RateLimiter, waiting: JoinHandle<Decision>) {
    assert!(!waiting.is_finished());
    limiter.refund("key", 1).await.expect("redis is up");
    let decision = decision(waiting).await;
    assert_eq!((decision.source, decision.error), (Source::Redis, None));
    decision.outcome.expect("granted");
    assert_eq!(limiter.peek("key").await.expect("a look").remaining, 0);
    assert_eq!(limiter.snapshot().waiting, 0);
}

#[tokio::test]
async fn who_waits_goes_on_waiting_where_sentinels_name_another_primary() {
    let mut servers = RedisSentinels::start().await;
    let (limiter, waiting) = used_up(&servers.url()).await;
    servers.replica.catches_up_with(&servers.primary).await;
    servers.primary.kill();
    decides(&servers.replica, &limiter).await;
    is_served(&limiter, waiting).await;
}

#[tokio::test]
async fn who_waits_goes_on_waiting_where_a_replica_takes_the_place_of_an_owner() {
    let mut cluster = RedisCluster::start().await;
    let (limiter, waiting) = used_up(&cluster.url()).await;
    let owner = cluster.owner_of(NAME).await;
    let replica = cluster.replica_of(owner);
    replica.catches_up_with(&cluster.members[owner]).await;
    cluster.members[owner].kill();
    decides(cluster.replica_of(owner), &limiter).await;
    is_served(&limiter, waiting).await;
}

#[tokio::test]
async fn who_waits_is_served_by_the_owner_that_his_slot_was_moved_to() {
    let cluster = RedisCluster::start().await;
    let (limiter, waiting) = used_up(&cluster.url()).await;
    let from = cluster.owner_of(NAME).await;
    let to = (from + 1) % cluster.owners().len();
    cluster.begin_to_move(NAME, from, to).await;
    let counts: Vec<String> = cluster.members[from].ask("KEYS *:rl:*").await;
    for count in counts {
        cluster.move_key(&count, from, to).await;
    }
    cluster.end_move(NAME, from, to).await;
    is_served(&limiter, waiting).await;
    let counts: Vec<String> = cluster.members[to].ask("KEYS *:rl:*").await;
    assert!(!counts.is_empty());
}

/// What the counts of the key begin with, its hash tag included.
const NAME: &str = "res:rl:{test:key}";
