//! Numbers, names, times and rights at their edges.

use std::time::Duration;

use redis::AsyncCommands as _;
use resilience_redis::{
    RedisStore, StoreError,
    stock::{Error, Filled, Once},
};

use super::{COUNTS, DAY, DUE, MOMENT, ORDERS, filled, lasting, left, stock};
use crate::support::{RedisServer, eventually, patient, permissions_for};

const MOST: u64 = (1 << 53) - 1;

#[tokio::test]
async fn numbers_are_counted_exactly_to_their_bounds() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(1, MOST), (2, 0)]).await;
    assert_eq!(
        stock.reserve("a", &[(1_u64, MOST - 1)]).await,
        Ok(Once::Now)
    );
    assert_eq!(left(&stock, 1).await, Some(1));
    assert_eq!(
        stock.reserve("b", &[(1_u64, 2)]).await,
        Err(Error::SoldOut { item: 0, left: 1 })
    );
    assert_eq!(stock.release("a").await, Ok(Once::Now));
    assert_eq!(left(&stock, 1).await, Some(MOST));
    assert_eq!(stock.reserve("b", &[(1_u64, 1)]).await, Ok(Once::Now));
    assert_eq!(stock.add(&1_u64, MOST).await, Ok(Some(MOST)));
    // Also what comes back is counted no further than that.
    assert_eq!(stock.release("b").await, Ok(Once::Now));
    assert_eq!(left(&stock, 1).await, Some(MOST));
    assert_eq!(stock.reserve("c", &[(1_u64, MOST)]).await, Ok(Once::Now));
    assert_eq!(left(&stock, 1).await, Some(0));
    let invalid = |outcome| matches!(outcome, Err(Error::Invalid(_)));
    for units in [0, MOST + 1, 1 << 53, i64::MAX as u64, u64::MAX] {
        assert!(invalid(stock.reserve("d", &[(1_u64, units)]).await));
        if units > 0 {
            assert!(matches!(
                stock.add(&1_u64, units).await,
                Err(Error::Invalid(_))
            ));
            assert!(matches!(
                stock.refill([(1_u64, units)]).await,
                Err(Error::Invalid(_))
            ));
        }
    }
    let many: Vec<_> = (0..101_u64).map(|item| (item, 1)).collect();
    assert!(invalid(stock.reserve("d", &many).await));
    assert!(invalid(stock.reserve::<_, u64>("d", &[]).await));
    assert!(invalid(
        stock.reserve("d", &[(2_u64, 1), (1, 1), (2, 1)]).await
    ));
    assert!(matches!(stock.reap(0).await, Err(Error::Invalid(_))));
    assert!(matches!(stock.reap(1001).await, Err(Error::Invalid(_))));
    stock.refill(many.iter().copied()).await.expect("filled");
    assert_eq!(stock.reserve("e", &many[..100]).await, Ok(Once::Now));
}

#[tokio::test]
async fn names_of_any_length_and_letters_are_told_apart() {
    let server = RedisServer::start().await;
    let stock = server.stock(lasting()).await;
    let names: Vec<String> = vec![
        String::new(),
        " ".into(),
        "#".into(),
        "a b".into(),
        "a%20b".into(),
        "k".repeat(512),
        "k".repeat(513),
        "()".into(),
    ];
    let counts = names
        .iter()
        .zip(1..)
        .map(|(name, units)| (name.as_str(), units));
    stock.fill(counts).await.expect("filled");
    assert_eq!(stock.set(&(), 99).await, Ok(Some(99)));
    for (name, units) in names.iter().zip(1..) {
        let item = [(name.as_str(), units)];
        assert_eq!(stock.left(name).await, Ok(Some(units)));
        assert_eq!(stock.reserve(name, &item).await, Ok(Once::Now));
        assert_eq!(stock.reserve(name, &item).await, Ok(Once::Before));
        assert_eq!(stock.left(name).await, Ok(Some(0)));
        assert_eq!(stock.release(name).await, Ok(Once::Now));
        assert_eq!(stock.left(name).await, Ok(Some(units)));
    }
    assert_eq!(stock.left(&()).await, Ok(Some(99)));
    // The name without parts is one of an order and of an item as well.
    assert_eq!(stock.reserve(&(), &[((), 90)]).await, Ok(Once::Now));
    assert_eq!(stock.left(&()).await, Ok(Some(9)));
}

