//! What nobody can do anything with, and what is lost.

use std::collections::BTreeSet;

use redis::AsyncCommands as _;
use resilience_core::Reason;
use resilience_redis::queue::{Buried, Message, Revived};

use super::{DAY, DEAD, GROUP, NONE, STREAM, ask, batch, consumer, hasty, policy, rejected, some};
use crate::support::{RedisServer, eventually};

#[tokio::test]
async fn a_message_that_was_given_out_too_often_is_a_dead_letter() {
    let server = RedisServer::start().await;
    let queue = server.queue(hasty().deliveries(3)).await;
    let id = queue.push(b"poison").await.expect("room");
    queue.push(b"good").await.expect("room");
    let mut worker = consumer(&queue);
    let mut seen = Vec::new();
    let letters = eventually(async || {
        for message in batch(&mut worker, 10).await {
            if message.payload() == b"poison" {
                seen.push(message.deliveries());
            } else {
                worker.acknowledge(&[message.id()]).await.expect("done");
            }
        }
        let letters = queue.dead_letters(None, 10).await.expect("letters");
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    assert_eq!(seen, [1, 2, 3]);
    let letter = &letters[0];
    assert_eq!((letter.message, letter.deliveries), (id, 3));
    assert_eq!(
        (letter.group.as_str(), letter.reason.as_str()),
        (GROUP, "deliveries")
    );
    assert_eq!(letter.payload.as_deref(), Some(&b"poison"[..]));
    let depth = queue.depth().await.expect("depth");
    assert_eq!((depth.dead_letters, depth.groups[0].pending), (1, 0));
    assert_eq!(queue.snapshot().buried, 1);

    let Ok(Revived::Now(again)) = queue.revive(letter.id).await else {
        panic!("not revived")
    };
    assert!(again > id);
    // As it was pushed, without what was noted of its burial.
    let mut raw = server.raw().await;
    let revived: Vec<(String, Vec<String>)> =
        ask(&mut raw, &["XRANGE", STREAM, &again.to_string(), "+"]).await;
    assert_eq!(revived[0].1, ["d", "poison"]);
    assert_eq!(queue.revive(letter.id).await, Ok(Revived::Gone));
    let message = some(&mut worker).await;
    assert_eq!(
        (message[0].payload(), message[0].deliveries()),
        (&b"poison"[..], 1)
    );
    assert_eq!(worker.bury(again, "too hot").await, Ok(Buried::Now));
    assert_eq!(worker.bury(again, "too hot").await, Ok(Buried::Before));
    let letters = queue.dead_letters(None, 10).await.expect("letters");
    assert_eq!(letters[0].reason, "too hot");
    queue.discard(letters[0].id).await.expect("discarded");
    assert_eq!(queue.dead_letters(None, 10).await, Ok(vec![]));
}

#[tokio::test]
async fn without_room_for_dead_letters_a_message_stays_and_the_queue_fills() {
    let server = RedisServer::start().await;
    let strict = hasty().deliveries(1).dead_letters(1).capacity(2);
    let queue = server.queue(strict).await;
    let mut worker = consumer(&queue);
    for payload in ["a", "b"] {
        queue.push(payload.as_bytes()).await.expect("room");
    }
    assert_eq!(some(&mut worker).await.len(), 2);
    eventually(async || {
        assert!(batch(&mut worker, 10).await.is_empty());
        (queue.snapshot().stuck > 0).then_some(())
    })
    .await;
    queue.push(b"c").await.expect("one is a dead letter");
    rejected(queue.push(b"d").await);
    let letters = queue.dead_letters(None, 10).await.expect("letters");
    assert_eq!(letters.len(), 1);
    queue.discard(letters[0].id).await.expect("discarded");
    eventually(async || {
        batch(&mut worker, 10).await;
        let letters = queue.dead_letters(None, 10).await.expect("letters");
        letters.first().map(|letter| letter.payload.clone())
    })
    .await;
    assert_eq!(queue.snapshot().lost, 0);
}

#[tokio::test]
async fn dead_letters_go_when_they_are_old_and_not_before() {
    let server = RedisServer::start().await;
    let queue = server
        .queue(policy().dead_letters(2).keep_dead_letters(DAY))
        .await;
    let mut raw = server.raw().await;
    let mut worker = consumer(&queue);
    let old = [
        "group",
        GROUP,
        "id",
        "1-1",
        "deliveries",
        "1",
        "reason",
        "old",
        "d",
        "x",
    ];
    let _: String = ask(&mut raw, &[&["XADD", DEAD, "1-1"], &old[..]].concat()).await;
    for (payload, buried) in [("a", Buried::Now), ("b", Buried::Now), ("c", Buried::Full)] {
        queue.push(payload.as_bytes()).await.expect("room");
        let message = some(&mut worker).await;
        assert_eq!(
            worker.bury(message[0].id(), "no").await,
            Ok(buried),
            "{payload}"
        );
    }
    let letters = queue.dead_letters(None, 10).await.expect("letters");
    let payloads: Vec<_> = letters
        .into_iter()
        .filter_map(|letter| letter.payload)
        .collect();
    assert_eq!(payloads, [b"a", b"b"]);
    assert!(raw.pttl::<_, i64>(DEAD).await.expect("a life") > 0);
}

#[tokio::test]
async fn what_somebody_deletes_is_counted_as_lost() {
    let server = RedisServer::start().await;
    let queue = server.queue(hasty()).await;
    for _ in 0..250 {
        queue.push(b"a").await.expect("room");
    }
    let mut worker = consumer(&queue);
    let given = worker.next_batch(250, NONE).await.expect("messages");
    let mut raw = server.raw().await;
    for message in &given[..240] {
        let deleted: u64 = ask(&mut raw, &["XDEL", STREAM, &message.id().to_string()]).await;
        assert_eq!(deleted, 1);
    }
    let mut kept = BTreeSet::new();
    eventually(async || {
        for message in batch(&mut worker, 100).await {
            kept.insert(message.id());
            worker.acknowledge(&[message.id()]).await.expect("done");
        }
        (kept.len() == 10).then_some(())
    })
    .await;
    assert_eq!(kept, given[240..].iter().map(Message::id).collect());
    eventually(async || {
        batch(&mut worker, 100).await;
        (queue.snapshot().lost == 240).then_some(())
    })
    .await;
    let depth = queue.depth().await.expect("depth");
    assert_eq!(depth.groups[0].pending, 0);
}

#[tokio::test]
async fn behind_the_last_possible_dead_letter_there_is_none() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    let last = "18446744073709551615-18446744073709551615";
    let mut raw = server.raw().await;
    let words = ["group", "a", "id", "1-1", "deliveries", "1", "reason", "b"];
    let letter = [&["XADD", DEAD, last][..], &words].concat();
    let _: String = ask(&mut raw, &letter).await;
    let letters = queue.dead_letters(None, 10).await.expect("an answer");
    assert_eq!(letters.len(), 1);
    let behind = queue.dead_letters(Some(letters[0].id), 10).await;
    assert_eq!(behind, Ok(Vec::new()));
}

#[tokio::test]
async fn what_somebody_deleted_is_no_dead_letter_and_nobody_owes_it() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    queue.push(b"a").await.expect("room");
    let mut worker = consumer(&queue);
    let given = batch(&mut worker, 1).await;
    let mut raw = server.raw().await;
    let id = given[0].id();
    let deleted: u64 = ask(&mut raw, &["XDEL", STREAM, &id.to_string()]).await;
    assert_eq!(deleted, 1);
    assert_eq!(worker.bury(id, "no").await, Ok(Buried::Before));
    let depth = queue.depth().await.expect("depth");
    assert_eq!((depth.groups[0].pending, depth.dead_letters), (0, 0));
}

