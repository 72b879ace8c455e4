use std::time::Duration;

use http::{Request, StatusCode};
use ordering::{stack::Pages, store::Store};
use resilience_core::{Environment, ManualClock};
use serde_json::json;
use tokio::{task::JoinSet, time::timeout};

use crate::client::{Connection, Shop, database_in, eventually, one, post, send};

/// A shop for one client that asks more than any client may.
async fn open() -> Shop {
    Shop::open_with(|config| config.requests_per_client = u32::MAX).await
}

#[tokio::test]
async fn a_number_that_is_no_dish_costs_no_statement() {
    let shop = open().await;
    let mut connection = Connection::open(shop.address()).await;
    // The settlement may send one of its own meanwhile, once.
    eventually(async || {
        let before = shop.statements().await;
        for id in [0, -1, 201, 202, i64::MIN, i64::MAX] {
            let answer = connection.get(&format!("/dishes/{id}")).await;
            assert_eq!(answer.problem(404, "id")["reason"], "unknown_dish");
        }
        shop.statements().await == before
    })
    .await;
    let stats = shop.stats().await;
    assert_eq!(stats["bloom_guard"]["dishes"]["checks"]["maybe"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_a_page_that_nobody_made_yet_asks_the_database_once() {
    let shop = open().await;
    let mut dish = 0;
    eventually(async || {
        dish += 1;
        let mut crowd = JoinSet::new();
        for _ in 0..200 {
            let mut connection = Connection::open(shop.address()).await;
            crowd.spawn(async move {
                for _ in 0..5 {
                    let answer = connection.get(&format!("/dishes/{dish}")).await;
                    assert_eq!(answer.status, StatusCode::OK);
                    assert_eq!(answer.json()["id"], dish);
                }
            });
        }
        let before = shop.statements().await;
        crowd.join_all().await;
        shop.statements().await - before <= 1
    })
    .await;
    let loads = &shop.stats().await["cache"]["pages"]["loads"];
    assert_eq!(*loads, dish);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_menu_that_is_asked_for_is_made_anew_ahead_of_its_end_and_nobody_waits() {
    let clock = ManualClock::new();
    let shop = Shop::open_with(|config| config.clock = clock.clone().into()).await;
    // Whoever writes to the same file and voids nothing here.
    let pages = Pages::new(None, &Environment::new()).unwrap();
    let elsewhere = Store::open(&database_in(&shop.folder), &pages)
        .await
        .unwrap();
    let menu = async |status| {
        let answer = shop.get("/dishes").await;
        assert_eq!(answer.header("cache-status"), Some(status));
        answer.json().as_array().unwrap().len()
    };
    assert_eq!(menu("\"pages\"; fwd=miss").await, 200);
    // A page lives for a minute, give or take a tenth: 43 s are never four fifths of that.
    elsewhere.add_dish("dish 201", 100, 5).await.unwrap();
    clock.advance(Duration::from_secs(43));
    assert_eq!(menu("\"pages\"; hit").await, 200);
    assert_eq!(shop.stats().await["cache"]["pages"]["loads"], 1);
    // And 53.9 s always are, before it is over.
    clock.advance(Duration::from_millis(10_900));
    for dishes in 201..205 {
        eventually(async || menu("\"pages\"; hit").await == dishes).await;
        assert_eq!(shop.stats().await["cache"]["pages"]["loads"], dishes - 199);
        let name = format!("dish {}", dishes + 1);
        elsewhere.add_dish(&name, 100, 5).await.unwrap();
        clock.advance(Duration::from_millis(53_900));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_numbers_costs_no_more_statements_than_the_guard_states() {
    let shop = open().await;
    let before = shop.statements().await;
    let mut flood = JoinSet::new();
    for bot in 0..20 {
        let mut connection = Connection::open(shop.address()).await;
        flood.spawn(async move {
            let mut random = fastrand::Rng::with_seed(bot);
            for _ in 0..1000 {
                let path = format!("/dishes/{}", random.i64(1000..));
                assert_eq!(connection.get(&path).await.status, StatusCode::NOT_FOUND);
            }
        });
    }
    flood.join_all().await;
    let statements = shop.statements().await - before;
    let stats = shop.stats().await;
    let rate = &stats["bloom_guard"]["dishes"]["false_positive_rate"]["stated"];
    let most = rate.as_f64().unwrap() * 20_000.0 * 1.5;
    assert!((statements as f64) <= most, "{statements} of {most}");
    let checks = &stats["bloom_guard"]["dishes"]["checks"];
    let told = ["absent", "remembered", "maybe"].map(|answer| checks[answer].as_u64().unwrap());
    assert_eq!(told.iter().sum::<u64>(), 20_000, "{checks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_ordered_sees_the_new_stock_while_a_crowd_reloads_the_page() {
    let shop = open().await;
    let mut crowd = JoinSet::new();
    for path in ["/dishes/1", "/dishes/1", "/dishes/1", "/dishes"] {
        let mut connection = Connection::open(shop.address()).await;
        crowd.spawn(async move {
            loop {
                assert_eq!(connection.get(path).await.status, StatusCode::OK);
            }
        });
    }
    for left in (30..50).rev() {
        assert_eq!(shop.order(&one("ada", 1)).await.status, StatusCode::CREATED);
        assert_eq!(shop.stock(1).await, left);
        assert_eq!(shop.get("/dishes").await.json()[0]["stock"], left);
    }
    shop.fault("decline").await;
    let declined = shop.order(&one("ada", 1)).await;
    assert_eq!(declined.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(shop.stock(1).await, 30);
    assert_eq!(shop.get("/dishes").await.json()[0]["stock"], 30);
    crowd.abort_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_there_while_orders_have_taken_all_places() {
    let shop = Shop::open_with(|config| config.payment.answer = Duration::from_secs(60)).await;
    shop.fault("hang").await;
    let address = shop.address();
    let mut waiting = JoinSet::new();
    for buyer in 0..64 {
        let order = one("ada", 2 + buyer);
        waiting.spawn(async move { post(address, "/orders", &[], &order).await });
    }
    let running = async || shop.stats().await["concurrency"]["handlers"]["running"] == 64;
    eventually(running).await;
    for path in ["/dishes/1", "/dishes"] {
        assert_eq!(shop.get(path).await.status, StatusCode::OK);
    }
    let order = timeout(Duration::from_millis(100), shop.get("/orders/none"));
    assert!(order.await.is_err(), "it has no place");
}

#[tokio::test]
async fn a_page_says_whether_it_was_there() {
    let shop = open().await;
    for path in ["/dishes/7", "/dishes"] {
        let said = async || {
            shop.get(path)
                .await
                .header("cache-status")
                .map(str::to_owned)
        };
        assert_eq!(said().await.as_deref(), Some("\"pages\"; fwd=miss"));
        assert_eq!(said().await.as_deref(), Some("\"pages\"; hit"));
    }
    shop.order(&one("ada", 7)).await;
    let voided = shop.get("/dishes/7").await;
    assert_eq!(voided.header("cache-status"), Some("\"pages\"; fwd=miss"));
}

#[tokio::test]
async fn stats_say_what_every_layer_counted_and_are_for_this_machine_alone() {
    let shop = Shop::open().await;
    shop.get("/dishes/1").await;
    shop.get("/dishes/1").await;
    shop.get("/dishes/201").await;
    shop.order(&one("ada", 2)).await;
    shop.post("/admin/panic", &json!({})).await;
    let stats = shop.stats().await;
    assert!(stats["sql_statements"].as_u64().unwrap() > 0, "{stats}");
    assert_eq!(stats["rate_limit"]["client"]["decisions"]["allowed"], 4);
    assert_eq!(stats["concurrency"]["handlers"]["running"], 0);
    assert_eq!(
        stats["concurrency"]["page-loads"]["decisions"]["admitted"],
        1
    );
    assert!(stats["concurrency"]["idempotency-keys"].is_object());
    assert!(stats["concurrency"]["payment-calls"].is_object());
    assert_eq!(stats["circuit_breaker"]["payment"]["calls"]["success"], 1);
    let panics = stats["panics"]["requests"].as_object().unwrap();
    assert_eq!(panics.values().filter_map(|it| it.as_u64()).sum::<u64>(), 1);
    let guard = &stats["bloom_guard"]["dishes"];
    assert_eq!(guard["checks"]["absent"], 1);
    assert_eq!(guard["keys"], 200);
    assert_eq!(guard["standing"]["answering"], 1);
    assert_eq!(guard["false_positive_rate"]["stated"], 0.01);
    let cache = &stats["cache"]["pages"];
    assert_eq!(cache["lookups"]["hit"], 1);
    assert_eq!(cache["lookups"]["miss"], 1);

    let stranger = Request::get("/admin/stats").header("sec-fetch-site", "cross-site");
    send(shop.address(), stranger, "")
        .await
        .problem(403, "origin");
}
