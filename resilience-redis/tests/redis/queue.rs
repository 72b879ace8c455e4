//! What is accepted, who is given it, and what becomes of it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{AsyncCommands as _, FromRedisValue, aio::MultiplexedConnection};
use resilience_core::{Error, Measured as _, Reason, Rejected};
use resilience_redis::{
    RedisStore, StoreError,
    queue::{
        Buried, Consumer, Dropped, GroupDepth, Message, MessageId, Policy, Pushed, Queue, Revived,
    },
};
use tokio::task::JoinSet;

use crate::support::{PATIENCE, RedisServer, eventually, patient};

const STREAM: &str = "resilience:queue:{test}";
const DEAD: &str = "resilience:queue:{test}:dead";
const GROUP: &str = "workers";
const DAY: Duration = Duration::from_secs(86_400);
const MOMENT: Duration = Duration::from_millis(1);
/// For what is there already.
const NONE: Duration = Duration::ZERO;

/// Nothing is abandoned, unless a test says otherwise.
fn policy() -> Policy {
    Policy::new("test").abandoned_after(DAY)
}

/// What was given out is abandoned at once.
fn hasty() -> Policy {
    Policy::new("test").abandoned_after(MOMENT)
}

impl RedisServer {
    async fn queue(&self, policy: Policy) -> Queue {
        self.store().await.queue(&policy).expect("a valid policy")
    }
}

fn consumer(queue: &Queue) -> Consumer {
    queue.consumer(GROUP).expect("a group of the policy")
}

async fn batch(consumer: &mut Consumer, most: usize) -> Vec<Message> {
    consumer.next_batch(most, NONE).await.expect("an answer")
}

fn payloads(messages: &[Message]) -> Vec<&str> {
    let payloads = messages.iter().map(Message::payload);
    payloads
        .map(|payload| str::from_utf8(payload).expect("text"))
        .collect()
}

fn ids(messages: &[Message]) -> Vec<MessageId> {
    messages.iter().map(Message::id).collect()
}

fn rejected<T: std::fmt::Debug>(outcome: Result<T, Error<StoreError>>) -> Rejected {
    match outcome {
        Err(Error::Rejected(rejected)) => rejected,
        other => panic!("not refused: {other:?}"),
    }
}

/// The next messages, as soon as there are any.
async fn some(consumer: &mut Consumer) -> Vec<Message> {
    eventually(async || Some(batch(consumer, 100).await).filter(|some| !some.is_empty())).await
}

/// Returns when as many clients of the server are blocked.
async fn is_waiting(server: &RedisServer, number: usize) {
    let blocked = format!("blocked_clients:{number}\r");
    eventually(async || {
        let clients: String = server.ask("INFO clients").await;
        clients.contains(&blocked).then_some(())
    })
    .await;
}

/// A command that the library has no word for.
async fn ask<T: FromRedisValue>(raw: &mut MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::Cmd::new();
    command.arg(words);
    command.query_async(raw).await.expect("an answer")
}

async fn length(raw: &mut MultiplexedConnection, stream: &str) -> u64 {
    ask(raw, &["XLEN", stream]).await
}

#[tokio::test]
async fn messages_are_given_out_once_in_the_order_in_which_they_were_accepted() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    for payload in ["a", "b", "c"] {
        queue.push(payload.as_bytes()).await.expect("room");
    }
    let (mut one, mut other) = (consumer(&queue), consumer(&queue));
    let first = batch(&mut one, 2).await;
    let second = batch(&mut other, 2).await;
    assert_eq!(
        (payloads(&first), payloads(&second)),
        (vec!["a", "b"], vec!["c"])
    );
    assert!(first.iter().all(|message| message.deliveries() == 1));
    assert!(batch(&mut one, 2).await.is_empty());
    assert_eq!(one.acknowledge(&ids(&first)).await, Ok(2));
    assert_eq!(one.acknowledge(&ids(&first)).await, Ok(0));
    assert_eq!(one.acknowledge(&[]).await, Ok(0));
}

