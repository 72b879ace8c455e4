//! Many buyers at once, and the database that has the last word.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::AsyncCommands as _;
use resilience_redis::{
    RedisStore,
    stock::{Error, Once},
};
use tokio::task::JoinSet;

use super::{COUNTS, filled, lasting, stock};
use crate::support::{RedisServer, eventually, patient};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_who_want_the_last_one_are_one_buyer_and_ninety_nine_who_are_told() {
    let server = RedisServer::start().await;
    filled(&server, &[(1, 1)]).await;
    let mut buyers = JoinSet::new();
    for _ in 0..4 {
        let stock = server.stock(lasting()).await;
        for _ in 0..25 {
            let (stock, order) = (stock.clone(), format!("{:?}", fastrand::u128(..)));
            buyers.spawn(async move { stock.reserve(&order, &[(1_u64, 1)]).await });
        }
    }
    let answers = buyers.join_all().await;
    let bought = answers.iter().filter(|answer| **answer == Ok(Once::Now));
    let told = Err(Error::SoldOut { item: 0, left: 0 });
    assert_eq!(bought.count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == told).count(), 99);
}

/// The authority: a conditional update.
#[derive(Default)]
struct Database {
    left: AtomicU64,
    sold: AtomicU64,
    refused: AtomicU64,
}

impl Database {
    fn sell(&self) -> bool {
        let sold = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        let count = if sold.is_ok() {
            &self.sold
        } else {
            &self.refused
        };
        count.fetch_add(1, Ordering::SeqCst);
        sold.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sold_twice_when_the_counts_are_lost() {
    const UNITS: u64 = 400;
    let mut server = RedisServer::start().await;
    let database = Arc::new(Database::default());
    database.left.store(UNITS, Ordering::SeqCst);
    let done = Arc::new(AtomicBool::new(false));
    let mut buyers = JoinSet::new();
    for _ in 0..8 {
        let settings = patient().decision_timeout(Duration::from_millis(20));
        let store = eventually(async || {
            RedisStore::connect(&server.url(), settings.clone())
                .await
                .ok()
        });
        let stock = stock(
            &store.await,
            lasting().reservation(Duration::from_millis(200)),
        );
        let (database, done) = (database.clone(), done.clone());
        buyers.spawn(async move {
            let mut told = 0_u64;
            while !done.load(Ordering::SeqCst) {
                let order = fastrand::u128(..);
                match stock.reserve(&order, &[(1_u64, 1)]).await {
                    Err(Error::SoldOut { .. }) => told += 1,
                    outcome => {
                        let sold = database.sell();
                        if outcome == Err(Error::Unknown { item: None }) {
                            let left = database.left.load(Ordering::SeqCst);
                            let _ = stock.fill([(1_u64, left)]).await;
                        }
                        if sold {
                            let _ = stock.confirm(&order).await;
                        } else {
                            let _ = stock.release(&order).await;
                            let _ = stock.cap(&1_u64, 0).await;
                        }
                    }
                }
                tokio::task::yield_now().await;
            }
            told
        });
    }
    let sold_more_than = async |units: u64| {
        eventually(async || (database.sold.load(Ordering::SeqCst) > units).then_some(())).await;
    };
    sold_more_than(50).await;
    let mut raw = server.raw().await;
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut raw)
        .await
        .expect("ok");
    sold_more_than(100).await;
    server.kill();
    sold_more_than(150).await;
    server.start_again().await;
    sold_more_than(200).await;
    server.freeze();
    sold_more_than(250).await;
    server.thaw();
    sold_more_than(UNITS - 1).await;
    // All are sold: whoever comes now is told so by the stock.
    let mut raw = server.raw().await;
    eventually(async || (raw.hget(COUNTS, ":1").await == Ok(Some(0_u64))).then_some(())).await;
    let refused = database.refused.load(Ordering::SeqCst);
    done.store(true, Ordering::SeqCst);
    let told: u64 = buyers.join_all().await.iter().sum();
    println!("sold {UNITS}; the database refused {refused}, the stock {told}");
    assert_eq!(database.sold.load(Ordering::SeqCst), UNITS);
    assert_eq!(database.left.load(Ordering::SeqCst), 0);
}
