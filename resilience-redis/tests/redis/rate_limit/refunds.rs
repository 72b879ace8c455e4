//! Units that go back by themselves.

use std::time::Duration;

use resilience_core::{Environment, ManualClock, Results, rate_limit::Charge};
use resilience_redis::{
    RedisStore,
    rate_limit::{Options, Policy, Quota, RateLimiter, Source},
};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn};

use crate::support::{RedisCluster, RedisServer, eventually, patient};

const HOUR: Duration = Duration::from_secs(3600);
/// Servers write nothing until they are told that it is over, which is long before this.
const PAUSE: &str = "CLIENT PAUSE 600000 WRITE";
const GO_ON: &str = "CLIENT UNPAUSE";
/// Longer than a test waits for anything.
const LONG: Duration = Duration::from_secs(120);

/// Gives back what calls took that succeed.
async fn limiter(url: &str, limit: u64) -> RateLimiter {
    let store = RedisStore::connect(url, patient().decision_timeout(LONG)).await;
    let policy = Policy::new("test", Quota::new(limit, HOUR)).charge(Charge::Failures);
    let limiter = store.expect("a server").rate_limiter(&policy);
    limiter.expect("a valid policy")
}

/// Whose a call is.
fn whose(call: &u64) -> Option<u64> {
    Some(*call)
}

async fn remaining(limiter: &RateLimiter, key: u64) -> u64 {
    limiter.peek(&key).await.expect("a look").remaining
}

#[tokio::test]
async fn a_refund_that_nobody_waits_for_any_more_is_seen_here() {
    let server = RedisServer::start().await;
    // Nobody asks all the same after a while.
    let environment = Environment::new().clock(ManualClock::new());
    let options = Options::new().environment(&environment);
    let policy = Policy::new("test", Quota::new(1, HOUR));
    let limiter = server.store().await.rate_limiter_with(&policy, &options);
    let limiter = limiter.expect("a valid policy");
    limiter.try_take("key").await.expect("a fresh key");
    limiter.try_take("key").await.expect_err("used up");
    server.tell(PAUSE).await;
    let refund = limiter.refund("key", 1);
    assert!(timeout(Duration::ZERO, refund).await.is_err());
    server.tell(GO_ON).await;
    eventually(async || limiter.try_take("key").await.ok()).await;
}

#[tokio::test]
async fn a_server_of_a_cluster_that_hangs_holds_up_no_units_of_others() {
    let cluster = RedisCluster::start().await;
    let limiter = limiter(&cluster.url(), 10).await;
    let owner = async |key: u64| cluster.owner_of(&format!("{{test:{key}}}")).await;
    let hung = owner(0).await;
    let mut other = 1;
    while owner(other).await == hung {
        other += 1;
    }
    let hung = &cluster.members[hung];
    let kitchen = service_fn(async |key: u64| {
        if key == 0 {
            hung.tell(PAUSE).await;
        }
        Ok::<_, BoxError>(())
    });
    let service = limiter.layer_with(whose, Results).layer(kitchen);
    for key in [0, other] {
        service.clone().oneshot(key).await.expect("room");
    }
    eventually(async || (remaining(&limiter, other).await == 10).then_some(())).await;
    hung.tell(GO_ON).await;
    eventually(async || (remaining(&limiter, 0).await == 10).then_some(())).await;
}

#[tokio::test]
async fn a_server_of_a_cluster_that_hangs_holds_up_no_units_taken_ahead_of_others() {
    const KEYS: u64 = 24;
    let cluster = RedisCluster::start().await;
    let store = RedisStore::connect(&cluster.url(), patient().decision_timeout(LONG)).await;
    let policy = Policy::new("test", Quota::new(1000, HOUR));
    let ahead = Options::new().lease_up_to(50);
    let limiter = store.expect("a server").rate_limiter_with(&policy, &ahead);
    let limiter = limiter.expect("a valid policy");
    let (mut elsewhere, mut of_hung) = (0, 0);
    for key in 0..KEYS {
        let (before, mut spent) = (limiter.snapshot().leased, 0);
        for _ in 0..50 {
            let source = limiter.decide(&key, 1).await.source;
            spent += u64::from(source == Source::Lease);
        }
        let held = limiter.snapshot().leased - before - spent;
        match cluster.owner_of(&format!("{{test:{key}}}")).await {
            0 => of_hung += held,
            _ => elsewhere += held,
        }
    }
    assert!(elsewhere > 0 && of_hung > 0);
    cluster.members[0].tell(PAUSE).await;
    let returning = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.return_leases().await }
    });
    eventually(async || (limiter.snapshot().returned == elsewhere).then_some(())).await;
    assert!(!returning.is_finished(), "one server hangs");
    cluster.members[0].tell(GO_ON).await;
    let returned = returning.await.expect("a task");
    returned.expect("all servers are well");
    let snapshot = limiter.snapshot();
    assert_eq!((snapshot.returned, snapshot.lost), (elsewhere + of_hung, 0));
}

#[tokio::test]
async fn what_there_is_no_room_for_is_counted_and_stays_taken() {
    const CALLS: u64 = (1 << 16) + 1000;
    /// What four runs took of those that wait.
    const UNDER_WAY: u64 = 4 * 128;
    static OPEN: Semaphore = Semaphore::const_new(0);

    let server = RedisServer::start().await;
    let limiter = limiter(&server.url(), CALLS).await;
    let kitchen = service_fn(async |_| {
        let _ = OPEN.acquire().await;
        Ok::<_, BoxError>(())
    });
    let service = limiter.layer_with(whose, Results).layer(kitchen);
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        calls.spawn(service.clone().oneshot(0));
    }
    eventually(async || (limiter.snapshot().admitted.redis == CALLS).then_some(())).await;
    server.tell(PAUSE).await;
    OPEN.close();
    for answer in calls.join_all().await {
        answer.expect("room");
    }
    let dropped = limiter.snapshot().dropped_refunds;
    assert!((1000 - UNDER_WAY..=1000).contains(&dropped), "{dropped}");
    server.tell(GO_ON).await;
    eventually(async || (remaining(&limiter, 0).await == CALLS - dropped).then_some(())).await;
}

#[tokio::test]
async fn a_call_that_is_not_charged_takes_nothing_of_what_this_process_may_allow() {
    let mut server = RedisServer::start().await;
    let limiter = limiter(&server.url(), 3).await;
    let service = limiter.layer_with(whose, Results).layer(service_fn(answer));
    server.kill();
    eventually(async || limiter.decide(&7_u64, 0).await.error).await;
    for _ in 0..10 {
        service.clone().oneshot(7).await.expect("not charged");
    }
    service.clone().oneshot(FAILS).await.expect_err("charged");
    // From here on both the server and this process must have room.
    server.start_again().await;
    eventually(async || {
        let look = limiter.decide(&FAILS, 0).await;
        look.error.is_none().then_some(())
    })
    .await;
    let layer = limiter.layer_with(|_: &u64| Some(FAILS), Results);
    let service = layer.layer(service_fn(answer));
    for _ in 0..10 {
        eventually(async || service.clone().oneshot(7).await.ok()).await;
    }
    assert_eq!(limiter.snapshot().refused.degraded, 0);
}

/// What comes of a call.
async fn answer(call: u64) -> Result<(), BoxError> {
    if call == FAILS {
        Err("failed".into())
    } else {
        Ok(())
    }
}

const FAILS: u64 = 8;
