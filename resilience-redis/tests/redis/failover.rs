//! What callers hear while a server is lost and another takes its place.

use std::time::Duration;

use resilience_core::Clock;
use resilience_redis::{
    RedisStore, StoreError,
    rate_limit::{Policy, Quota, RateLimiter},
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::support::{
    POLL, RedisCluster, RedisSentinels, RedisServer, eventually, in_time, patient, within,
};

const MINUTE: Duration = Duration::from_secs(60);
/// So long that no step of it ends while its counts are moved.
const DAY: Duration = Duration::from_secs(86_400);
const DEADLINE: Duration = Duration::from_millis(50);
/// How long servers that hand over keep callers waiting, and more.
const HANDOVER: Duration = Duration::from_secs(1);
/// How long a store waits before it tries once more to connect, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Enough that every owner of a cluster has some.
const KEYS: u64 = 24;

async fn limiter(url: &str, deadline: Duration) -> RateLimiter {
    let settings = patient()
        .decision_timeout(deadline)
        .connect_timeout(Duration::from_secs(1));
    let store = RedisStore::connect(url, settings).await.expect("a store");
    let policy = Policy::new("test", Quota::new(1 << 40, MINUTE));
    store.rate_limiter(&policy).expect("a valid policy")
}

async fn take(limiter: &RateLimiter, key: u64) -> Result<(), StoreError> {
    let decision = limiter.decide(&key, 1).await;
    match (decision.error, decision.outcome) {
        (Some(error), _) => Err(error),
        (None, outcome) => outcome.map(|_| ()).map_err(|rejected| panic!("{rejected}")),
    }
}

/// How long it takes until every key is decided again, each decision in time.
async fn recovery(limiter: &RateLimiter) -> Duration {
    let clock = Clock::system();
    let start = clock.now();
    eventually(async || {
        let mut all = Some(());
        for key in 0..KEYS {
            if in_time(DEADLINE, take(limiter, key)).await.is_err() {
                all = None;
            }
        }
        all
    })
    .await;
    clock.now().saturating_since(start)
}

/// Takes from every key, again and again, until `done`; no call may fail.
async fn takes_without_error(limiter: &RateLimiter, mut done: impl AsyncFnMut() -> bool) {
    let mut rounds_after = 0;
    while rounds_after < 20 {
        for key in 0..KEYS {
            take(limiter, key).await.expect("no error");
        }
        if rounds_after > 0 || done().await {
            rounds_after += 1;
        }
        sleep(POLL).await;
    }
}

fn is_try_again(error: Option<&StoreError>) -> bool {
    matches!(error, Some(StoreError::NotServing(code)) if code.as_str() == "TRYAGAIN")
}

#[tokio::test]
async fn a_cluster_decides_again_soon_after_an_owner_was_killed() {
    let mut cluster = RedisCluster::start().await;
    let limiter = limiter(&cluster.url(), DEADLINE).await;
    recovery(&limiter).await;
    for owner in cluster.owners() {
        assert!(owner.ask::<u64>("DBSIZE").await > 0);
    }
    cluster.members[0].kill();
    let outage = recovery(&limiter).await;
    println!("decided again after {outage:?}");
    assert!(outage < within(Duration::from_secs(6)), "{outage:?}");
    // It comes back with nothing, thinks for a moment that it owns what it owned, and is told.
    cluster.members[0].start_again().await;
    eventually(async || (!cluster.members[0].is_primary().await).then_some(())).await;
    recovery(&limiter).await;
}

#[tokio::test]
async fn a_cluster_decides_again_soon_after_an_owner_froze() {
    let cluster = RedisCluster::start().await;
    let limiter = limiter(&cluster.url(), DEADLINE).await;
    recovery(&limiter).await;
    cluster.members[1].freeze();
    let outage = recovery(&limiter).await;
    println!("decided again after {outage:?}");
    assert!(outage < within(Duration::from_secs(6)), "{outage:?}");
    cluster.members[1].thaw();
    eventually(async || (!cluster.members[1].is_primary().await).then_some(())).await;
    recovery(&limiter).await;
}

#[tokio::test]
async fn a_graceful_failover_of_a_cluster_costs_no_error() {
    let cluster = RedisCluster::start().await;
    let limiter = limiter(&cluster.url(), within(HANDOVER)).await;
    let replica = cluster.replica_of(2);
    replica.tell("CLUSTER FAILOVER").await;
    takes_without_error(&limiter, async || replica.is_primary().await).await;
}

#[tokio::test]
async fn sentinels_lead_to_the_new_primary_soon_after_the_old_was_killed() {
    let mut servers = RedisSentinels::start().await;
    let limiter = limiter(&servers.url(), DEADLINE).await;
    recovery(&limiter).await;
    servers.primary.kill();
    let outage = recovery(&limiter).await;
    println!("decided again after {outage:?}");
    assert!(outage < within(Duration::from_secs(4)), "{outage:?}");
    assert!(servers.replica.ask::<u64>("DBSIZE").await > 0);
}

#[tokio::test]
async fn sentinels_lead_to_the_new_primary_soon_after_the_old_froze() {
    let servers = RedisSentinels::start().await;
    let limiter = limiter(&servers.url(), DEADLINE).await;
    recovery(&limiter).await;
    // One of those that watch may be gone as well.
    servers.sentinels[0].freeze();
    servers.primary.freeze();
    let outage = recovery(&limiter).await;
    println!("decided again after {outage:?}");
    assert!(outage < within(Duration::from_secs(4)), "{outage:?}");
    assert!(servers.replica.ask::<u64>("DBSIZE").await > 0);
}

#[tokio::test]
async fn a_graceful_failover_by_sentinels_costs_no_error() {
    let servers = RedisSentinels::start().await;
    let limiter = limiter(&servers.url(), within(HANDOVER)).await;
    take(&limiter, 0).await.expect("the primary is up");
    servers.sentinels[1].tell("SENTINEL FAILOVER dishes").await;
    let mut fresh = KEYS;
    takes_without_error(&limiter, async || {
        if !servers.replica.is_primary().await {
            return false;
        }
        // The old primary serves on for seconds: who still writes to it writes in vain.
        let before: u64 = servers.replica.ask("DBSIZE").await;
        fresh += 1;
        take(&limiter, fresh).await.expect("no error");
        servers.replica.ask::<u64>("DBSIZE").await > before
    })
    .await;
}

#[tokio::test]
async fn a_server_that_sentinels_name_and_that_is_no_primary_is_not_asked() {
    let servers = RedisSentinels::start().await;
    // They would look for another one.
    for sentinel in &servers.sentinels {
        sentinel
            .tell("SENTINEL SET dishes down-after-milliseconds 600000")
            .await;
    }
    let port = servers.replica.port();
    servers
        .primary
        .tell(&format!("REPLICAOF 127.0.0.1 {port}"))
        .await;
    let settings = patient().connect_timeout(Duration::from_secs(1));
    let store = RedisStore::connect(&servers.url(), settings).await;
    assert_eq!(store.err(), Some(StoreError::Unavailable));
}

#[tokio::test]
async fn a_slot_that_moves_costs_no_error_and_no_count() {
    let cluster = RedisCluster::start().await;
    let store = RedisStore::connect(&cluster.url(), patient()).await;
    // Two quotas are two keys of one slot, so that one can be here and one there.
    let policy = Policy::new("test", Quota::new(100, DAY)).and(Quota::new(200, 2 * DAY));
    let limiter = store
        .expect("a store")
        .rate_limiter(&policy)
        .expect("a valid policy");
    let mut taken = 0;
    let mut takes = async || {
        taken += 1;
        let quota = limiter.try_take("key").await.expect("no error");
        assert_eq!(quota.remaining, 100 - taken);
    };
    takes().await;
    let mut from = 0;
    let mut keys: Vec<String> = Vec::new();
    for (index, owner) in cluster.owners().iter().enumerate() {
        let found: Vec<String> = owner.ask("KEYS *:rl:*").await;
        if !found.is_empty() {
            (from, keys) = (index, found);
        }
    }
    let to = (from + 1) % cluster.owners().len();
    let [one, other] = &keys[..] else {
        panic!("{keys:?}");
    };

    cluster.begin_to_move(one, from, to).await;
    takes().await;
    cluster.move_key(one, from, to).await;
    // Neither has both by now, and nothing is taken.
    let apart = limiter.decide("key", 1).await.error;
    assert!(is_try_again(apart.as_ref()), "{apart:?}");
    cluster.move_key(other, from, to).await;
    takes().await;
    cluster.end_move(one, from, to).await;
    takes().await;

    // Once it is known who owns the slot, the old owner is asked no more.
    let refusals = async || {
        let info: String = cluster.members[from].ask("INFO errorstats").await;
        let line = info
            .lines()
            .find(|line| line.starts_with("errorstat_MOVED"));
        line.map(str::to_owned)
    };
    eventually(async || {
        let before = refusals().await;
        takes().await;
        (refusals().await == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slot_that_is_on_its_way_is_refused_at_once_and_harms_no_other() {
    let cluster = RedisCluster::start().await;
    let settings = patient().decision_timeout(within(HANDOVER));
    let store = RedisStore::connect(&cluster.url(), settings).await;
    let policy = Policy::new("test", Quota::new(1000, MINUTE)).and(Quota::new(2000, 2 * MINUTE));
    let limiter = store
        .expect("a store")
        .rate_limiter(&policy)
        .expect("a valid policy");
    let slot = |key: u64| format!("res:rl:{{test:{key}}}");
    let from = cluster.owner_of(&slot(0)).await;
    let mut other = 1;
    while cluster.owner_of(&slot(other)).await != from {
        other += 1;
    }
    take(&limiter, other).await.expect("no error");

    cluster
        .begin_to_move(&slot(0), from, (from + 1) % cluster.owners().len())
        .await;
    for row in [1, 10] {
        // However many in a row: the server is well.
        for _ in 0..row {
            let error = take(&limiter, 0).await.expect_err("its keys are new");
            assert!(is_try_again(Some(&error)), "{error:?}");
            assert!(!error.may_have_run());
        }
        take(&limiter, other).await.expect("no error");
    }
}

#[tokio::test]
async fn a_key_whose_slot_moves_is_cleared_wholly_or_not_said_to_be() {
    let cluster = RedisCluster::start().await;
    // Less than it takes the others to replace an owner that hangs.
    let settings = patient().decision_timeout(within(Duration::from_millis(300)));
    let store = RedisStore::connect(&cluster.url(), settings).await;
    let policy = Policy::new("test", Quota::new(100, DAY)).and(Quota::new(200, 2 * DAY));
    let limiter = store
        .expect("a store")
        .rate_limiter(&policy)
        .expect("a valid policy");
    take(&limiter, 0).await.expect("no error");
    let name = "res:rl:{test:0}";
    let from = cluster.owner_of(name).await;
    let to = (from + 1) % cluster.owners().len();
    let [old, new] = [from, to].map(|index| &cluster.members[index]);
    let counts = async |server: &RedisServer| server.ask::<Vec<String>>("KEYS *:rl:*").await;
    let both = counts(old).await;
    let [one, other] = &both[..] else {
        panic!("{both:?}");
    };

    cluster.begin_to_move(name, from, to).await;
    cluster.move_key(one, from, to).await;
    assert_eq!(counts(old).await, [other.as_str()]);
    assert_eq!(counts(new).await, [one.as_str()]);
    new.freeze();
    let unheard = limiter.clear(&0_u64).await;
    assert!(unheard.is_err(), "{unheard:?}");
    new.thaw();
    eventually(async || limiter.clear(&0_u64).await.ok()).await;
    assert!(counts(old).await.is_empty() && counts(new).await.is_empty());
}

#[tokio::test]
async fn what_is_on_its_way_to_another_server_is_found_and_deleted() {
    let cluster = RedisCluster::start().await;
    let store = RedisStore::connect(&cluster.url(), patient()).await;
    let policy = Policy::new("test", Quota::new(100, DAY)).and(Quota::new(200, 2 * DAY));
    let limiter = store.expect("a store").rate_limiter(&policy);
    let limiter = limiter.expect("a valid policy");
    take(&limiter, 0).await.expect("no error");
    let name = "res:rl:{test:0}";
    let from = cluster.owner_of(name).await;
    let to = (from + 1) % cluster.owners().len();
    let counts = async |index: usize| {
        let server = &cluster.members[index];
        server.ask::<Vec<String>>("KEYS *:rl:*").await
    };
    let both = counts(from).await;
    assert_eq!(both.len(), 2);
    cluster.begin_to_move(name, from, to).await;
    cluster.move_key(&both[0], from, to).await;
    // Nobody but the old owner sends us to the one that has arrived.
    assert_eq!(limiter.clear_all().await, Ok(2));
    assert!(counts(from).await.is_empty() && counts(to).await.is_empty());
}

#[tokio::test]
async fn a_server_that_only_a_redirection_named_is_given_up_when_it_is_gone() {
    let mut cluster = RedisCluster::start().await;
    let newcomer = cluster.grow().await;
    let limiter = limiter(&cluster.url(), within(HANDOVER)).await;
    let slot = "res:rl:{test:0}";
    let from = cluster.owner_of(slot).await;
    cluster.begin_to_move(slot, from, newcomer).await;
    // Of a new key, which the old owner does not have.
    limiter.clear(&0_u64).await.expect("both are up");
    let address = ("127.0.0.1", cluster.members[newcomer].port());
    cluster.members[newcomer].kill();
    let place = eventually(async || TcpListener::bind(address).await.ok()).await;
    let quiet = async || timeout(3 * LONGEST_PAUSE, place.accept()).await.is_err();
    // It is looked for at once, and not with the next look at a cluster that is well.
    let given_up = eventually(async || quiet().await.then_some(()));
    timeout(10 * LONGEST_PAUSE, given_up)
        .await
        .expect("given up");
}

#[tokio::test]
async fn what_stands_on_all_owners_is_found_and_deleted() {
    let cluster = RedisCluster::start().await;
    let limiter = limiter(&cluster.url(), Duration::from_secs(10)).await;
    for key in 0..KEYS {
        take(&limiter, key).await.expect("no error");
    }
    assert_eq!(limiter.clear_all().await, Ok(KEYS));
    for owner in cluster.owners() {
        assert!(owner.ask::<Vec<String>>("KEYS *:rl:*").await.is_empty());
    }
}

#[tokio::test]
async fn a_member_of_a_cluster_is_no_single_server() {
    let cluster = RedisCluster::start().await;
    let limiter = limiter(&cluster.members[0].url(), Duration::from_secs(10)).await;
    let mut answers = Vec::new();
    for key in 0..KEYS {
        answers.push(take(&limiter, key).await);
    }
    let misplaced = |answer: &&Result<_, _>| matches!(answer, Err(StoreError::InvalidTarget(_)));
    let served = answers.iter().filter(|answer| answer.is_ok()).count();
    let misplaced = answers.iter().filter(misplaced).count();
    assert!(served > 0 && misplaced > 0, "{answers:?}");
    assert_eq!(served + misplaced, answers.len());
}
