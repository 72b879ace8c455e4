//! Consumers that die, and servers that are killed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::AsyncCommands as _;
use resilience_redis::{
    RedisStore,
    queue::{Consumer, Policy},
};
use tokio::task::JoinSet;

use super::{GROUP, MOMENT, NONE, STREAM, ask, consumer, ids, policy};
use crate::support::{RedisServer, eventually, patient};

#[tokio::test]
async fn a_consumer_goes_on_when_its_group_or_its_server_is_gone() {
    let mut server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    let mut worker = consumer(&queue);
    let goes_on = async |worker: &mut Consumer| {
        eventually(async || queue.push(b"a").await.ok()).await;
        let messages = eventually(async || {
            let messages = worker.next_batch(10, NONE).await.ok()?;
            (!messages.is_empty()).then_some(messages)
        });
        let messages = messages.await;
        worker.acknowledge(&ids(&messages)).await.expect("done");
    };
    goes_on(&mut worker).await;
    let mut raw = server.raw().await;
    let _: u64 = ask(&mut raw, &["XGROUP", "DESTROY", STREAM, GROUP]).await;
    goes_on(&mut worker).await;
    let () = raw.del(STREAM).await.expect("deleted");
    goes_on(&mut worker).await;
    let _: String = ask(&mut raw, &["FLUSHALL"]).await;
    goes_on(&mut worker).await;
    server.kill();
    assert!(worker.next_batch(10, NONE).await.is_err());
    server.start_again().await;
    goes_on(&mut worker).await;
}

/// I16 of a work queue: what was accepted has its effect, and has it once where effects have ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_accepted_is_done_although_consumers_die_and_the_server_is_killed() {
    const ORDERS: u64 = 300;
    let mut server =
        RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let policy = Policy::new("test")
        .abandoned_after(Duration::from_millis(100))
        .deliveries(1000)
        .capacity(100);
    let settings = patient().decision_timeout(Duration::from_millis(200));
    let effects = Arc::new(Mutex::new(HashMap::<Vec<u8>, u64>::new()));
    let over = Arc::new(AtomicBool::new(false));
    let accepted = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for seed in 0..4 {
        let store = RedisStore::connect(&server.url(), settings.clone()).await;
        let queue = store.expect("up").queue(&policy).expect("valid");
        let (effects, over) = (effects.clone(), over.clone());
        let mut random = fastrand::Rng::with_seed(seed);
        workers.spawn(async move {
            let mut worker = consumer(&queue);
            while !over.load(Ordering::SeqCst) {
                let messages = worker.next_batch(10, Duration::from_millis(20)).await;
                for message in messages.unwrap_or_default() {
                    let id = message.id();
                    *effects
                        .lock()
                        .expect("no panic")
                        .entry(message.into_payload())
                        .or_default() += 1;
                    match random.u8(0..10) {
                        // Dies before it says that it is done.
                        0 => worker = consumer(&queue),
                        _ => drop(worker.acknowledge(&[id]).await),
                    }
                }
            }
            queue.snapshot().lost
        });
    }
    let mut producers = JoinSet::new();
    for producer in 0..3 {
        let store = RedisStore::connect(&server.url(), settings.clone()).await;
        let queue = store.expect("up").queue(&policy).expect("valid");
        let accepted = accepted.clone();
        producers.spawn(async move {
            for order in (producer..ORDERS).step_by(3) {
                let payload = order.to_string();
                while queue.push_once(&order, payload.as_bytes()).await.is_err() {
                    tokio::time::sleep(MOMENT).await;
                }
                accepted.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let accepted_more_than = async |orders: u64| {
        eventually(async || (accepted.load(Ordering::SeqCst) > orders).then_some(())).await;
    };
    accepted_more_than(50).await;
    server.kill();
    server.start_again().await;
    accepted_more_than(100).await;
    server.freeze();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.thaw();
    accepted_more_than(150).await;
    server.kill();
    server.start_again().await;
    producers.join_all().await;
    eventually(async || {
        let done = effects.lock().expect("no panic").len() as u64;
        (done == ORDERS).then_some(())
    })
    .await;
    let queue = server.queue(policy).await;
    eventually(async || {
        let depth = queue.depth().await.ok()?;
        let group = depth.groups.first()?;
        (group.pending == 0 && depth.messages == 0).then_some(())
    })
    .await;
    over.store(true, Ordering::SeqCst);
    assert_eq!(workers.join_all().await.iter().sum::<u64>(), 0, "lost");
    let twice: u64 = effects
        .lock()
        .expect("no panic")
        .values()
        .map(|times| times - 1)
        .sum();
    println!("{ORDERS} orders, {twice} effects that came again");
    assert_eq!(queue.depth().await.expect("depth").dead_letters, 0);
}
