//! Stores that are used on several runtimes, some of which nobody drives, or have ended.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use resilience_core::{Reason, Respond, rate_limit::MissingKey};
use resilience_redis::{
    RedisStore, StoreError, bloom_guard, lock, queue,
    rate_limit::{Algorithm, Fallback, Options, Policy, Quota},
    stock,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::timeout,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{PATIENCE, RedisCluster, RedisServer, eventually, patient};

/// One that runs all the while.
fn home() -> Runtime {
    Runtime::new().expect("a runtime")
}

/// One that runs only while somebody waits for it.
fn idle() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

#[test]
fn connections_that_an_idle_runtime_asked_for_hold_nobody_up() {
    const MANY: usize = 8;
    let (home, idle) = (home(), idle());
    let server = home.block_on(RedisServer::start());
    let settings = patient().dead_after(PATIENCE);
    let store = home.block_on(RedisStore::connect(&server.url(), settings));
    let queue = store.expect("up").queue(&queue::Policy::new("test"));
    let queue = queue.expect("a valid policy");
    let consumer = || queue.consumer("workers").expect("a valid name");
    idle.block_on(async {
        let mut reading = JoinSet::new();
        for _ in 0..MANY {
            let mut consumer = consumer();
            reading.spawn(async move { consumer.next_batch(1, Duration::ZERO).await });
        }
        for read in reading.join_all().await {
            assert_eq!(read.map(|messages| messages.len()), Ok(0));
        }
    });
    home.block_on(async {
        let mut consumer = consumer();
        let reading = consumer.next_batch(1, Duration::ZERO);
        // A single connection that says nothing would be waited for twice as long.
        let read = timeout(PATIENCE / 2, reading).await.expect("in time");
        assert!(read.expect("an answer").is_empty());
    });
}

#[test]
fn who_reads_a_queue_when_the_runtime_of_the_store_has_ended_is_told_so() {
    let (home, elsewhere) = (home(), idle());
    let server = elsewhere.block_on(RedisServer::start());
    let store = home.block_on(RedisStore::connect(&server.url(), patient()));
    let queue = store.expect("up").queue(&queue::Policy::new("test"));
    let queue = queue.expect("a valid policy");
    let mut consumer = queue.consumer("workers").expect("a valid name");
    drop(home);
    let read = elsewhere.block_on(consumer.next_batch(1, DAY));
    assert!(read.is_err(), "{read:?}");
}

#[test]
fn who_waits_for_a_filter_to_be_lost_when_the_runtime_of_the_store_has_ended_is_told_so() {
    let (home, elsewhere) = (home(), idle());
    let server = elsewhere.block_on(RedisServer::start());
    let store = home.block_on(RedisStore::connect(&server.url(), patient()));
    let seeded = bloom_guard::Policy::new("test").seed(*b"thirty-two bytes that are secret");
    let guard = store.expect("up").bloom_guard::<u64>(seeded);
    let guard = guard.expect("a valid policy");
    home.block_on(guard.rebuild_from(|| [1])).expect("built");
    let waits = async || timeout(PATIENCE, guard.rebuild_is_wanted()).await;
    let ending = async || {
        tokio::task::yield_now().await;
        home.shutdown_background();
    };
    let (waited, ()) = elsewhere.block_on(async { tokio::join!(waits(), ending()) });
    assert_eq!(waited, Ok(Err(StoreError::Unavailable)));
    // Nor does who comes later wait.
    let waited = elsewhere.block_on(waits());
    assert_eq!(waited, Ok(Err(StoreError::Unavailable)));
}

#[test]
fn a_server_that_was_found_from_a_runtime_that_ended_is_asked_by_the_others() {
    let home = home();
    let mut cluster = home.block_on(RedisCluster::start());
    // It owns no slot yet, so only who is sent there knows it.
    let newcomer = home.block_on(cluster.grow());
    let store = home.block_on(RedisStore::connect(&cluster.url(), patient()));
    // Which has one count, so that the others need not be moved.
    let quota = Quota::new(10, DAY).algorithm(Algorithm::Gcra);
    let policy = Policy::new("test", quota);
    let limiter = store.expect("up").rate_limiter(&policy);
    let limiter = limiter.expect("a valid policy");
    home.block_on(async {
        limiter.try_take("key").await.expect("no error");
        let (owner, key) = taken(&cluster).await;
        cluster.begin_to_move(&key, owner, newcomer).await;
        cluster.move_key(&key, owner, newcomer).await;
    });
    let elsewhere = idle();
    assert_eq!(elsewhere.block_on(limiter.clear("key")), Ok(()));
    drop(elsewhere);
    assert_eq!(home.block_on(limiter.clear("key")), Ok(()));
}

#[test]
fn who_waits_for_room_of_all_keys_when_the_runtime_of_the_store_ends_is_told_so() {
    let (home, elsewhere) = (home(), idle());
    let server = elsewhere.block_on(RedisServer::start());
    let store = home.block_on(RedisStore::connect(&server.url(), patient()));
    let policy = Policy::new("test", Quota::new(10, DAY))
        .global(Quota::new(1, DAY).named("all"))
        .missing_key(MissingKey::Admit)
        .max_wait(9 * DAY);
    let options = Options::new().fallback(Fallback::Deny);
    let limiter = store.expect("up").rate_limiter_with(&policy, &options);
    let limiter = limiter.expect("a valid policy");
    let nobody = limiter.layer_by(|_: &http::Request<String>| None::<u64>);
    let service = Respond::with((nobody,)).layer(service_fn(async |_| {
        Ok::<_, Infallible>(http::Response::new(String::new()))
    }));
    let call = async || {
        let answer = service.clone().oneshot(http::Request::default());
        let answer = timeout(PATIENCE, answer).await.expect("it never ended");
        answer.expect("an answer").status()
    };
    let ending = async || {
        eventually(async || (limiter.snapshot().waiting == 2).then_some(())).await;
        home.shutdown_background();
    };
    elsewhere.block_on(async {
        assert_eq!(call().await, 200);
        let (status, taken, ()) = tokio::join!(call(), limiter.take("key"), ending());
        assert_eq!(status, 503);
        let rejected = taken.expect_err("nobody decides");
        assert_eq!(rejected.reason(), Reason::StoreUnavailable);
        // Nor does who comes later wait.
        assert_eq!(call().await, 503);
        let rejected = limiter.take("key").await.expect_err("nobody decides");
        assert_eq!(rejected.reason(), Reason::StoreUnavailable);
    });
}

#[test]
fn limiters_decide_for_runtimes_without_time_and_all_else_panics_there() {
    let (home, elsewhere) = (home(), Builder::new_current_thread().build());
    let elsewhere = elsewhere.expect("a runtime");
    let server = home.block_on(RedisServer::start());
    let store = home.block_on(RedisStore::connect(&server.url(), patient()));
    let store = store.expect("up");
    let limiter = store.rate_limiter(&Policy::new("test", Quota::new(10, DAY)));
    let limiter = limiter.expect("a valid policy");
    let taken = elsewhere.block_on(limiter.try_take("key"));
    assert_eq!(taken.expect("room").remaining, 9);
    let locks = store.locks(&lock::Policy::new("test")).expect("valid");
    let stocks = store.stocks(&stock::Policy::new("test")).expect("valid");
    let queue = store.queue(&queue::Policy::new("test")).expect("valid");
    let panics = |call: &dyn Fn()| catch_unwind(AssertUnwindSafe(call)).is_err();
    assert!(panics(&|| drop(elsewhere.block_on(limiter.clear("key")))));
    assert!(panics(&|| drop(elsewhere.block_on(locks.try_lock("key")))));
    assert!(panics(&|| drop(
        elsewhere.block_on(stocks.stock("key").left("item"))
    )));
    assert!(panics(&|| drop(elsewhere.block_on(queue.push(b"order")))));
}

/// The owner of the only count that there is, and its key.
async fn taken(cluster: &RedisCluster) -> (usize, String) {
    for (index, owner) in cluster.owners().iter().enumerate() {
        if let Some(key) = owner.ask::<Vec<String>>("KEYS *:rl:*").await.pop() {
            return (index, key);
        }
    }
    panic!("nothing was taken")
}

const DAY: Duration = Duration::from_secs(86_400);
