//! Arguments, names and rights at their edges.

use std::time::Duration;

use redis::AsyncCommands as _;
use resilience_core::{Error, Measured as _};
use resilience_redis::{
    RedisStore, StoreError,
    queue::{Buried, Dropped, MessageId, Policy, Pushed, Revived},
};

use super::{DAY, NONE, STREAM, batch, consumer, hasty, ids, policy};
use crate::support::{RedisServer, eventually, patient, permissions_for};

#[tokio::test]
async fn the_scripts_bear_the_edges_of_their_arguments() {
    let server = RedisServer::start().await;
    let most = (1 << 53) - 1;
    let queue = server
        .queue(
            Policy::new("test")
                .capacity(most)
                .dead_letters(most)
                .deliveries(u32::MAX)
                .longest_payload(1024 * 1024)
                .abandoned_after(DAY)
                .remember(DAY * 30)
                .keep_dead_letters(DAY * 365),
        )
        .await;
    let largest = vec![0xFF; 1024 * 1024];
    for id in [
        String::new(),
        "k".repeat(512),
        "k".repeat(513),
        "}{:".into(),
    ] {
        let pushed = queue.push_once(&id, &largest).await;
        assert!(matches!(pushed, Ok(Pushed::Now(_))), "{id}");
    }
    let mut worker = consumer(&queue);
    let messages = batch(&mut worker, 0).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(worker.bury(messages[0].id(), "").await, Ok(Buried::Now));
    let messages = batch(&mut worker, usize::MAX).await;
    assert_eq!(messages.len(), 3);
    let never: MessageId = "18446744073709551615-18446744073709551615"
        .parse()
        .expect("an id");
    assert_eq!(worker.acknowledge(&[never]).await, Ok(0));
    assert_eq!(worker.bury(never, "no").await, Ok(Buried::Before));
    assert_eq!(queue.revive(never).await, Ok(Revived::Gone));
    queue.discard(never).await.expect("nothing to do");
    let many = vec![never; 2500];
    assert_eq!(worker.acknowledge(&many).await, Ok(0));
    assert_eq!(worker.acknowledge(&ids(&messages)).await, Ok(3));
    let mut raw = server.raw().await;
    let keys: Vec<String> = raw.keys("*once*").await.expect("keys");
    assert_eq!(keys.len(), 4);
    for key in keys {
        assert!(key.len() <= 512, "{key}");
        assert!(raw.pttl::<_, i64>(&key).await.expect("a life") > 0, "{key}");
    }
}

#[tokio::test]
async fn policies_that_cannot_work_are_named() {
    let store = RedisServer::start().await.store().await;
    for (policy, field) in [
        (policy().capacity(0), "capacity"),
        (policy().capacity(1 << 53), "capacity"),
        (policy().capacity(u64::MAX), "capacity"),
        (policy().dead_letters(0), "dead_letters"),
        (policy().deliveries(0), "deliveries"),
        (policy().longest_payload(0), "longest_payload"),
        (policy().longest_payload(usize::MAX), "longest_payload"),
        (policy().abandoned_after(NONE), "abandoned_after"),
        (policy().abandoned_after(Duration::MAX), "abandoned_after"),
        (policy().remember(NONE), "remember"),
        (
            policy().keep_dead_letters(Duration::MAX),
            "keep_dead_letters",
        ),
        (policy().groups(&[]), "groups"),
        (policy().groups(&[""]), "groups"),
        (policy().groups(&["a", "a"]), "groups"),
        (policy().groups(&["a"; 17]), "groups"),
    ] {
        assert_eq!(store.queue(&policy).expect_err("no").field(), field);
    }
}

#[tokio::test]
async fn what_somebody_else_wrote_under_our_keys_is_named() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    let mut raw = server.raw().await;
    let () = raw.set(STREAM, "no stream").await.expect("set");
    let pushed = queue.push(b"a").await;
    assert_eq!(pushed, Err(Error::Inner(StoreError::ForeignValue)));
    assert!(consumer(&queue).next_batch(1, NONE).await.is_err());
}

#[tokio::test]
async fn what_somebody_else_noted_of_a_queue_costs_nobody_a_connection() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    let mut raw = server.raw().await;
    let before = server.connections().await;
    for text in [&b"soup"[..], b"", b"1-", b"1-99999999999999999999", b"\xff"] {
        let key = format!("{STREAM}:once:a");
        let () = raw.set(key, text).await.expect("set");
        let pushed = queue.push_once("a", b"a").await;
        assert_eq!(pushed, Err(Error::Inner(StoreError::ForeignValue)));
    }
    let mut create = redis::cmd("XGROUP");
    create.arg("CREATE").arg(STREAM).arg(b"\xffsoup").arg("0");
    let create = create.arg("MKSTREAM").query_async::<()>(&mut raw);
    create.await.expect("created");
    let groups = queue.depth().await.expect("an answer").groups;
    assert_eq!(groups[0].name, "\u{fffd}soup");
    assert_eq!(server.connections().await, before + 1);
}

#[tokio::test]
async fn the_documented_permissions_are_enough_and_figures_are_told() {
    let server = RedisServer::start().await;
    let url = server.user(&permissions_for("queue")).await;
    let store = RedisStore::connect(&url, patient()).await.expect("allowed");
    let policy = hasty().deliveries(2).capacity(3);
    let queue = store.queue(&policy).expect("valid");
    let mut worker = consumer(&queue);
    for payload in ["a", "b"] {
        queue
            .push_once(payload, payload.as_bytes())
            .await
            .expect("allowed");
    }
    queue.push_once("a", b"a").await.expect("allowed");
    let messages = batch(&mut worker, 1).await;
    worker.acknowledge(&ids(&messages)).await.expect("allowed");
    let letters = eventually(async || {
        batch(&mut worker, 10).await;
        let letters = queue.dead_letters(None, 1).await.expect("allowed");
        (!letters.is_empty()).then_some(letters)
    });
    let letters = letters.await;
    queue.revive(letters[0].id).await.expect("allowed");
    queue.discard(letters[0].id).await.expect("allowed");
    assert_eq!(queue.drop_group("gone").await, Ok(Dropped::Gone));
    assert_eq!(queue.depth().await.expect("allowed").dead_letters, 0);
    let figures = queue.snapshot();
    assert_eq!((figures.accepted, figures.known, figures.buried), (3, 1, 1));
    assert_eq!(
        (figures.delivered, figures.redelivered, figures.acknowledged),
        (3, 1, 1)
    );
    let mut samples = 0;
    queue.measure(&mut |sample| {
        assert!(queue.instruments().contains(&sample.instrument));
        samples += 1;
    });
    // Nine of this process, and what waits.
    assert_eq!(samples, if server.knows_lag().await { 12 } else { 11 });
}
