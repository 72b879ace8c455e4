//! Those who wait for what is not there yet.

use std::time::Duration;

use resilience_redis::{RedisStore, Settings};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{DAY, MOMENT, consumer, payloads, policy, some};
use crate::support::{PATIENCE, POLL, Proxy, RedisServer, eventually, within};

/// Returns when as many clients of the server are blocked.
async fn is_waiting(server: &RedisServer, number: usize) {
    let blocked = format!("blocked_clients:{number}\r");
    eventually(async || {
        let clients: String = server.ask("INFO clients").await;
        clients.contains(&blocked).then_some(())
    })
    .await;
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
    let outcomes = timeout(PATIENCE, workers.join_all()).await;
    let outcomes = outcomes.expect("each was given one");
    assert!(outcomes.iter().all(|found| *found == Ok(1)), "{outcomes:?}");
}

#[tokio::test]
async fn connections_that_fall_silent_hold_consumers_up_once_and_not_one_after_the_other() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = Settings::new().decision_timeout(Duration::from_millis(300));
    let store = RedisStore::connect(&proxy.url(), settings).await;
    let queue = store.expect("a server").queue(&policy()).expect("valid");
    // As many connections as there may be are made.
    let mut consumers = JoinSet::new();
    for _ in 0..8 {
        let mut consumer = consumer(&queue);
        consumers.spawn(async move { while consumer.next_batch(1, MOMENT).await.is_err() {} });
    }
    consumers.join_all().await;
    for waits in [false, true] {
        let mut consumer = consumer(&queue);
        let next = async {
            loop {
                match consumer.next_batch(1, DAY).await {
                    Ok(messages) if messages.is_empty() => {}
                    Ok(messages) => return messages,
                    Err(_) => {}
                }
            }
        };
        let breaking = async {
            if waits {
                is_waiting(&server, 1).await;
            }
            proxy.lose_connections();
            let direct = server.queue(policy()).await;
            // Of those that wait in vain the server does not know that.
            loop {
                direct.push(b"a").await.expect("room");
                sleep(POLL).await;
            }
        };
        let messages = tokio::select! {
            messages = timeout(within(Duration::from_secs(5)), next) => messages,
            () = breaking => unreachable!("it goes on"),
        };
        assert_eq!(payloads(&messages.expect("in time")), ["a"]);
    }
}
