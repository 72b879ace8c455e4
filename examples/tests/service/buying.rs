use std::time::Instant;

use http::{Request, StatusCode, header};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};
use tokio::{net::TcpStream, task::JoinSet};

use crate::client::{Shop, eventually, one, send_on};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_buyers_at_once_get_exactly_the_fifty_portions_there_are() {
    let shop = Shop::open().await;
    let mut connections = Vec::new();
    for _ in 0..200 {
        connections.push(TcpStream::connect(shop.address()).await.unwrap());
    }
    let started = now();
    let mut buyers = JoinSet::new();
    for (number, stream) in connections.into_iter().enumerate() {
        let request = Request::post("/orders").header(header::CONTENT_TYPE, "application/json");
        let body = one(&format!("buyer-{number}"), 1).to_string();
        buyers.spawn(send_on(stream, request, body));
    }
    let answers = buyers.join_all().await;
    println!("200 buyers were answered in {:?}", started.elapsed());

    let with = |status| answers.iter().filter(move |answer| answer.status == status);
    assert_eq!(with(StatusCode::CREATED).count(), 50);
    assert_eq!(with(StatusCode::CONFLICT).count(), 150);
    assert!(with(StatusCode::CONFLICT).all(|it| it.json()["reason"] == "sold_out"));
    assert_eq!(shop.stock(1).await, 0);
    let mut orders: Vec<_> = with(StatusCode::CREATED)
        .map(|answer| answer.json()["order_id"].as_str().unwrap().to_owned())
        .collect();
    orders.sort();
    orders.dedup();
    assert_eq!(orders.len(), 50);
    for order in orders {
        assert_eq!(
            shop.get(&format!("/orders/{order}")).await.json()["status"],
            "paid"
        );
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "prints a figure, decides nothing"
)]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn the_menu_is_there_from_the_first_start() {
    let shop = Shop::open().await;
    let menu = shop.get("/dishes").await.json();
    assert_eq!(menu.as_array().unwrap().len(), 200);
    assert_eq!(menu[0]["id"], 1);
    assert_eq!(menu[0]["stock"], 50);
    let dish = shop.get("/dishes/7").await.json();
    assert_eq!(dish, menu[6]);
    let keys: Vec<_> = dish.as_object().unwrap().keys().cloned().collect();
    for key in ["id", "name", "price_cents", "stock"] {
        assert!(keys.iter().any(|it| it == key), "{key}");
    }
}

