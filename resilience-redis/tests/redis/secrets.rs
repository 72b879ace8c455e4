//! What must never be seen, and how little the server must allow.

use std::{error::Error as _, time::Duration};

use resilience_redis::{
    RedisStore, StoreError,
    rate_limit::{Algorithm, Policy, Quota},
};

use crate::support::{Log, RedisServer, eventually, patient};

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
async fn no_line_of_the_log_shows_the_password_when_connections_fail() {
    let (log, _listening) = Log::listen(|_| true);
    let mut server = RedisServer::start_with(&["--requirepass", PLANTED]).await;
    let url = format!("redis://:{PLANTED}@127.0.0.1:{}", server.port());
    let store = RedisStore::connect(&url, patient()).await;
    let _store = store.expect("the right password");
    let client = redis::Client::open(url.as_str()).expect("a valid URL");
    let mut raw = client
        .get_multiplexed_async_connection()
        .await
        .expect("the right password");
    for command in [
        "CONFIG SET requirepass another",
        "CLIENT KILL TYPE normal SKIPME yes",
    ] {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().expect("a command"));
        command.arg(words.collect::<Vec<_>>());
        let done = command.query_async::<redis::Value>(&mut raw).await;
        drop(done.expect("allowed"));
    }
    let says = async |what: &str| {
        let lines = log.lines();
        lines.iter().any(|line| line.contains(what)).then_some(())
    };
    eventually(async || says("cannot connect to a redis server").await).await;
    server.kill();
    let store = RedisStore::connect_or_keep_trying(&url, patient()).await;
    let _store = store.expect("it goes on without");
    eventually(async || says("starting without redis").await).await;
    log.lines().iter().for_each(|line| assert_hidden(line));
}

#[tokio::test]
async fn a_missing_login_is_told_from_a_server_that_is_away() {
    let server = RedisServer::start_with(&["--requirepass", PLANTED]).await;
    let outcome = match RedisStore::connect(&server.open_url(), patient()).await {
        Ok(store) => {
            let policy = Policy::new("test", Quota::new(5, MINUTE));
            let limiter = store.rate_limiter(&policy).expect("a valid policy");
            limiter.decide("key", 1).await.error.map_or(Ok(()), Err)
        }
        Err(error) => Err(error),
    };
    assert!(
        matches!(outcome, Err(StoreError::Unauthorized(_))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn what_the_documentation_does_not_ask_for_is_refused_to_tests_as_well() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let log = Quota::new(5, MINUTE).algorithm(Algorithm::SlidingLog);
    let cells = Quota::new(5, MINUTE).algorithm(Algorithm::Gcra);
    let one = Policy::new("one", Quota::new(5, MINUTE));
    let all = Policy::new("all", Quota::new(5, MINUTE))
        .and(log)
        .and(cells);
    for (policy, counts) in [(one, 1), (all, 3)] {
        let limiter = store.rate_limiter(&policy).expect("a valid policy");
        for cost in [1, 0, 3, 5] {
            assert_eq!(limiter.decide("key", cost).await.error, None);
        }
        limiter.refund("key", 2).await.expect("allowed");
        limiter.clear("key").await.expect("allowed");
        limiter.try_take("key").await.expect("allowed");
        assert_eq!(limiter.clear_all().await, Ok(counts));
    }

    let client = redis::Client::open(server.url()).expect("a valid URL");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("the server is up");
    for (command, argument) in [("FLUSHALL", "ASYNC"), ("GET", "foreign"), ("KEYS", "*")] {
        let refused: Result<(), _> = redis::cmd(command)
            .arg(argument)
            .query_async(&mut connection)
            .await;
        assert_eq!(refused.expect_err("not allowed").code(), Some("NOPERM"));
    }
}
