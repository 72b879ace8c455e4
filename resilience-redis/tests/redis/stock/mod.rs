//! What is reserved, for whom, and how often.

mod clearing;
mod counts;
mod crowd;
mod edges;
mod ledger;
mod script;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use resilience_core::Measured as _;
use resilience_redis::{
    RedisStore,
    stock::{Confirmed, End, Error, Filled, Once, Policy, Snapshot, Stock},
};

use crate::support::{RedisServer, eventually};

const COUNTS: &str = "res:stock:{test:kitchen}";
const ORDERS: &str = "res:stock:{test:kitchen}:orders";
const DUE: &str = "res:stock:{test:kitchen}:due";
const DAY: Duration = Duration::from_secs(86_400);
const MOMENT: Duration = Duration::from_millis(1);

/// Whatever takes time takes a day, unless a test says otherwise.
fn lasting() -> Policy {
    Policy::new("test").reservation(DAY).life(DAY).remember(DAY)
}

impl RedisServer {
    async fn stock(&self, policy: Policy) -> Stock {
        stock(&self.store().await, policy)
    }
}

fn stock(store: &RedisStore, policy: Policy) -> Stock {
    store.stocks(&policy).expect("valid").stock("kitchen")
}

async fn filled(server: &RedisServer, items: &[(u64, u64)]) -> Stock {
    let stock = server.stock(lasting()).await;
    let filled = stock.fill(items.iter().copied()).await;
    assert_eq!(filled, Ok(Filled::Now));
    stock
}

async fn left(stock: &Stock, item: u64) -> Option<u64> {
    stock.left(&item).await.expect("an answer")
}

#[tokio::test]
async fn all_items_of_an_order_are_reserved_or_none() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(9, 5), (1, 5), (4, 2)]).await;
    assert_eq!(
        stock.reserve("a", &[(9_u64, 1), (4, 2), (1, 3)]).await,
        Ok(Once::Now)
    );
    assert_eq!(
        stock.reserve("b", &[(9_u64, 4), (4, 1), (1, 1)]).await,
        Err(Error::SoldOut { item: 1, left: 0 })
    );
    assert_eq!(
        stock.reserve("b", &[(9_u64, 4), (77, 1)]).await,
        Err(Error::Unknown { item: Some(1) })
    );
    assert_eq!(
        [
            left(&stock, 9).await,
            left(&stock, 4).await,
            left(&stock, 1).await
        ],
        [Some(4), Some(0), Some(2)]
    );
}

#[tokio::test]
async fn an_order_is_reserved_once_whatever_order_its_items_are_in() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(1, 5), (2, 5)]).await;
    assert_eq!(
        stock.reserve("a", &[(1_u64, 2), (2, 1)]).await,
        Ok(Once::Now)
    );
    assert_eq!(
        stock.reserve("a", &[(2_u64, 1), (1, 2)]).await,
        Ok(Once::Before)
    );
    assert_eq!(
        stock.reserve("a", &[(1_u64, 2)]).await,
        Err(Error::Conflict)
    );
    assert_eq!(
        stock.reserve("a", &[(1_u64, 2), (2, 2)]).await,
        Err(Error::Conflict)
    );
    assert_eq!(
        (left(&stock, 1).await, left(&stock, 2).await),
        (Some(3), Some(4))
    );
}

#[tokio::test]
async fn an_order_ends_once() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(1, 10)]).await;
    for order in ["confirmed", "released"] {
        stock.reserve(order, &[(1_u64, 1)]).await.expect("units");
    }
    assert_eq!(stock.confirm("confirmed").await, Ok(Confirmed::Now));
    assert_eq!(stock.release("released").await, Ok(Once::Now));
    for _ in 0..2 {
        assert_eq!(stock.confirm("confirmed").await, Ok(Confirmed::Before));
        assert_eq!(stock.release("released").await, Ok(Once::Before));
        let (confirmed, released) = (Error::Over(End::Confirmed), Error::Over(End::Released));
        assert_eq!(stock.release("confirmed").await, Err(confirmed.clone()));
        assert_eq!(stock.confirm("released").await, Err(released.clone()));
        assert_eq!(
            stock.reserve("confirmed", &[(1_u64, 1)]).await,
            Err(confirmed)
        );
        assert_eq!(
            stock.reserve("released", &[(1_u64, 1)]).await,
            Err(released)
        );
        assert_eq!(stock.confirm("never").await, Err(Error::NotReserved));
        assert_eq!(stock.release("never").await, Err(Error::NotReserved));
    }
    assert_eq!(left(&stock, 1).await, Some(9));
}

#[tokio::test]
async fn a_reservation_that_nobody_confirms_is_given_back() {
    let server = RedisServer::start().await;
    let stock = server.stock(lasting().reservation(MOMENT)).await;
    stock.fill([(1_u64, 1)]).await.expect("filled");
    stock.reserve("slow", &[(1_u64, 1)]).await.expect("a unit");
    // The next one finds it expired, without anybody who looks after it.
    let next = async || stock.reserve("next", &[(1_u64, 1)]).await.ok();
    assert_eq!(eventually(next).await, Once::Now);
    assert_eq!(
        stock.reserve("slow", &[(1_u64, 1)]).await,
        Err(Error::Over(End::Expired))
    );
    assert_eq!(stock.release("slow").await, Ok(Once::Before));
}

