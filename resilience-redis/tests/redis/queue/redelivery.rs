//! What was given to somebody who does not say that it is done.

use std::time::Duration;

use resilience_redis::{RedisStore, queue::Buried};

use super::{DAY, DEAD, GROUP, NONE, STREAM, batch, consumer, hasty, ids, payloads, policy, some};
use crate::support::{Proxy, RedisServer, eventually, patient, permissions, script};

#[tokio::test]
async fn what_a_consumer_abandoned_is_given_to_another() {
    let server = RedisServer::start().await;
    let queue = server.queue(hasty()).await;
    queue.push(b"a").await.expect("room");
    let mut gone = consumer(&queue);
    let messages = batch(&mut gone, 10).await;
    assert_eq!(messages[0].deliveries(), 1);
    drop(gone);
    let mut other = consumer(&queue);
    let again = some(&mut other).await;
    assert_eq!(
        (again[0].id(), again[0].deliveries()),
        (messages[0].id(), 2)
    );
    assert_eq!(other.acknowledge(&ids(&again)).await, Ok(1));
    assert_eq!(queue.snapshot().redelivered, 1);
}

#[tokio::test]
async fn a_message_is_abandoned_when_its_time_is_over_and_not_before() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy().abandoned_after(DAY)).await;
    let id = queue.push(b"a").await.expect("room");
    let mut gone = consumer(&queue);
    batch(&mut gone, 1).await;
    let mut raw = server.raw().await;
    let day = i64::try_from(DAY.as_millis()).expect("a number");
    // The last is a clock that was set back: the message was given out in an hour from now.
    for (idle, abandoned) in [(day - 60_000, false), (-3_600_000, false), (day, true)] {
        let now: (i64, i64) = redis::cmd("TIME").query_async(&mut raw).await.expect("now");
        let given = now.0 * 1000 + now.1 / 1000 - idle;
        let mut age = redis::cmd("XCLAIM");
        age.arg(STREAM)
            .arg(GROUP)
            .arg("gone")
            .arg(0)
            .arg(id.to_string());
        age.arg("TIME").arg(given).arg("JUSTID");
        let _: Vec<String> = age.query_async(&mut raw).await.expect("aged");
        let found = batch(&mut consumer(&queue), 1).await;
        // Redis takes a time that is to come for now.
        assert_eq!(!found.is_empty(), abandoned, "idle {idle} ms");
    }
}

/// Whoever dies after the server answered, or is given its answer too late, was given nothing.
#[tokio::test]
async fn only_a_message_that_was_given_to_somebody_counts_as_delivered() {
    let server = RedisServer::start().await;
    let queue = server.queue(hasty().deliveries(3)).await;
    let id = queue.push(b"a").await.expect("room");
    assert_eq!(batch(&mut consumer(&queue), 1).await.len(), 1);
    let claim = script!("queue", "queue_claim");
    let mut raw = server.raw().await;
    for _ in 0..5 {
        let mut call = redis::cmd("EVAL");
        call.arg(claim).arg(2).arg(STREAM).arg(DEAD);
        call.arg(&[GROUP, "gone", "0", "0-0", "10", "3", "10", "60000"]);
        let _: redis::Value = call.query_async(&mut raw).await.expect("an answer");
    }
    let again = some(&mut consumer(&queue)).await;
    assert_eq!((again[0].id(), again[0].deliveries()), (id, 2));
    assert_eq!(queue.depth().await.expect("depth").dead_letters, 0);
}

/// A message that others have ended, or have by now, is given to nobody else.
#[tokio::test]
async fn what_is_not_ours_any_more_when_it_arrives_is_not_given_out() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    let mut worker = consumer(&queue);
    for payload in ["a", "b"] {
        queue.push(payload.as_bytes()).await.expect("room");
    }
    let given = batch(&mut worker, 2).await;
    let mut raw = server.raw().await;
    let give = script!("queue", "queue_give");
    let mut count = async |owner: &str| -> Vec<u32> {
        let mut call = redis::cmd("EVAL");
        call.arg(give).arg(2).arg(STREAM).arg(DEAD);
        call.arg(GROUP).arg(owner);
        call.arg(
            ids(&given)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
        );
        call.query_async(&mut raw).await.expect("an answer")
    };
    let owner = format!("{worker:?}");
    let (_, owner) = owner.rsplit_once("name: \"").expect("a name");
    let (owner, _) = owner.split_once('"').expect("a name");
    assert_eq!(count("somebody").await, [0, 0]);
    assert_eq!(count(owner).await, [2, 2]);
    worker.acknowledge(&[given[0].id()]).await.expect("done");
    assert_eq!(count(owner).await, [0, 3]);
}

