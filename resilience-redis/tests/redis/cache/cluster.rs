//! Keys of several owners, which move and fail over.

use std::time::Duration;

use super::{Process, Source, hasty, policy};
use crate::support::{RedisCluster, RedisServer, eventually};

#[tokio::test]
async fn in_a_cluster_processes_hear_of_the_keys_of_every_owner() {
    let cluster = RedisCluster::start().await;
    let (one, other) = (
        Process::at(&cluster.url()).await,
        Process::at(&cluster.url()).await,
    );
    let source = Source::default();
    for key in 0..24 {
        let loaded = one.load(key, &source).await;
        other.is_given(key, &loaded).await;
    }
    for key in 0..24 {
        one.cache.forget(&key).await.unwrap();
        other.eventually_without(key).await;
    }
    one.cache.insert(7, "stew".to_owned());
    one.cache.forget_all().await.unwrap();
    other.eventually_without(7).await;
}

#[tokio::test]
async fn in_a_cluster_a_removal_that_no_replica_knew_of_is_told_again() {
    let mut cluster = RedisCluster::start().await;
    let one = Process::with(&cluster.url(), hasty(), policy()).await;
    let (key, owner) = (7, cluster.owner_of("{dishes:7}").await);
    one.load(key, &Source::default()).await;
    let replica = cluster.replica_of(owner);
    let holds = async |server: &RedisServer| server.ask::<u64>("DBSIZE").await == 1;
    eventually(async || holds(replica).await.then_some(())).await;

    replica.freeze();
    cluster.members[owner]
        .tell("CLIENT KILL TYPE replica")
        .await;
    one.cache.forget(&key).await.unwrap();
    assert!(!holds(&cluster.members[owner]).await);
    cluster.members[owner].kill();
    let replica = cluster.replica_of(owner);
    replica.thaw();
    eventually(async || (!holds(replica).await).then_some(())).await;
    // Of the one that is gone nobody need hear any more.
    one.hears().await;
}

#[tokio::test]
async fn in_a_cluster_a_slot_that_moves_costs_no_invalidation() {
    let cluster = RedisCluster::start().await;
    let one = Process::with(&cluster.url(), hasty(), policy()).await;
    let other = Process::with(&cluster.url(), hasty(), policy()).await;
    let (key, name) = (7, "res:cache:{dishes:7}");
    let from = cluster.owner_of(name).await;
    let to = (from + 1) % cluster.owners().len();
    let is_forgotten = async |value: &str| {
        other.is_given(key, value).await;
        one.cache.forget(&key).await.unwrap();
        other.eventually_without(key).await;
    };
    one.cache.insert(key, "soup".to_owned());
    other.is_given(key, "soup").await;

    // The key is still where it was, and what is touched for it is not there any more.
    cluster.begin_to_move(name, from, to).await;
    is_forgotten("soup").await;
    // Keys that are made while their slot moves are at the other server.
    one.cache.insert(key, "stew".to_owned());
    is_forgotten("stew").await;
    one.cache.insert(key, "rice".to_owned());
    other.is_given(key, "rice").await;
    one.cache.forget_all().await.unwrap();
    other.eventually_without(key).await;
    // What one has loaded cannot be stored now: nobody waits for that.
    let source = Source::default();
    assert_eq!(one.load(key, &source).await, "load 1");
    assert_eq!(other.load(key, &source).await, "load 2");

    one.cache.insert(key, "cake".to_owned());
    cluster.end_move(name, from, to).await;
    is_forgotten("cake").await;
}

#[tokio::test]
async fn whoever_asks_nothing_hears_of_keys_that_moved_to_a_server_that_is_new() {
    let mut cluster = RedisCluster::start().await;
    let idle = Process::with(&cluster.url(), hasty(), policy()).await;
    let name = "res:cache:{dishes:7}";
    let (from, to) = (cluster.owner_of(name).await, cluster.grow().await);
    idle.cache.insert(7, "soup".to_owned());
    eventually(async || {
        let there: u64 = cluster.members[from].ask(&format!("EXISTS {name}")).await;
        (there == 1).then_some(())
    })
    .await;
    cluster.begin_to_move(name, from, to).await;
    cluster.move_key(name, from, to).await;
    cluster.end_move(name, from, to).await;
    // Nobody who came before speaks to the new one.
    let one = Process::with(&cluster.url(), hasty(), policy()).await;
    one.cache.forget(&7).await.unwrap();
    let soon = Duration::from_secs(10);
    let heard = tokio::time::timeout(soon, idle.eventually_without(7)).await;
    assert!(heard.is_ok(), "it looked for itself, after 15 seconds");
}