#[tokio::test]
async fn what_is_sold_late_is_counted_all_the_same() {
    let server = RedisServer::start().await;
    let stock = server.stock(lasting().reservation(MOMENT)).await;
    stock.fill([(1_u64, 3)]).await.expect("filled");
    stock.reserve("slow", &[(1_u64, 2)]).await.expect("units");
    eventually(async || (stock.reap(1).await.expect("reaped").expired == 1).then_some(())).await;
    assert_eq!(left(&stock, 1).await, Some(3));
    assert_eq!(stock.confirm("slow").await, Ok(Confirmed::Late));
    assert_eq!(left(&stock, 1).await, Some(1));
    assert_eq!(stock.confirm("slow").await, Ok(Confirmed::Before));
    // Never below none.
    stock.reserve("other", &[(1_u64, 1)]).await.expect("a unit");
    eventually(async || (stock.reap(1).await.expect("reaped").expired == 1).then_some(())).await;
    stock.cap(&1_u64, 0).await.expect("capped");
    assert_eq!(stock.confirm("other").await, Ok(Confirmed::Late));
    assert_eq!(left(&stock, 1).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmation_and_the_end_of_its_reservation_agree() {
    let server = RedisServer::start().await;
    let stock = server.stock(lasting().reservation(MOMENT * 2)).await;
    stock.fill([(1_u64, 1000)]).await.expect("filled");
    let over = Arc::new(AtomicBool::new(false));
    let reaping = tokio::spawn({
        let (stock, over) = (server.stock(lasting()).await, over.clone());
        async move {
            while !over.load(Ordering::Relaxed) {
                stock.reap(100).await.expect("reaped");
            }
        }
    });
    let (mut now, mut late) = (0, 0);
    for order in 0..300_u64 {
        stock.reserve(&order, &[(1_u64, 1)]).await.expect("units");
        // Some are confirmed at once, and some when their time is over.
        for _ in 0..order % 40 {
            left(&stock, 1).await;
        }
        match stock.confirm(&order).await.expect("reserved") {
            Confirmed::Now => now += 1,
            Confirmed::Late => late += 1,
            Confirmed::Before => panic!("confirmed once"),
        }
    }
    over.store(true, Ordering::Relaxed);
    reaping.await.expect("no panic");
    println!("{now} in time, {late} late");
    assert_eq!(left(&stock, 1).await, Some(700));
}

#[tokio::test]
async fn what_became_of_calls_for_orders_is_counted() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let stocks = store.stocks(&lasting()).expect("valid");
    let stock = stocks.stock("kitchen");
    assert_eq!(stocks.snapshot(), Snapshot::default());
    stock
        .reserve("early", &[(1_u64, 1)])
        .await
        .expect_err("not counted");
    stock.fill([(1_u64, 2)]).await.expect("filled");
    for _ in 0..2 {
        stock.reserve("sold", &[(1_u64, 1)]).await.expect("there");
        stock.reserve("back", &[(1_u64, 1)]).await.expect("there");
    }
    stock
        .reserve("back", &[(1_u64, 2)])
        .await
        .expect_err("another order");
    stock
        .reserve("late", &[(1_u64, 1)])
        .await
        .expect_err("none left");
    for _ in 0..2 {
        stock.confirm("sold").await.expect("reserved");
        stock.release("back").await.expect("reserved");
    }
    // Other stocks of the policy count here as well.
    let elsewhere = stocks.stock("elsewhere");
    elsewhere
        .release("sold")
        .await
        .expect_err("never reserved there");
    server.freeze();
    drop(tokio::time::timeout(MOMENT, stock.confirm("sold")).await);
    server.thaw();
    let figures = elsewhere.stocks().snapshot();
    assert_eq!(
        (figures.reserved, figures.confirmed, figures.released),
        (2, 1, 1)
    );
    assert_eq!(
        (figures.known, figures.sold_out, figures.unknown),
        (4, 1, 1)
    );
    assert_eq!((figures.refused, figures.canceled), (2, 1));
    assert_eq!((figures.late, figures.failed), (0, 0));

    let mut counted = 0;
    stocks.measure(&mut |sample| {
        assert!(stocks.instruments().contains(&sample.instrument));
        counted += sample.value;
    });
    assert_eq!((stocks.policy(), counted), ("test", 13));
}

#[tokio::test]
async fn a_reservation_that_expires_counts_once_in_the_process_that_found_it() {
    let server = RedisServer::start().await;
    let slow = server.stock(lasting().reservation(MOMENT)).await;
    let other = server.stock(lasting()).await;
    slow.fill([(1_u64, 3)]).await.expect("filled");
    for order in ["a", "b", "c"] {
        slow.reserve(order, &[(1_u64, 1)]).await.expect("a unit");
    }
    // By a call for units that they had, and by one that looks for what is over.
    let all = async || other.reserve("d", &[(1_u64, 3)]).await.ok();
    assert_eq!(eventually(all).await, Once::Now);
    assert_eq!(other.release("d").await, Ok(Once::Now));
    slow.reserve("e", &[(1_u64, 1)]).await.expect("a unit");
    eventually(async || (other.reap(1).await.expect("reaped").expired == 1).then_some(())).await;
    let [found, caused] = [&other, &slow].map(|stock| stock.stocks().snapshot().expired);
    assert!(caused <= 2, "it reaps as it reserves: {caused}");
    assert_eq!(found + caused, 4);
    let mut measured = Vec::new();
    other.stocks().measure(&mut |sample| {
        if sample.instrument.name == "resilience.stock.expired" {
            measured.push(sample.value);
        }
    });
    assert_eq!(measured, [found]);
}
