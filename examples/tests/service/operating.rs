use http::{Request, StatusCode};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};
use tokio::task::JoinSet;

use crate::client::{Shop, eventually, one, send};

#[tokio::test]
async fn a_database_that_is_away_makes_the_service_not_ready_and_leaves_it_live() {
    let shop = Shop::open().await;
    assert_eq!(shop.get("/health/ready").await.status, StatusCode::OK);
    std::fs::remove_file(shop.folder.path().join("ordering.db")).unwrap();
    let ready = shop.get("/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["database"], "away");
    assert_eq!(shop.get("/health/live").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_handler_that_panics_costs_one_answer() {
    let shop = Shop::open().await;
    let answer = shop.post("/admin/panic", &json!({})).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(answer.json()["reason"], "panicked");
    assert!(answer.headers.contains_key("x-request-id"));
    assert!(
        !answer.text().contains("asked for"),
        "the message is for the log"
    );
    assert_eq!(shop.get("/dishes/1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn figures_have_routes_and_never_paths() {
    let shop = Shop::open().await;
    shop.order(&one("zebra-9", 1)).await;
    shop.get("/dishes/7").await;
    shop.get("/nothing/here").await;
    let answer = shop.get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    let text = answer.text();
    assert!(
        text.contains("http_server_request_duration_seconds_bucket"),
        "{text}"
    );
    assert!(text.contains("http_route=\"/dishes/{id}\""), "{text}");
    assert!(text.contains("ordering_orders_total{"), "{text}");
    for figure in [
        "resilience_rate_limit_decisions_total{",
        "resilience_concurrency_decisions_total{",
        "resilience_circuit_breaker_calls_total{",
        "resilience_panics_total{",
        "resilience_bloom_guard_checks_total{",
        "resilience_cache_lookups_total{",
        "policy=\"payment\"",
        "policy=\"client\"",
    ] {
        assert!(text.contains(figure), "{figure} in {text}");
    }
    assert!(!text.contains("/dishes/7") && !text.contains("nothing") && !text.contains("zebra"));
}

#[tokio::test]
async fn a_request_keeps_a_good_id_and_gets_one_instead_of_a_bad_one() {
    let shop = Shop::open().await;
    let ask = async |id: Option<&str>| {
        let mut request = Request::get("/dishes/1");
        if let Some(id) = id {
            request = request.header("x-request-id", id);
        }
        let answer = send(shop.address(), request, "").await;
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(ask(Some("lunch-7.a_b:c")).await, "lunch-7.a_b:c");
    assert_eq!(ask(None).await.len(), 16);
    assert_eq!(ask(Some("a b\"")).await.len(), 16);
    assert_eq!(ask(Some(&"x".repeat(129))).await.len(), 16);
    assert_ne!(ask(None).await, ask(None).await);
}

#[tokio::test]
async fn the_page_runs_nothing_but_its_own_script() {
    let shop = Shop::open().await;
    let page = shop.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"));
    for file in ["/page.css", "/page.js"] {
        assert!(page.text().contains(file));
        assert_eq!(shop.get(file).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn data_outlives_a_restart() {
    let shop = Shop::open().await;
    let order = shop.order(&one("ada", 1)).await.json();
    let path = format!("/orders/{}", order["order_id"].as_str().unwrap());
    let folder = shop.folder;
    assert_eq!(
        shop.running
            .shutdown(std::time::Duration::from_secs(10))
            .await,
        0
    );
    let config = ordering::Config::new("127.0.0.1:0", crate::client::database_in(&folder));
    let shop = Shop {
        running: ordering::start(config).await.unwrap(),
        folder,
    };
    assert_eq!(shop.stock(1).await, 49);
    eventually(async || shop.get(&path).await.json()["status"] == "paid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_asks_at_once_how_the_service_is_looks_at_the_database_together() {
    let shop = Shop::open().await;
    let before = shop.statements().await;
    let asked = 400;
    let mut crowd = JoinSet::new();
    for _ in 0..asked {
        crowd.spawn(crate::client::get(shop.address(), "/health/ready"));
    }
    let answers = crowd.join_all().await;
    assert!(answers.iter().all(|it| it.status == StatusCode::OK));
    // Two statements a look.
    let looked = (shop.statements().await - before) / 2;
    assert!(looked < asked / 2, "{looked} of {asked}");
}

#[tokio::test]
async fn a_database_of_the_first_version_gets_what_it_lacks() {
    let shop = Shop::open().await;
    let folder = shop.folder;
    let patience = std::time::Duration::from_secs(10);
    assert_eq!(shop.running.shutdown(patience).await, 0);
    let url = crate::client::database_in(&folder);
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let script = "DROP TABLE tickets; PRAGMA user_version = 1";
    sqlx::raw_sql(script)
        .execute(&mut connection)
        .await
        .unwrap();
    let shop = Shop::open_in(folder, |_| {}).await;
    let order = shop.order(&one("ada", 1)).await.json();
    let path = format!("/orders/{}", order["order_id"].as_str().unwrap());
    assert_eq!(shop.get(&path).await.json()["cooked_at_ms"], json!(null));
    let version: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(version, 2);
}