#[tokio::test]
async fn an_order_says_what_it_costs_and_can_be_looked_at() {
    let shop = Shop::open().await;
    let menu = shop.get("/dishes").await.json();
    let price = |dish: usize| menu[dish - 1]["price_cents"].as_i64().unwrap();
    let body = json!({ "user_id": "ada", "items": [
        { "dish_id": 2, "quantity": 3 },
        { "dish_id": 5, "quantity": 1 },
        { "dish_id": 2, "quantity": 1 },
    ] });
    let answer = shop.order(&body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let receipt = answer.json();
    assert_eq!(receipt["status"], "paid");
    assert_eq!(receipt["total_cents"], 4 * price(2) + price(5));
    let path = format!("/orders/{}", receipt["order_id"].as_str().unwrap());
    let order = shop.get(&path).await.json();
    assert_eq!(order["total_cents"], receipt["total_cents"]);
    assert_eq!(
        order["items"],
        json!([
            { "dish_id": 2, "quantity": 4 },
            { "dish_id": 5, "quantity": 1 },
        ])
    );
    assert_eq!(shop.stock(2).await, menu[1]["stock"].as_i64().unwrap() - 4);
}

#[tokio::test]
async fn an_order_takes_all_of_its_items_or_none() {
    let shop = Shop::open().await;
    let (two, three) = (shop.stock(2).await, shop.stock(3).await);
    let items =
        |second| json!({ "user_id": "ada", "items": [{ "dish_id": 2, "quantity": 2 }, second] });
    let much = shop
        .order(&items(json!({ "dish_id": 1, "quantity": 51 })))
        .await;
    let problem = much.problem(409, "items[1].quantity");
    assert_eq!(problem["available"], 50);
    let unknown = shop
        .order(&items(json!({ "dish_id": 9999, "quantity": 1 })))
        .await;
    unknown.problem(404, "items[1].dish_id");
    assert_eq!((shop.stock(2).await, shop.stock(3).await), (two, three));
}

#[tokio::test]
async fn a_key_orders_once_and_answers_the_same_again() {
    let shop = Shop::open().await;
    let first = shop.order_with_key("lunch-1", &one("ada", 1)).await;
    let again = shop.order_with_key("\"lunch-1\"", &one("ada", 1)).await;
    assert_eq!(
        (first.status, again.status),
        (StatusCode::CREATED, StatusCode::CREATED)
    );
    assert_eq!(first.body, again.body);
    assert_eq!(shop.stock(1).await, 49);
    let other = shop.order_with_key("lunch-1", &one("ada", 2)).await;
    other.problem(422, "idempotency-key");
}

#[tokio::test]
async fn what_is_kept_of_a_key_is_small_whatever_was_sent_with_it() {
    let shop = Shop::open().await;
    let order = |note: String| {
        let items = json!([{ "dish_id": 9999, "quantity": 1 }]);
        json!({ "user_id": "ada", "items": items, "note": note })
    };
    for key in ["first", "second"] {
        let answer = shop.order_with_key(key, &order("x".repeat(60_000))).await;
        answer.problem(404, "items[0].dish_id");
    }
    let other = order("y".repeat(60_000));
    let other = shop.order_with_key("first", &other).await;
    other.problem(422, "idempotency-key");
    let url = crate::client::database_in(&shop.folder);
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let question = "SELECT max(length(request)) FROM idempotency_keys";
    let longest = sqlx::query_scalar(question).fetch_one(&mut connection);
    let longest: i64 = longest.await.unwrap();
    assert!(longest < 100, "{longest}");
}

#[tokio::test]
async fn a_key_answers_a_refusal_the_same_again() {
    let shop = Shop::open().await;
    let all = |dish| json!({ "user_id": "ada", "items": [{ "dish_id": dish, "quantity": 50 }] });
    let much = json!({ "user_id": "bob", "items": [{ "dish_id": 1, "quantity": 51 }] });
    let first = shop.order_with_key("k", &much).await;
    assert_eq!(shop.order(&all(1)).await.status, StatusCode::CREATED);
    let again = shop.order_with_key("k", &much).await;
    assert_eq!(
        (first.status, again.status),
        (StatusCode::CONFLICT, StatusCode::CONFLICT)
    );
    assert_eq!(first.body, again.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_sent_fifty_times_at_once_orders_once_and_is_answered_the_same_each_time() {
    let shop = Shop::open().await;
    let address = shop.address();
    let mut sent = JoinSet::new();
    for _ in 0..50 {
        let key = [("idempotency-key", "same")];
        sent.spawn(
            async move { crate::client::post(address, "/orders", &key, &one("ada", 1)).await },
        );
    }
    let answers = sent.join_all().await;
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::CREATED);
        assert_eq!(answer.body, answers[0].body);
    }
    assert_eq!(shop.stock(1).await, 49);
}

#[tokio::test]
async fn an_order_whose_client_went_away_is_brought_to_its_end() {
    let shop = Shop::open_with(|config| {
        config.payment.head_start = std::time::Duration::from_millis(100);
        config.payment.answer = std::time::Duration::from_millis(500);
    })
    .await;
    shop.fault("hang").await;
    let address = shop.address();
    let waiting =
        tokio::spawn(
            async move { crate::client::post(address, "/orders", &[], &one("ada", 1)).await },
        );
    eventually(async || shop.stock(1).await == 49).await;
    waiting.abort();
    shop.fault("none").await;
    eventually(async || {
        let figures = shop.get("/health/ready").await.json();
        figures["unsettled_orders"] == 0
    })
    .await;
    assert_eq!(shop.stock(1).await, 49);
}
