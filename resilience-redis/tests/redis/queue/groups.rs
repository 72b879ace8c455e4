//! What each group needs, and what is known of it.

use std::collections::{BTreeMap, HashMap};

use resilience_core::{InstrumentKind, Measured as _};
use resilience_redis::queue::{Dropped, GroupDepth, Queue};

use super::{DEAD, GROUP, STREAM, batch, consumer, ids, length, payloads, policy, rejected};
use crate::support::{RedisServer, eventually, script};

/// Nobody reads for it any more, and it would keep every message for ever.
#[tokio::test]
async fn a_group_that_is_given_up_does_not_fill_the_queue() {
    let server = RedisServer::start().await;
    let before = server.queue(policy().capacity(3).groups(&["a", "b"])).await;
    let after = server.queue(policy().capacity(3).groups(&["a"])).await;
    assert_eq!(after.drop_group("b").await, Ok(Dropped::Gone));
    let mut worker = after.consumer("a").expect("named");
    batch(&mut worker, 1).await;
    batch(&mut before.consumer("b").expect("named"), 1).await;
    for _ in 0..3 {
        after.push(b"a").await.expect("room");
    }
    let done = ids(&batch(&mut worker, 10).await);
    worker.acknowledge(&done[..2]).await.expect("done");
    rejected(after.push(b"a").await);
    assert_eq!(before.drop_group("b").await, Ok(Dropped::Named));
    assert_eq!(after.drop_group("b").await, Ok(Dropped::Now));
    assert_eq!(after.drop_group("b").await, Ok(Dropped::Gone));
    // What the other group still needs is there.
    assert_eq!(after.depth().await.expect("depth").messages, 1);
    after.push(b"a").await.expect("room");
}

#[tokio::test]
async fn a_message_stays_until_every_group_is_done_with_it() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy().groups(&["kitchen", "billing"])).await;
    let mut raw = server.raw().await;
    queue.push(b"a").await.expect("room");
    queue.push(b"b").await.expect("room");
    let mut kitchen = queue.consumer("kitchen").expect("named");
    let messages = batch(&mut kitchen, 10).await;
    kitchen.acknowledge(&ids(&messages)).await.expect("done");
    // Nobody has opened the other group yet: it needs all there is.
    assert_eq!(length(&mut raw, STREAM).await, 2);
    let mut billing = queue.consumer("billing").expect("named");
    let messages = batch(&mut billing, 1).await;
    billing.acknowledge(&ids(&messages)).await.expect("done");
    assert_eq!(length(&mut raw, STREAM).await, 1);
    let messages = batch(&mut billing, 1).await;
    assert_eq!(payloads(&messages), ["b"]);
    billing.acknowledge(&ids(&messages)).await.expect("done");
    assert_eq!(length(&mut raw, STREAM).await, 0);
    assert_eq!(
        queue.consumer("waiters").expect_err("not named").field(),
        "group"
    );
}

#[tokio::test]
async fn the_depth_says_what_waits_for_whom() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy().groups(&["kitchen", "billing"])).await;
    assert_eq!(queue.depth().await.expect("depth").messages, 0);
    let mut kitchen = queue.consumer("kitchen").expect("named");
    let mut billing = queue.consumer("billing").expect("named");
    batch(&mut billing, 1).await;
    for _ in 0..10 {
        queue.push(b"a").await.expect("room");
    }
    let given = batch(&mut kitchen, 4).await;
    kitchen.acknowledge(&ids(&given[..3])).await.expect("done");
    let depth = queue.depth().await.expect("depth");
    assert_eq!((depth.messages, depth.dead_letters), (10, 0));
    let of = |depth: &resilience_redis::queue::Depth| -> HashMap<String, GroupDepth> {
        let groups = depth.groups.iter().cloned();
        groups.map(|group| (group.name.clone(), group)).collect()
    };
    let knows_lag = server.knows_lag().await;
    let lag = |messages| knows_lag.then_some(messages);
    let groups = of(&depth);
    assert_eq!(
        (groups["kitchen"].pending, groups["kitchen"].lag),
        (1, lag(6))
    );
    assert_eq!(
        (groups["billing"].pending, groups["billing"].lag),
        (0, lag(10))
    );
    let given = batch(&mut billing, 5).await;
    billing.acknowledge(&ids(&given)).await.expect("done");
    let groups = of(&queue.depth().await.expect("depth"));
    assert_eq!(
        (groups["billing"].pending, groups["billing"].lag),
        (0, lag(5))
    );
    assert_eq!(groups["kitchen"].lag, lag(6));
}