#[tokio::test]
async fn what_is_no_message_is_a_dead_letter() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy().longest_payload(8)).await;
    let mut raw = server.raw().await;
    let long = "x".repeat(10 * 1024 * 1024);
    let _: String = ask(&mut raw, &["XADD", STREAM, "*", "other", "field"]).await;
    let _: String = ask(&mut raw, &["XADD", STREAM, "*", "d", &long]).await;
    let binary = [0_u8, 0xFF, b'\r', b'\n'];
    queue.push(&binary).await.expect("room");
    queue.push(b"").await.expect("room");
    let mut worker = consumer(&queue);
    let messages = batch(&mut worker, 10).await;
    let payloads: Vec<_> = messages.iter().map(Message::payload).collect();
    assert_eq!(payloads, [&binary[..], b""]);
    let letters = queue.dead_letters(None, 10).await.expect("letters");
    let reasons: Vec<_> = letters
        .iter()
        .map(|letter| letter.reason.as_str())
        .collect();
    assert_eq!(reasons, ["malformed", "too long"]);
    assert_eq!(letters[0].payload, None);
    assert_eq!(letters[1].payload.as_ref().map(Vec::len), Some(long.len()));
    let next = queue
        .dead_letters(Some(letters[0].id), 10)
        .await
        .expect("letters");
    assert_eq!(next, letters[1..]);
    let refused = rejected(queue.push(b"123456789").await);
    assert_eq!(refused.reason(), Reason::CostExceedsQuota);
    assert_eq!(
        rejected(queue.push_once("id", long.as_bytes()).await).reason(),
        Reason::CostExceedsQuota
    );
}
