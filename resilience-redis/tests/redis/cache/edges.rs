//! Keys and values of any bytes.

use resilience_core::{Cache, Environment};
use resilience_redis::cache::Text;

use super::{Process, Source, policy, stored, tier_policy};
use crate::support::{RedisServer, eventually};

#[tokio::test]
async fn corrupt_bytes_are_dropped_and_the_value_loaded_again() {
    let server = RedisServer::start().await;
    let mut raw = server.raw().await;
    let name = "res:cache:{dishes:7}";
    let process = Process::at(&server.url()).await;
    process.cache.insert(7, "soup".to_owned());
    stored(&server).await;
    let good: Vec<u8> = redis::cmd("GET")
        .arg(name)
        .query_async(&mut raw)
        .await
        .unwrap();
    let mut spoiled: Vec<Vec<u8>> = (0..good.len())
        .map(|length| good[..length].to_vec())
        .collect();
    spoiled.extend(
        (0..good.len())
            .filter(|at| !(4..12).contains(at))
            .map(|at| {
                let mut changed = good.clone();
                changed[at] ^= 0x20;
                changed
            }),
    );
    spoiled.push(b"{\"foreign\": true}".to_vec());
    spoiled.push(vec![0; 2 * 1024 * 1024]);
    for bytes in spoiled {
        let () = redis::cmd("SET")
            .arg(name)
            .arg(&bytes)
            .query_async(&mut raw)
            .await
            .unwrap();
        process.cache.invalidate(&7);
        let source = Source::default();
        assert_eq!(process.load(7, &source).await, "load 1", "{bytes:?}");
    }
    // A key of another type is nothing that could be read either.
    let () = redis::cmd("DEL")
        .arg(name)
        .query_async(&mut raw)
        .await
        .unwrap();
    let () = redis::cmd("LPUSH")
        .arg(name)
        .arg("x")
        .query_async(&mut raw)
        .await
        .unwrap();
    process.cache.invalidate(&7);
    assert_eq!(process.load(7, &Source::default()).await, "load 1");
}

#[tokio::test]
async fn what_cannot_be_read_is_removed_although_nothing_else_is_loaded() {
    let server = RedisServer::start().await;
    let process = Process::at(&server.url()).await;
    server.tell("SET res:cache:{dishes:7} foreign").await;
    let fails = async || Err::<String, _>("down");
    assert!(process.cache.get_or_load(&7, fails).await.is_err());
    eventually(async || super::keys(&server, "*").await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn keys_of_any_bytes_and_length_have_entries_of_their_own() {
    let server = RedisServer::start().await;
    let process = async || {
        let store = server.store().await;
        let tier = store.cache_tier("dishes").unwrap();
        let second = (tier_policy(), tier.clone(), Text);
        let cache: Cache<String, String> =
            Cache::new_over(policy(), second, &Environment::new()).unwrap();
        eventually(async || tier.is_in_touch().then_some(())).await;
        cache
    };
    let (one, other) = (process().await, process().await);
    let keys: Vec<String> = ["", " ", "a:b", "{a}b", "*", "\r\n", "%3A", "ü"]
        .into_iter()
        .map(str::to_owned)
        .chain([300, 512, 100_000].map(|length| "x".repeat(length)))
        .collect();
    let value = |key: &String| format!("of {} bytes: {key:.9}", key.len());
    for key in &keys {
        one.insert(key.clone(), value(key));
    }
    eventually(async || {
        let stored = super::keys(&server, "*").await;
        (stored.len() == keys.len()).then_some(())
    })
    .await;
    for key in &keys {
        let fails = async || Err::<String, _>("down");
        assert_eq!(other.get_or_load(key, fails).await, Ok(value(key)));
    }
}