/// The levels that a queue tells of, without those that only grow.
fn levels(queue: &Queue) -> BTreeMap<String, u64> {
    let mut levels = BTreeMap::new();
    queue.measure(&mut |sample| {
        if sample.instrument.kind == InstrumentKind::Gauge {
            let name = sample.instrument.name.replace("resilience.queue.", "");
            let label = sample.label.map(|label| format!(" of {label}"));
            levels.insert(name + &label.unwrap_or_default(), sample.value);
        }
    });
    levels
}

#[tokio::test]
async fn what_waits_is_measured_and_counted_by_itself() {
    let mut server = RedisServer::start().await;
    let queue = server.queue(policy().groups(&["kitchen", "billing"])).await;
    let mut kitchen = queue.consumer("kitchen").expect("named");
    for _ in 0..10 {
        queue.push(b"a").await.expect("room");
    }
    let given = ids(&batch(&mut kitchen, 4).await);
    kitchen.acknowledge(&given[..2]).await.expect("done");
    kitchen.bury(given[2], "burnt").await.expect("an answer");
    let mut expected = BTreeMap::from([
        ("lag of kitchen".to_owned(), 6),
        ("pending of kitchen".to_owned(), 1),
        // Nobody has opened it.
        ("lag of billing".to_owned(), 10),
        ("pending of billing".to_owned(), 0),
        ("dead_letters".to_owned(), 1),
    ]);
    if !server.knows_lag().await {
        expected.remove("lag of kitchen");
    }
    queue.depth().await.expect("an answer");
    assert_eq!(levels(&queue), expected);
    let other = server.queue(policy().groups(&["kitchen", "billing"])).await;
    eventually(async || (levels(&other) == expected).then_some(())).await;
    let last = *given.last().expect("four");
    kitchen.bury(last, "burnt").await.expect("an answer");
    expected.insert("dead_letters".to_owned(), 2);
    expected.insert("pending of kitchen".to_owned(), 0);
    eventually(async || (levels(&other) == expected).then_some(())).await;
    // What was is told no more.
    server.kill();
    eventually(async || levels(&other).is_empty().then_some(())).await;
}

#[tokio::test]
async fn consumers_that_are_long_gone_are_forgotten_unless_they_owe_something() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    queue.push(b"a").await.expect("room");
    queue.push(b"b").await.expect("room");
    let (mut idle, mut owing) = (consumer(&queue), consumer(&queue));
    let done = batch(&mut idle, 1).await;
    idle.acknowledge(&ids(&done)).await.expect("done");
    assert_eq!(batch(&mut owing, 1).await.len(), 1);
    let script = script!("queue", "queue_open");
    let mut raw = server.raw().await;
    let mut open = async |after: u64| -> u64 {
        let mut call = redis::cmd("EVAL");
        call.arg(script)
            .arg(2)
            .arg(STREAM)
            .arg(DEAD)
            .arg(GROUP)
            .arg(after);
        call.query_async(&mut raw).await.expect("a reply")
    };
    assert_eq!(open(3_600_000).await, 0);
    let of_group = async || {
        let group = queue.depth().await.expect("depth").groups[0].clone();
        (group.consumers, group.pending)
    };
    assert_eq!(of_group().await, (2, 1));
    assert_eq!(open(0).await, 1);
    assert_eq!(of_group().await, (1, 1));
}
