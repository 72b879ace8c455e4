//! Where the counts come from, and what they are when they are lost.

use redis::AsyncCommands as _;
use resilience_redis::stock::{Confirmed, Error, Filled, Once, Stock};

use super::{COUNTS, filled, lasting, left};
use crate::support::{RedisServer, eventually};

#[tokio::test]
async fn what_is_not_counted_is_neither_none_nor_any_number() {
    let server = RedisServer::start().await;
    let stock = server.stock(lasting()).await;
    let mut raw = server.raw().await;
    let unknown = async |stock: &Stock| {
        let nothing = Err(Error::Unknown { item: None });
        assert_eq!(stock.reserve("a", &[(1_u64, 1)]).await, nothing);
        assert_eq!(left(stock, 1).await, None);
        assert_eq!(stock.add(&1_u64, 5).await, Ok(None));
        assert_eq!(stock.cap(&1_u64, 5).await, Ok(None));
        assert_eq!(stock.set(&1_u64, 5).await, Ok(None));
        assert_eq!(left(stock, 1).await, None);
    };
    unknown(&stock).await;
    stock.fill([(1_u64, 9)]).await.expect("filled");
    assert_eq!(left(&stock, 1).await, Some(9));
    // Too old to be believed.
    let () = raw.pexpire(COUNTS, 1).await.expect("expires");
    eventually(async || left(&stock, 1).await.is_none().then_some(())).await;
    unknown(&stock).await;
    stock.fill([(1_u64, 9)]).await.expect("filled");
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut raw)
        .await
        .expect("ok");
    unknown(&stock).await;
}

#[tokio::test]
async fn counts_that_were_written_anew_have_what_was_given_back() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(1, 10)]).await;
    for order in ["a", "b", "c"] {
        stock.reserve(order, &[(1_u64, 1)]).await.expect("units");
    }
    assert_eq!(stock.release("a").await, Ok(Once::Now));
    assert_eq!(left(&stock, 1).await, Some(8));
    // The database has sold one of them by now and knows nothing of the other.
    assert_eq!(stock.refill([(1_u64, 9)]).await, Ok(Filled::Now));
    assert_eq!(stock.confirm("b").await, Ok(Confirmed::Now));
    assert_eq!(stock.release("c").await, Ok(Once::Now));
    assert_eq!(left(&stock, 1).await, Some(9));
}

#[tokio::test]
async fn the_first_to_find_the_counts_missing_writes_them() {
    let server = RedisServer::start().await;
    let one = filled(&server, &[(1, 5)]).await;
    let other = server.stock(lasting()).await;
    assert_eq!(other.fill([(1_u64, 7)]).await, Ok(Filled::ByOthers));
    assert_eq!(left(&one, 1).await, Some(5));
    assert_eq!(other.refill([(1_u64, 7)]).await, Ok(Filled::Now));
    assert_eq!(left(&one, 1).await, Some(7));
    // In several steps.
    let many = || (0..1234_u64).map(|item| (item, item));
    assert_eq!(one.refill(many()).await, Ok(Filled::Now));
    for item in [0, 499, 500, 999, 1000, 1233] {
        assert_eq!(left(&other, item).await, Some(item));
    }
    assert_eq!(left(&other, 1234).await, None);
    assert_eq!(other.refill([(0_u64, 0); 0]).await, Ok(Filled::Now));
    assert_eq!(left(&one, 0).await, None);
    assert_eq!(one.fill(many()).await, Ok(Filled::ByOthers));
}

#[tokio::test]
async fn counts_follow_what_the_database_says() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(1, 5)]).await;
    assert_eq!(stock.add(&1_u64, 3).await, Ok(Some(8)));
    assert_eq!(stock.cap(&1_u64, 9).await, Ok(Some(8)));
    assert_eq!(stock.cap(&1_u64, 2).await, Ok(Some(2)));
    assert_eq!(stock.add(&2_u64, 1).await, Ok(None));
    assert_eq!(stock.set(&2_u64, 4).await, Ok(Some(4)));
    assert_eq!(stock.reserve("a", &[(2_u64, 4)]).await, Ok(Once::Now));
}
