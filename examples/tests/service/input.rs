use http::{Request, StatusCode, header};
use serde_json::{Value, json};

use crate::client::{Shop, one, send};

#[tokio::test]
async fn bad_orders_are_told_which_field_is_bad() {
    let shop = Shop::open().await;
    let user = |user: Value| json!({ "user_id": user, "items": [{ "dish_id": 1, "quantity": 1 }] });
    let items = |items: Value| json!({ "user_id": "ada", "items": items });
    let item = |dish: Value, quantity: Value| {
        items(json!([{ "dish_id": 1, "quantity": 1 }, { "dish_id": dish, "quantity": quantity }]))
    };
    let cases = [
        (json!([]), "body"),
        (json!({ "items": [] }), "user_id"),
        (user(json!("")), "user_id"),
        (user(json!(7)), "user_id"),
        (user(json!("a".repeat(129))), "user_id"),
        (user(json!("a\u{0}b")), "user_id"),
        (json!({ "user_id": "ada" }), "items"),
        (items(json!([])), "items"),
        (items(json!("all")), "items"),
        (
            items(json!(vec![json!({ "dish_id": 1, "quantity": 1 }); 51])),
            "items",
        ),
        (items(json!([1])), "items[0]"),
        (item(json!("1"), json!(1)), "items[1].dish_id"),
        (item(json!(-1), json!(1)), "items[1].dish_id"),
        (item(json!(1.5), json!(1)), "items[1].dish_id"),
        (item(json!(u64::MAX), json!(1)), "items[1].dish_id"),
        (item(json!(1), json!(0)), "items[1].quantity"),
        (item(json!(1), json!(101)), "items[1].quantity"),
        (item(json!(1), json!(100)), "items[1].quantity"),
        (item(json!(1), json!(null)), "items[1].quantity"),
        (item(json!(1), json!(-1)), "items[1].quantity"),
    ];
    for (body, field) in cases {
        shop.order(&body).await.problem(400, field);
    }
    assert_eq!(shop.stock(1).await, 50);
}

#[tokio::test]
async fn the_largest_order_is_taken() {
    let shop = Shop::open().await;
    let items: Vec<_> = (1..=50)
        .map(|dish| json!({ "dish_id": dish, "quantity": 1 }))
        .collect();
    let body = json!({ "user_id": "ü".repeat(128), "items": items });
    assert_eq!(shop.order(&body).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn requests_that_are_no_orders_are_told_why() {
    let shop = Shop::open().await;
    let address = shop.address();
    let order = || Request::post("/orders").header(header::CONTENT_TYPE, "application/json");
    send(address, order(), "{\"user_id\":")
        .await
        .problem(400, "body");
    send(address, order(), "").await.problem(400, "body");
    send(address, order(), "[".repeat(10_000))
        .await
        .problem(400, "body");
    let text = Request::post("/orders").header(header::CONTENT_TYPE, "text/plain");
    send(address, text, one("ada", 1).to_string())
        .await
        .problem(415, "content-type");
    send(address, Request::post("/orders"), "{}")
        .await
        .problem(415, "content-type");
    send(address, order(), " ".repeat(64 * 1024 + 1))
        .await
        .problem(413, "body");
    send(address, order(), " ".repeat(512 * 1024))
        .await
        .problem(413, "body");
    let delete = send(address, Request::delete("/orders"), "").await;
    delete.problem(405, "method");
    assert_eq!(delete.header("allow"), Some("POST"));
    let key = "k".repeat(256);
    shop.order_with_key(&key, &one("ada", 1))
        .await
        .problem(400, "idempotency-key");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let shop = Shop::open().await;
    for path in ["/dishes/0", "/dishes/201", "/dishes/-1", "/orders/none"] {
        shop.get(path).await.problem(404, "id");
    }
    for path in [
        "/dishes/soup",
        "/dishes/1.5",
        "/dishes/99999999999999999999",
    ] {
        shop.get(path).await.problem(400, "id");
    }
    let problem = shop.get("/menu").await.problem(404, "path");
    assert_eq!(problem["reason"], "not_found");
    let bytes = shop.get("/dishes/%ff").await;
    bytes.problem(400, "id");
}

#[tokio::test]
async fn switches_are_checked_too() {
    let shop = Shop::open().await;
    for body in [json!({}), json!({ "mode": "of" }), json!({ "mode": 1 })] {
        shop.post("/admin/payment-fault", &body)
            .await
            .problem(400, "mode");
    }
    assert_eq!(
        shop.get("/admin/payment-fault").await.json()["mode"],
        "none"
    );
}
