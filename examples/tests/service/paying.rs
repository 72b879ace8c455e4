use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use crate::client::{Answer, Shop, eventually, one};

fn order_id(answer: &Answer) -> String {
    let body: Value = answer.json();
    body["order_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_declined_payment_orders_nothing() {
    let shop = Shop::open().await;
    shop.fault("decline").await;
    let answer = shop.order(&one("ada", 1)).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.json()["reason"], "payment_declined");
    assert_eq!(shop.stock(1).await, 50);
    let order = shop
        .get(&format!("/orders/{}", order_id(&answer)))
        .await
        .json();
    assert_eq!(order["status"], "cancelled");
}

#[tokio::test]
async fn an_order_that_cannot_be_paid_now_is_kept_and_paid_later() {
    let shop = Shop::open_with(|config| {
        config.payment.first_retry = Duration::from_millis(20);
        config.payment.circuit_open = Duration::from_millis(50);
    })
    .await;
    shop.fault("error").await;
    let answer = shop.order_with_key("k", &one("ada", 1)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds >= 1);
    assert_eq!(answer.json()["order_status"], "pending_payment");
    let order = order_id(&answer);
    let again = shop.order_with_key("k", &one("ada", 1)).await;
    assert_eq!(
        (again.status, order_id(&again)),
        (StatusCode::SERVICE_UNAVAILABLE, order.clone())
    );
    assert!(again.headers.contains_key("retry-after"));
    shop.fault("none").await;
    shop.becomes(&order, "paid").await;
    let paid = shop.order_with_key("k", &one("ada", 1)).await;
    assert_eq!((paid.status, order_id(&paid)), (StatusCode::CREATED, order));
    assert_eq!(shop.stock(1).await, 49);
}

#[tokio::test]
async fn an_order_that_is_not_paid_in_time_is_voided_and_cancelled() {
    let shop = Shop::open_with(|config| {
        config.payment.answer = Duration::from_millis(100);
        config.payment.first_retry = Duration::from_millis(20);
        config.payment.circuit_open = Duration::from_millis(50);
        config.payment.give_up = Duration::from_millis(1);
    })
    .await;
    // The provider charges and never says so: only its word that the charge is void may free the
    // portion.
    shop.fault("hang").await;
    let answer = shop.order(&one("ada", 1)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let order = order_id(&answer);
    shop.becomes(&order, "cancelling").await;
    assert_eq!(shop.stock(1).await, 49);
    shop.fault("none").await;
    shop.becomes(&order, "cancelled").await;
    assert_eq!(shop.stock(1).await, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_sold_twice_while_the_provider_comes_and_goes() {
    let shop = Shop::open_with(|config| {
        config.payment.answer = Duration::from_millis(100);
        config.payment.first_retry = Duration::from_millis(20);
        config.payment.circuit_open = Duration::from_millis(50);
    })
    .await;
    let mut paid = 0;
    let mut kept = Vec::new();
    for fault in ["error", "none", "hang", "none", "error", "none"] {
        shop.fault(fault).await;
        for buyer in 0..12 {
            let answer = shop.order(&one(&format!("{fault}-{buyer}"), 1)).await;
            match answer.status {
                StatusCode::CREATED => paid += 1,
                StatusCode::SERVICE_UNAVAILABLE => kept.push(order_id(&answer)),
                StatusCode::CONFLICT => assert_eq!(answer.json()["reason"], "sold_out"),
                other => panic!("{other}: {}", answer.text()),
            }
        }
    }
    for order in &kept {
        shop.becomes(order, "paid").await;
    }
    assert_eq!(paid + kept.len(), 50);
    assert_eq!(shop.stock(1).await, 0);
    eventually(async || shop.get("/health/ready").await.json()["unsettled_orders"] == 0).await;
}

#[tokio::test]
async fn a_circuit_that_is_open_keeps_orders_and_says_when_to_come_back() {
    let shop = Shop::open_with(|config| {
        config.payment.circuit_open = Duration::from_secs(2);
    })
    .await;
    shop.fault("error").await;
    let mut orders = Vec::new();
    let refused = loop {
        let answer = shop.order(&one("ada", 1)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        orders.push(order_id(&answer));
        if answer.json()["reason"] == "circuit_open" {
            break answer;
        }
        assert!(orders.len() < 10, "the circuit stays closed");
    };
    assert_eq!(refused.json()["policy"], "payment");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&seconds), "{seconds}");
    let ready = shop.get("/health/ready").await;
    assert_eq!(ready.status, StatusCode::OK, "orders are still taken");
    assert_eq!(ready.json()["payment_circuit"], "open");
    shop.fault("none").await;
    for order in &orders {
        shop.becomes(order, "paid").await;
    }
    assert_eq!(
        usize::try_from(shop.stock(1).await).unwrap(),
        50 - orders.len()
    );
}
