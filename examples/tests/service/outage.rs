//! Redis is killed under load, twice, and is back.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::StatusCode;
use sqlx::{AnyConnection, Connection as _};
use tokio::task::JoinSet;

use crate::{
    client::{Connection, database_in, eventually, get, one, post},
    process::Process,
    redis::Redis,
};

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_killed_under_load_orders_go_on_and_nothing_is_sold_twice() {
    let folder = tempfile::tempdir().unwrap();
    sell_out_while_redis_dies(&database_in(&folder)).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn with_redis_killed_under_load_postgresql_sells_nothing_twice() {
    let postgres = crate::postgres::Postgres::start().await;
    sell_out_while_redis_dies(&postgres.url()).await;
}

async fn sell_out_while_redis_dies(database: &str) {
    let mut redis = Redis::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = redis.url();
    let options = [
        ["--database", database],
        ["--redis", &url],
        ["--requests-per-client", "1000000"],
    ];
    let start = || Process::start_with(&folder, options.as_flattened());
    let gateways = [start(), start()];
    let addresses = gateways.each_ref().map(|gateway| gateway.address);
    let mut books = Books::open(database).await;
    let there = books.stock().await;
    let total = u64::try_from(there.values().sum::<i64>()).unwrap();

    let crowd = Crowd::default();
    let mut buyers = JoinSet::new();
    for buyer in 0..16 {
        buyers.spawn(crowd.clone().buy(addresses[buyer % 2], buyer));
    }
    crowd.has_bought_more_than(total / 6).await;
    redis.kill();
    // Nobody answers, and orders go on.
    crowd.has_bought_more_than(total / 2).await;
    redis.start_again().await;
    crowd.has_bought_more_than(total * 4 / 6).await;
    redis.kill();
    crowd.has_bought_more_than(total - 1).await;
    crowd.is_over.store(true, Ordering::SeqCst);

    let other = buyers.join_all().await.concat();
    assert_eq!(other, [""; 0], "nobody was told anything else");
    eventually(async || books.unsettled().await == 0).await;
    assert_eq!(
        books.paid().await,
        there,
        "each portion once, and all of them"
    );
    assert!(books.stock().await.values().all(|left| *left == 0));

    // Back, it is of use again: what was paid meanwhile is cooked, and whoever comes too late costs
    // no statement.
    redis.start_again().await;
    eventually(async || books.uncooked().await == 0).await;
    for address in addresses {
        eventually(async || {
            let before = statements(address).await;
            let late = post(address, "/orders", &[], &one("ada", DISHES[0])).await;
            assert_eq!(late.status, StatusCode::CONFLICT);
            statements(address).await == before
        })
        .await;
    }
}

/// The dishes that the crowd wants.
const DISHES: [i64; 5] = [1, 2, 3, 4, 5];

/// Who buys until it is over; clones are one crowd.
#[derive(Clone, Default)]
struct Crowd {
    bought: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Crowd {
    /// Answers what it was told that it did not expect.
    async fn buy(self, address: SocketAddr, buyer: usize) -> Vec<String> {
        let mut other = Vec::new();
        let mut connection = Connection::open(address).await;
        for turn in 0.. {
            if self.is_over.load(Ordering::SeqCst) {
                break;
            }
            let dish = DISHES[(buyer + turn) % DISHES.len()];
            let answer = connection.post("/orders", &one("ada", dish)).await;
            match answer.status {
                StatusCode::CREATED => {
                    self.bought.fetch_add(1, Ordering::SeqCst);
                }
                StatusCode::CONFLICT => {}
                // On a busy machine the payment may be late: the order is kept, and paid later.
                StatusCode::SERVICE_UNAVAILABLE
                    if answer.json()["order_status"] == "pending_payment" =>
                {
                    self.bought.fetch_add(1, Ordering::SeqCst);
                }
                _ => other.push(answer.text().to_owned()),
            }
        }
        other
    }

    async fn has_bought_more_than(&self, portions: u64) {
        eventually(async || self.bought.load(Ordering::SeqCst) > portions).await;
    }
}

/// What the database says, past the service.
struct Books(AnyConnection);

impl Books {
    async fn open(database: &str) -> Self {
        sqlx::any::install_default_drivers();
        Self(AnyConnection::connect(database).await.unwrap())
    }

    /// Portions left of each dish.
    async fn stock(&mut self) -> HashMap<i64, i64> {
        self.by_dish("SELECT id, stock FROM dishes").await
    }

    /// Portions paid of each dish.
    async fn paid(&mut self) -> HashMap<i64, i64> {
        self.by_dish(
            "SELECT dish_id, CAST(sum(quantity) AS BIGINT)
             FROM order_items JOIN orders ON orders.id = order_items.order_id
             WHERE status = 'paid' GROUP BY dish_id",
        )
        .await
    }

    async fn by_dish(&mut self, question: &'static str) -> HashMap<i64, i64> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(question)
            .fetch_all(&mut self.0)
            .await
            .unwrap();
        let wanted = |(dish, _): &(i64, i64)| DISHES.contains(dish);
        rows.into_iter().filter(wanted).collect()
    }

    /// Orders that are neither paid nor cancelled.
    async fn unsettled(&mut self) -> i64 {
        self.count("SELECT count(*) FROM orders WHERE status IN ('pending_payment', 'cancelling')")
            .await
    }

    /// Orders that are paid and not cooked.
    async fn uncooked(&mut self) -> i64 {
        self.count("SELECT count(*) FROM tickets WHERE cooked_at IS NULL")
            .await
    }

    async fn count(&mut self, question: &'static str) -> i64 {
        sqlx::query_scalar(question)
            .fetch_one(&mut self.0)
            .await
            .unwrap()
    }
}

/// Statements that the gateway sent to the database.
async fn statements(address: SocketAddr) -> u64 {
    let stats = get(address, "/admin/stats").await.json();
    stats["sql_statements"].as_u64().unwrap()
}
