//! Many that want a lock at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::AsyncCommands as _;
use resilience_core::Clock;
use resilience_redis::RedisStore;
use tokio::{task::JoinSet, time::sleep};

use super::{FENCE, MINUTE, SHORT, locks};
use crate::support::{RedisServer, eventually, patient};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_want_it_have_it_one_after_the_other() {
    let server = RedisServer::start().await;
    let inside = Arc::new(AtomicUsize::new(0));
    let last = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..8 {
        let locks = server.locks(MINUTE).await;
        let (inside, last) = (inside.clone(), last.clone());
        workers.spawn(async move {
            for _ in 0..10 {
                let guard = locks.lock("key", MINUTE).await.expect("in time");
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                let fence = guard.fence().as_u64();
                assert!(last.swap(fence, Ordering::SeqCst) < fence);
                tokio::task::yield_now().await;
                assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                guard.release().await.expect("still ours");
            }
        });
    }
    workers.join_all().await;
}

/// Linearizability of what a resource relies on: whoever took the lock later has a larger number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_follow_the_order_of_holders_whatever_happens_to_the_server() {
    let mut server = RedisServer::start().await;
    let clock = Clock::system();
    let mut workers = JoinSet::new();
    for _ in 0..4 {
        let settings = patient().decision_timeout(Duration::from_millis(100));
        let store = RedisStore::connect(&server.url(), settings).await;
        let locks = locks(&store.expect("a store"), SHORT);
        let clock = clock.clone();
        workers.spawn(async move {
            let mut taken = Vec::new();
            while taken.len() < 25 {
                let asked = clock.now();
                if let Ok(guard) = locks.lock("key", SHORT).await {
                    taken.push((asked, clock.now(), guard.fence()));
                    if taken.len() % 3 > 0 {
                        let _ = guard.release().await;
                    }
                }
            }
            taken
        });
    }
    let mut raw = server.raw().await;
    for round in 0..3 {
        eventually(async || raw.exists::<_, bool>(FENCE).await.ok()?.then_some(())).await;
        match round {
            0 => {
                let () = redis::cmd("FLUSHALL")
                    .query_async(&mut raw)
                    .await
                    .expect("ok");
            }
            1 => {
                server.freeze();
                // Longer than the lock lives.
                sleep(SHORT * 2).await;
                server.thaw();
            }
            _ => {
                server.kill();
                server.start_again().await;
            }
        }
    }
    let mut taken = workers.join_all().await.concat();
    assert_eq!(taken.len(), 100);
    taken.sort_unstable_by_key(|(.., fence)| *fence);
    for (index, (_, heard, fence)) in taken.iter().enumerate() {
        let smaller = &taken[..index];
        assert!(
            smaller.iter().all(|(.., other)| other != fence),
            "given twice"
        );
        let later = smaller.iter().find(|(asked, ..)| asked > heard);
        assert_eq!(later, None, "asked after {fence} was given");
    }
}
