//! How much a queue takes, and what makes room.

use resilience_core::Reason;
use resilience_redis::queue::{Consumer, Queue};

use super::{STREAM, batch, consumer, ids, length, payloads, policy, rejected};
use crate::support::RedisServer;

/// A server that knows what a group was not given yet, where the one that is tested does.
async fn knowing() -> Option<RedisServer> {
    let server = RedisServer::start().await;
    let knows = server.knows_lag().await;
    if !knows {
        eprintln!("not tested: this server does not know what a group was not given yet");
    }
    knows.then_some(server)
}

/// A full queue of four messages, and a consumer of each of its two groups.
async fn filled(server: &RedisServer) -> (Queue, [Consumer; 2]) {
    let policy = policy().capacity(4).groups(&["kitchen", "billing"]);
    let queue = server.queue(policy).await;
    let consumers = ["kitchen", "billing"].map(|group| queue.consumer(group).expect("named"));
    for _ in 0..4 {
        queue.push(b"a").await.expect("room");
    }
    (queue, consumers)
}

#[tokio::test]
async fn a_full_queue_refuses_and_has_room_for_what_is_done() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy().capacity(3)).await;
    for payload in ["a", "b", "c"] {
        queue.push(payload.as_bytes()).await.expect("room");
    }
    let full = rejected(queue.push(b"d").await);
    assert_eq!(
        (full.reason(), full.policy()),
        (Reason::ConcurrencyLimited, "test")
    );
    // Given out is not done.
    let mut worker = consumer(&queue);
    let messages = batch(&mut worker, 10).await;
    assert_eq!(messages.len(), 3);
    rejected(queue.push(b"d").await);
    // The oldest is at it still: what lies behind it stays, and takes no room.
    worker
        .acknowledge(&ids(&messages[1..]))
        .await
        .expect("done");
    let room = if server.knows_lag().await { 2 } else { 0 };
    let more = ["d", "e", "f"];
    for payload in &more[..room] {
        queue.push(payload.as_bytes()).await.expect("room");
    }
    rejected(queue.push(b"g").await);
    worker
        .acknowledge(&ids(&messages[..1]))
        .await
        .expect("done");
    for payload in &more[room..] {
        queue.push(payload.as_bytes()).await.expect("room");
    }
    rejected(queue.push(b"g").await);
    assert_eq!(payloads(&batch(&mut worker, 10).await), more);
    assert_eq!(queue.snapshot().full, 4);
}

/// One that nobody can do anything with keeps those behind it, though they are done.
#[tokio::test]
async fn a_message_that_is_not_done_does_not_fill_the_queue_with_those_behind_it() {
    let Some(server) = knowing().await else {
        return;
    };
    let queue = server.queue(policy().capacity(3)).await;
    let mut raw = server.raw().await;
    let mut worker = consumer(&queue);
    queue.push(b"poison").await.expect("room");
    let poison = ids(&batch(&mut worker, 1).await);
    for _ in 0..11 {
        queue.push(b"a").await.expect("two are not done, at most");
        let done = ids(&batch(&mut worker, 10).await);
        worker.acknowledge(&done).await.expect("done");
    }
    // Four times the capacity, done or not.
    assert_eq!(length(&mut raw, STREAM).await, 12);
    rejected(queue.push(b"a").await);
    worker.acknowledge(&poison).await.expect("done");
    assert_eq!(length(&mut raw, STREAM).await, 0);
    queue.push(b"a").await.expect("room");
}

/// As many as were behind one that took long, in one go, would hold up whoever shares the server.
#[tokio::test]
async fn what_is_done_is_deleted_in_steps() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    let mut raw = server.raw().await;
    let mut worker = consumer(&queue);
    let mut fill = redis::pipe();
    for _ in 0..2500 {
        fill.cmd("XADD").arg(STREAM).arg(&["*", "d", "a"]).ignore();
    }
    let () = fill.query_async(&mut raw).await.expect("filled");
    let mut given = Vec::new();
    while given.len() < 2500 {
        given.extend(ids(&batch(&mut worker, 1000).await));
    }
    worker.acknowledge(&given[1..]).await.expect("done");
    assert_eq!(length(&mut raw, STREAM).await, 2500);
    let mut lengths = Vec::new();
    for id in [given[0]; 4] {
        worker.acknowledge(&[id]).await.expect("done");
        lengths.push(length(&mut raw, STREAM).await);
    }
    assert_eq!(lengths, [1500, 500, 0, 0]);
}

/// What one group still needs counts, and what another needs besides.
#[tokio::test]
async fn what_any_group_needs_counts() {
    let Some(server) = knowing().await else {
        return;
    };
    let (queue, [mut kitchen, mut billing]) = filled(&server).await;
    let first = ids(&batch(&mut kitchen, 4).await);
    kitchen.acknowledge(&first[1..]).await.expect("done");
    rejected(queue.push(b"a").await);
    let other = ids(&batch(&mut billing, 4).await);
    billing.acknowledge(&other[..3]).await.expect("done");
    // The first for the kitchen, and the last for billing.
    for _ in 0..2 {
        queue.push(b"a").await.expect("room");
    }
    rejected(queue.push(b"a").await);
    // Done by one, the other needs them.
    let new = ids(&batch(&mut kitchen, 4).await);
    assert_eq!(new.len(), 2);
    kitchen.acknowledge(&new).await.expect("done");
    rejected(queue.push(b"a").await);
}

/// Which of those that two groups have are the same is not looked up with every push.
#[tokio::test]
async fn what_two_groups_were_given_counts_for_each_while_more_is_kept() {
    let Some(server) = knowing().await else {
        return;
    };
    let (queue, [mut kitchen, mut billing]) = filled(&server).await;
    let ids = ids(&batch(&mut kitchen, 4).await);
    batch(&mut billing, 4).await;
    // The first two, for both.
    for group in [&kitchen, &billing] {
        group.acknowledge(&ids[2..]).await.expect("done");
    }
    rejected(queue.push(b"a").await);
    billing.acknowledge(&ids[1..2]).await.expect("done");
    queue.push(b"a").await.expect("room");
    rejected(queue.push(b"a").await);
}
