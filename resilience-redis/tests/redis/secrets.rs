//! What must never be seen, and how little the server must allow.

use std::{error::Error as _, time::Duration};

use resilience_redis::{
    RedisStore, StoreError,
    rate_limit::{Policy, Quota},
};

use crate::support::{RedisServer, patient};

const PLANTED: &str = "planted-PASSWORD-0451";
const MINUTE: Duration = Duration::from_secs(60);

fn assert_hidden(text: &str) {
    assert!(!text.contains(PLANTED), "{text}");
}

fn assert_error_hides(error: &StoreError) {
    assert_hidden(&format!("{error} {error:?} {error:#?}"));
    let sources = std::iter::successors(error.source(), |&error| error.source());
    sources.for_each(|error| assert_hidden(&format!("{error} {error:?}")));
}

#[tokio::test]
async fn no_debug_and_no_error_shows_the_password() {
    let server = RedisServer::start_with(&["--requirepass", PLANTED]).await;
    let url = format!("redis://:{PLANTED}@127.0.0.1:{}", server.port());
    let store = RedisStore::connect(&url, patient())
        .await
        .expect("the right password");
    let policy = Policy::new("test", Quota::new(5, MINUTE));
    let limiter = store.rate_limiter(&policy).expect("a valid policy");
    limiter.try_take("key").await.expect("logged in");
    limiter.clear_all().await.expect("logged in");
    assert_hidden(&format!("{store:?} {store:#?} {limiter:?} {limiter:#?}"));
}

#[tokio::test]
async fn a_failed_login_does_not_show_the_password() {
    let closed = RedisServer::start_with(&["--requirepass", "another"]).await;
    // A server that does not know AUTH quotes the command, password and all.
    let unaware = RedisServer::start_with(&["--rename-command", "AUTH", ""]).await;
    for url in [
        format!("redis://:{PLANTED}@127.0.0.1:{}", closed.port()),
        format!(
            "redis://:{PLANTED}@127.0.0.1:{}?protocol=resp2",
            unaware.port()
        ),
        format!("redis://user:{PLANTED}@127.0.0.1:{}", unaware.port()),
        format!("redis://:{PLANTED}@127.0.0.1:notaport"),
        format!("rediss://:{PLANTED}@127.0.0.1:1"),
        format!("redis://:{PLANTED}@127.0.0.1/{PLANTED}"),
        format!("redis://127.0.0.1?protocol={PLANTED}"),
    ] {
        assert_error_hides(
            &RedisStore::connect(&url, patient())
                .await
                .expect_err("no way in"),
        );
    }
}

#[tokio::test]
async fn a_missing_login_is_told_from_a_server_that_is_away() {
    let server = RedisServer::start_with(&["--requirepass", PLANTED]).await;
    let outcome = match RedisStore::connect(&server.url(), patient()).await {
        Ok(store) => {
            let policy = Policy::new("test", Quota::new(5, MINUTE));
            let limiter = store.rate_limiter(&policy).expect("a valid policy");
            limiter
                .try_take("key")
                .await
                .map_err(|error| error.into_inner())
        }
        Err(error) => Err(Some(error)),
    };
    assert!(
        matches!(outcome, Err(Some(StoreError::Unauthorized(_)))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn the_documented_permissions_are_enough() {
    let rules = "on >secret ~resilience:* +eval +evalsha +time +get +set +unlink \
                 +scan +ping +unwatch";
    let server = RedisServer::start().await;
    let mut raw = server.raw().await;
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER")
        .arg("limits")
        .arg(rules.split_whitespace().collect::<Vec<_>>());
    let () = user.query_async(&mut raw).await.expect("a user");

    let url = format!("redis://limits:secret@127.0.0.1:{}", server.port());
    let store = RedisStore::connect(&url, patient()).await.expect("allowed");
    let policy = Policy::new("test", Quota::new(5, MINUTE));
    let limiter = store.rate_limiter(&policy).expect("a valid policy");
    limiter.try_take("key").await.expect("allowed");
    limiter.clear("key").await.expect("allowed");
    limiter.try_take("key").await.expect("allowed");
    assert_eq!(limiter.clear_all().await, Ok(1));
}