/// One answer of the server holds up everybody whose decisions it makes.
#[tokio::test]
async fn no_answer_is_longer_than_a_decision_may_take() {
    const BYTES_A_STEP: usize = 1 << 20;
    let server = RedisServer::start_with(&[
        "--slowlog-log-slower-than",
        "0",
        "--slowlog-max-len",
        "100000",
    ])
    .await;
    let longest = 64 * 1024;
    let queue = server.queue(hasty().longest_payload(longest)).await;
    let payload = vec![b'x'; longest];
    for _ in 0..40 {
        queue.push(&payload).await.expect("room");
    }
    let mut worker = consumer(&queue);
    assert_eq!(batch(&mut worker, 1000).await.len(), 40);
    let mut other = consumer(&queue);
    let mut again = 0;
    eventually(async || {
        again += batch(&mut other, 1000).await.len();
        (again >= 40).then_some(())
    })
    .await;
    let mut other = consumer(&queue);
    let buried = some(&mut other).await;
    for message in &buried {
        let outcome = other.bury(message.id(), "no").await;
        assert_eq!(outcome, Ok(Buried::Now));
    }
    let letters = queue.dead_letters(None, usize::MAX).await.expect("letters");
    assert_eq!(letters.len(), buried.len());
    type Slow = Vec<(u64, u64, u64, Vec<String>, String, String)>;
    let commands: Slow = server.ask("SLOWLOG GET 100000").await;
    let mut steps = 0;
    for (_, _, _, words, _, _) in &commands {
        let Some(count) = words.iter().position(|word| word == "COUNT") else {
            continue;
        };
        if words.contains(&"JUSTID".to_owned()) {
            continue;
        }
        let count: usize = words[count + 1].parse().expect("a number");
        assert!(count * longest <= BYTES_A_STEP, "{words:?}");
        steps += 1;
    }
    assert!(steps >= 40 * longest / BYTES_A_STEP, "{steps}");
}

#[tokio::test]
async fn a_batch_whose_caller_went_away_is_given_out_again() {
    let server = RedisServer::start().await;
    let queue = server.queue(hasty()).await;
    let mut leaving = consumer(&queue);
    let waiting = leaving.next_batch(10, DAY);
    tokio::time::timeout(Duration::from_millis(50), waiting)
        .await
        .expect_err("nothing came");
    queue.push(b"a").await.expect("room");
    let messages = some(&mut consumer(&queue)).await;
    assert_eq!(payloads(&messages), ["a"]);
}

/// More than are taken over at once are taken over one after the other, and not with the next look.
#[tokio::test]
async fn all_that_was_abandoned_is_given_to_others_without_a_pause() {
    const MESSAGES: usize = 200;
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    for _ in 0..MESSAGES {
        queue.push(b"a").await.expect("room");
    }
    let given = batch(&mut consumer(&queue), MESSAGES).await;
    assert_eq!(given.len(), MESSAGES);
    let mut raw = server.raw().await;
    let mut age = redis::cmd("XCLAIM");
    age.arg(STREAM).arg(GROUP).arg("gone").arg(0);
    for id in ids(&given) {
        age.arg(id.to_string());
    }
    age.arg("IDLE")
        .arg((2 * DAY).as_secs() * 1000)
        .arg("JUSTID");
    let _: Vec<String> = age.query_async(&mut raw).await.expect("aged");
    let mut other = consumer(&queue);
    let mut again = 0;
    while again < MESSAGES {
        let batch = batch(&mut other, MESSAGES).await;
        assert!(!batch.is_empty(), "after {again}");
        again += batch.len();
    }
}

/// Twice is better than never.
#[tokio::test]
async fn what_arrived_is_given_out_although_its_delivery_cannot_be_counted() {
    let server = RedisServer::start().await;
    let queue = server.queue(hasty()).await;
    let id = queue.push(b"a").await.expect("room");
    batch(&mut consumer(&queue), 1).await;
    // All but what counts a delivery.
    let rules = permissions(include_str!("../../../../README.md"));
    let url = server.user(&rules.join(" ").replace("+xclaim", "")).await;
    let store = RedisStore::connect(&url, patient()).await.expect("allowed");
    let limited = store.queue(&hasty()).expect("a valid policy");
    let again = some(&mut consumer(&limited)).await;
    assert_eq!((again[0].id(), again[0].deliveries()), (id, 2));
}

#[tokio::test]
async fn what_others_ended_while_it_was_on_its_way_is_not_given_out() {
    let server = RedisServer::start().await;
    let queue = server.queue(hasty()).await;
    let id = queue.push(b"a").await.expect("room");
    batch(&mut consumer(&queue), 1).await;
    let proxy = Proxy::before(server.port()).await;
    let store = RedisStore::connect(&proxy.url(), patient()).await;
    let slow = store.expect("up").queue(&hasty()).expect("a valid policy");
    let mut slow = consumer(&slow);
    // Each answer on the way from taking over to giving out is held up.
    proxy.delay_replies(Duration::from_millis(300));
    let giving = slow.next_batch(10, NONE);
    let ending = async {
        eventually(async || {
            let stats: String = server.ask("INFO commandstats").await;
            let taken = stats.split("cmdstat_xautoclaim:calls=").nth(1)?;
            (!taken.starts_with("1,")).then_some(())
        })
        .await;
        let done: u64 = server.ask(&format!("XACK {STREAM} {GROUP} {id}")).await;
        assert_eq!(done, 1);
    };
    let (given, ()) = tokio::join!(giving, ending);
    assert_eq!(given.expect("an answer"), []);
}
