//! Answers that are lost on the way, when nobody knows what Redis has done.

use std::time::Duration;

use resilience_redis::bloom_guard::{BloomGuard, Presence, RebuildError};
use tokio::{select, time::sleep};

use super::{BOUND, UNKNOWN, answers, hasty, process};
use crate::support::{POLL, Proxy, RedisServer, eventually};

/// A process whose packets can be lost, and one whose cannot. Both know the keys below [`BUILT`].
async fn one_behind_a_proxy() -> (RedisServer, Proxy, BloomGuard<u64>, BloomGuard<u64>) {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(server.port()).await;
    let settings = hasty().dead_after(Duration::from_millis(200));
    let one = process(&proxy.url(), settings).await;
    let other = process(&server.url(), hasty()).await;
    one.rebuild_from(|| 0..BUILT).await.unwrap();
    answers(&other).await;
    (server, proxy, one, other)
}

fn are_never_absent(guard: &BloomGuard<u64>, keys: impl IntoIterator<Item = u64>) {
    for key in keys {
        assert_eq!(guard.check(&key), Presence::Maybe, "{key}");
    }
}

#[tokio::test]
async fn an_insert_whose_answer_is_lost_fails_and_is_made_again() {
    let (_server, proxy, one, other) = one_behind_a_proxy().await;
    let mut next = BUILT;
    for round in 0..3 {
        if round == 2 {
            // Not even the questions arrive.
            proxy.lose_everything();
        } else {
            proxy.lose_replies();
        }
        let lost = next..next + 20;
        for key in lost.clone() {
            assert!(one.insert(&key).await.is_err(), "nobody heard of it");
            are_never_absent(&one, 0..=key);
            are_never_absent(&other, 0..BUILT);
        }
        proxy.heal();
        // Told again by itself, as soon as Redis is heard; nothing else is inserted.
        answers(&one).await;
        eventually(async || {
            let known = lost.clone().all(|key| other.check(&key) == Presence::Maybe);
            (known && other.check(&UNKNOWN) == Presence::Absent).then_some(())
        })
        .await;
        next = lost.end;
        // Whoever is told that it worked can rely on it.
        let key = next;
        eventually(async || one.insert(&key).await.ok()).await;
        sleep(BOUND).await;
        next += 1;
        for guard in [&one, &other] {
            are_never_absent(guard, 0..next);
        }
    }
}

#[tokio::test]
async fn a_rebuild_whose_last_answer_is_lost_has_taken_over_with_all_keys() {
    let (server, proxy, one, other) = one_behind_a_proxy().await;
    let current = async || {
        let field = "HGET res:filter:{dishes} current";
        server.ask::<Option<String>>(field).await
    };
    let committed_unheard = async || {
        proxy.heal();
        let mut rebuild = one.rebuild().await.ok()?;
        (0..BUILT).for_each(|key| rebuild.insert(&key));
        other.insert(&BUILT).await.ok()?;
        let before = current().await;
        proxy.delay_replies(DELAY);
        let takes_over = async {
            while current().await == before {
                sleep(POLL).await;
            }
            proxy.lose_connections();
        };
        let finishing = rebuild.finish();
        tokio::pin!(finishing);
        select! {
            // Too slow for the fleet: the next one may be better.
            _ = &mut finishing => return None,
            () = takes_over => {}
        }
        are_never_absent(&other, 0..=BUILT);
        match finishing.await {
            Err(RebuildError::Store(error)) => Some(error),
            // The answer was there already.
            Ok(()) => None,
            Err(unexpected) => panic!("{unexpected}"),
        }
    };
    assert!(eventually(committed_unheard).await.may_have_run());
    proxy.heal();
    for guard in [&one, &other] {
        answers(guard).await;
        sleep(BOUND).await;
        are_never_absent(guard, 0..=BUILT);
    }
    // It stands in nobody's way.
    eventually(async || other.rebuild_from(|| 0..=BUILT).await.ok()).await;
    for guard in [&one, &other] {
        are_never_absent(guard, 0..=BUILT);
    }
}

const BUILT: u64 = 50;
/// Less than a process waits for an answer about the filter.
const DELAY: Duration = Duration::from_millis(60);