#[tokio::test]
async fn what_somebody_else_wrote_under_our_keys_is_named() {
    let server = RedisServer::start().await;
    let mut raw = server.raw().await;
    for key in [COUNTS, ORDERS, DUE] {
        let stock = filled(&server, &[(1, 5)]).await;
        let () = raw.del(key).await.expect("deleted");
        let () = raw.rpush(key, "a list").await.expect("pushed");
        let foreign = Err(Error::Store(StoreError::ForeignValue));
        assert_eq!(stock.reserve("a", &[(1_u64, 1)]).await, foreign);
        let () = redis::cmd("FLUSHALL")
            .query_async(&mut raw)
            .await
            .expect("ok");
    }
}

#[tokio::test]
async fn what_is_no_count_of_ours_is_unknown_and_costs_nobody_a_connection() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(1, 5)]).await;
    let mut raw = server.raw().await;
    let before = server.connections().await;
    for text in [
        "soup",
        "-1",
        "+5",
        "1.5",
        "0x10",
        "1e3",
        "9007199254740992",
        "",
    ] {
        let unknown = |item| Err(Error::Unknown { item });
        let () = raw.hset(COUNTS, ":1", text).await.expect("set");
        assert_eq!(left(&stock, 1).await, None, "{text}");
        assert_eq!(stock.reserve("a", &[(1_u64, 1)]).await, unknown(Some(0)));
        assert_eq!(stock.add(&1_u64, 1).await, Ok(None));
        assert_eq!(stock.cap(&1_u64, 1).await, Ok(None));
        assert_eq!(stock.set(&1_u64, 5).await, Ok(Some(5)));
        assert_eq!(stock.reserve(text, &[(1_u64, 1)]).await, Ok(Once::Now));
        let () = raw.hset(COUNTS, ":1", text).await.expect("set");
        assert_eq!(stock.release(text).await, Ok(Once::Now));
        let () = raw.hset(COUNTS, "#", text).await.expect("set");
        assert_eq!(stock.reserve("a", &[(1_u64, 1)]).await, unknown(None));
        assert_eq!(stock.fill([(1_u64, 5)]).await, Ok(Filled::Now));
        let () = raw.hset(COUNTS, "#", text).await.expect("set");
        assert_eq!(stock.refill([(1_u64, 5)]).await, Ok(Filled::Now));
        let () = raw.hset(ORDERS, ":a", text).await.expect("set");
        assert_eq!(stock.confirm("a").await, Err(Error::NotReserved));
        assert_eq!(stock.reserve("a", &[(1_u64, 1)]).await, Ok(Once::Now));
        assert_eq!(stock.release("a").await, Ok(Once::Now));
        let () = raw.hdel(ORDERS, ":a").await.expect("deleted");
    }
    assert_eq!(server.connections().await, before + 1);
}

#[tokio::test]
async fn times_that_cannot_work_are_named() {
    let store = RedisServer::start().await.store().await;
    let day = DAY + MOMENT;
    for (policy, field) in [
        (lasting().reservation(Duration::ZERO), "reservation"),
        (lasting().reservation(day), "reservation"),
        (lasting().life(Duration::from_micros(999)), "life"),
        (lasting().life(Duration::MAX), "life"),
        (lasting().remember(Duration::ZERO), "remember"),
        (lasting().remember(DAY * 31), "remember"),
    ] {
        assert_eq!(store.stocks(&policy).expect_err("no").field(), field);
    }
}

#[tokio::test]
async fn the_documented_permissions_are_enough() {
    let server = RedisServer::start().await;
    let url = server.user(&permissions_for("stock")).await;
    let store = RedisStore::connect(&url, patient()).await.expect("allowed");
    let stock = stock(&store, lasting().reservation(MOMENT).remember(MOMENT));
    stock.refill([(1_u64, 5)]).await.expect("allowed");
    stock.reserve("a", &[(1_u64, 1)]).await.expect("allowed");
    stock.reserve("b", &[(1_u64, 1)]).await.expect("allowed");
    stock.confirm("a").await.expect("allowed");
    stock.release("b").await.expect("allowed");
    stock.set(&1_u64, 5).await.expect("allowed");
    assert_eq!(stock.left(&1_u64).await, Ok(Some(5)));
    eventually(async || {
        stock.reap(10).await.expect("allowed");
        (stock.confirm("a").await == Err(Error::NotReserved)).then_some(())
    })
    .await;
}
