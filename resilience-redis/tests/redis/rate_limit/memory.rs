//! What a limiter keeps in this process.

use std::time::Duration;

use resilience_redis::{
    RedisStore,
    rate_limit::{Policy, Quota, RateLimiter},
};
use tokio::{runtime::Builder, task::JoinSet};

use crate::support::{RedisServer, patient};

/// Asks for a unit of each key, and says how many had one.
async fn ask(limiter: &RateLimiter, callers: u64) -> u64 {
    let mut granted = 0;
    for first in (0..KEYS).step_by(256) {
        let mut calls = JoinSet::new();
        for call in first * callers..(first + 256) * callers {
            let limiter = limiter.clone();
            calls.spawn(async move { limiter.try_take(&(call / callers)).await.is_ok() });
        }
        let answers = calls.join_all().await;
        granted += answers.into_iter().map(u64::from).sum::<u64>();
    }
    granted
}

#[test]
fn a_key_that_is_remembered_takes_550_bytes_and_750_where_it_is_used_up() {
    // Memory is counted for this thread, which does all of it.
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let server = runtime.block_on(RedisServer::start());
    let store = runtime
        .block_on(RedisStore::connect(&server.url(), patient()))
        .expect("the server is up");
    let quota = Quota::new(1, Duration::from_secs(600));
    let limiter = store
        .rate_limiter(&Policy::new("test", quota))
        .expect("a valid policy");
    let bytes = |callers, granted| {
        let memory = allocation_counter::measure(|| {
            assert_eq!(runtime.block_on(ask(&limiter, callers)), granted);
        });
        memory.bytes_current / KEYS as i64
    };
    let granted = bytes(1, KEYS);
    let refused = granted + bytes(1, 0);
    // Nor does a crowd leave anything behind, but what those who are refused here are told.
    let crowded = refused + bytes(20, 0);
    println!("{granted} bytes of a key, {refused} where it is used up, {crowded} after a crowd");
    assert!((500..=600).contains(&granted), "{granted}");
    assert!(
        (600..=800).contains(&refused) && (600..=800).contains(&crowded),
        "{refused} {crowded}"
    );
}

/// As many as fill no map to its last place, nor leave half of it empty.
const KEYS: u64 = 6144;