#[tokio::test]
async fn whoever_waits_is_given_what_comes() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    let mut waiting = consumer(&queue);
    let pushing = async {
        is_waiting(&server, 1).await;
        queue.push(b"a").await.expect("room");
    };
    let (messages, ()) = tokio::join!(waiting.next_batch(10, DAY), pushing);
    assert_eq!(payloads(&messages.expect("an answer")), ["a"]);
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
    let server = RedisServer::start().await;
    if !server.knows_lag().await {
        eprintln!("not tested: this server does not know what a group was not given yet");
        return;
    }
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
    let server = RedisServer::start().await;
    if !server.knows_lag().await {
        eprintln!("not tested: this server does not know what a group was not given yet");
        return;
    }
    let queue = server
        .queue(policy().capacity(4).groups(&["kitchen", "billing"]))
        .await;
    let mut kitchen = queue.consumer("kitchen").expect("named");
    let mut billing = queue.consumer("billing").expect("named");
    for _ in 0..4 {
        queue.push(b"a").await.expect("room");
    }
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
async fn pushed_twice_with_one_id_a_message_is_there_once() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    let Ok(Pushed::Now(id)) = queue.push_once("order 1", b"a").await else {
        panic!("the first")
    };
    assert_eq!(
        queue.push_once("order 1", b"a").await,
        Ok(Pushed::Before(id))
    );
    let mut worker = consumer(&queue);
    let messages = batch(&mut worker, 10).await;
    assert_eq!(ids(&messages), [id]);
    worker.acknowledge(&[id]).await.expect("done");
    // Also when it is done.
    assert_eq!(
        queue.push_once("order 1", b"a").await,
        Ok(Pushed::Before(id))
    );
    assert!(batch(&mut worker, 10).await.is_empty());
    assert!(matches!(
        queue.push_once("order 2", b"a").await,
        Ok(Pushed::Now(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushed_by_many_at_once_with_one_id_a_message_is_there_once() {
    let server = RedisServer::start().await;
    let mut pushes = JoinSet::new();
    for _ in 0..4 {
        let queue = server.queue(policy()).await;
        for order in 0..50_u64 {
            let queue = queue.clone();
            pushes.spawn(async move { queue.push_once(&(order / 2), b"a").await.expect("room") });
        }
    }
    let pushed = pushes.join_all().await;
    let now = pushed.iter().filter(|one| matches!(one, Pushed::Now(_)));
    assert_eq!(now.count(), 25);
    assert_eq!(length(&mut server.raw().await, STREAM).await, 25);
}

#[tokio::test]
async fn a_push_whose_answer_was_lost_can_be_made_again() {
    let server = RedisServer::start().await;
    let settings = patient().decision_timeout(Duration::from_millis(50));
    let store = RedisStore::connect(&server.url(), settings)
        .await
        .expect("up");
    let queue = store.queue(&policy()).expect("valid");
    // Once for the server to know the script.
    eventually(async || queue.push_once("first", b"a").await.ok()).await;
    server.freeze();
    let lost = queue.push_once("order 1", b"a").await;
    assert!(
        matches!(lost, Err(Error::Inner(StoreError::Timeout(_)))),
        "{lost:?}"
    );
    server.thaw();
    let pushed = eventually(async || queue.push_once("order 1", b"a").await.ok()).await;
    assert!(matches!(pushed, Pushed::Before(_)), "{pushed:?}");
    assert_eq!(length(&mut server.raw().await, STREAM).await, 2);
}

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

/// Whoever dies after the server answered, or is given its answer too late, was given nothing.
#[tokio::test]
async fn only_a_message_that_was_given_to_somebody_counts_as_delivered() {
    let server = RedisServer::start().await;
    let queue = server.queue(hasty().deliveries(3)).await;
    let id = queue.push(b"a").await.expect("room");
    assert_eq!(batch(&mut consumer(&queue), 1).await.len(), 1);
    let claim = concat!(
        include_str!("../../src/lua/queue.lua"),
        include_str!("../../src/lua/queue_claim.lua")
    );
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
    let give = concat!(
        include_str!("../../src/lua/queue.lua"),
        include_str!("../../src/lua/queue_give.lua")
    );
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
    let script = concat!(
        include_str!("../../src/lua/queue.lua"),
        include_str!("../../src/lua/queue_open.lua")
    );
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

#[tokio::test]
async fn what_comes_after_a_wait_was_dropped_is_given_to_another() {
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    let clients = async || {
        let clients: String = server.ask("CLIENT LIST").await;
        clients.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut leaving = consumer(&queue);
    let waiting = tokio::select! {
        _ = leaving.next_batch(10, DAY) => panic!("nothing came"),
        blocked = eventually(async || {
            let blocked = |client: &String| client.contains(" flags=b ");
            clients().await.into_iter().find(blocked)
        }) => blocked,
    };
    let (id, _) = waiting.split_once(' ').expect("an id");
    drop(leaving);
    // Else the server gives what comes next to nobody.
    eventually(async || {
        let is_there = |client: String| client.split(' ').next() == Some(id);
        (!clients().await.into_iter().any(is_there)).then_some(())
    })
    .await;
    queue.push(b"a").await.expect("room");
    let messages = some(&mut consumer(&queue)).await;
    assert_eq!(payloads(&messages), ["a"]);
}

/// Many who wait hold up neither each other nor the server.
#[tokio::test]
async fn of_many_consumers_of_a_process_one_blocks_for_all() {
    const MANY: usize = 60;
    let server = RedisServer::start().await;
    let queue = server.queue(policy()).await;
    let mut workers = JoinSet::new();
    for _ in 0..MANY {
        let mut worker = consumer(&queue);
        workers.spawn(async move { worker.next_batch(1, DAY).await.map(|found| found.len()) });
    }
    is_waiting(&server, 1).await;
    let impatient = consumer(&queue)
        .next_batch(1, Duration::from_millis(20))
        .await;
    assert_eq!(impatient, Ok(vec![]));
    assert_eq!(queue.dead_letters(None, 1).await, Ok(vec![]));
    is_waiting(&server, 1).await;
    for _ in 0..MANY {
        queue.push(b"a").await.expect("room");
    }
    let outcomes = tokio::time::timeout(PATIENCE, workers.join_all()).await;
    let outcomes = outcomes.expect("each was given one");
    assert!(outcomes.iter().all(|found| *found == Ok(1)), "{outcomes:?}");
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
async fn the_documented_permissions_are_enough_and_figures_are_told() {
    let server = RedisServer::start().await;
    let url = server
        .user(
            "+eval +evalsha +exists +time +get +set +pexpire +xack +xadd +xautoclaim +xclaim +xdel +xgroup \
             +xinfo +xlen +xpending +xrange +xreadgroup +xtrim +ping +unwatch",
        )
        .await;
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
    assert_eq!(samples, 9);
}
