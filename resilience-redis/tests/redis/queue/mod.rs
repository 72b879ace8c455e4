//! What is accepted, who is given it, and what becomes of it.

mod capacity;
mod dead_letters;
mod edges;
mod groups;
mod losses;
mod redelivery;
mod script;
mod waiting;

use std::time::Duration;

use redis::{FromRedisValue, aio::MultiplexedConnection};
use resilience_core::{Error, Rejected};
use resilience_redis::{
    RedisStore, StoreError,
    queue::{Consumer, Message, MessageId, Policy, Pushed, Queue},
};
use tokio::task::JoinSet;

use crate::support::{RedisServer, eventually, patient};

const STREAM: &str = "res:queue:{test}";
const DEAD: &str = "res:queue:{test}:dead";
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
