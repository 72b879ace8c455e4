//! Several gateways that share a database and a Redis server.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, StatusCode};
use ordering::{Config, FleetSettings, fleet::Fleet, stack::Pages, store::Store};
use resilience_core::Environment;
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::TcpSocket, time::timeout};

use crate::{
    client::{Answer, Shop, database_in, eventually, one, send_on},
    redis::Redis,
};

/// A shop for which a loaded machine is no outage, and in which only orders come to the database.
async fn shop_on(redis: &Redis) -> Shop {
    shop_in(Arc::new(tempfile::tempdir().unwrap()), redis).await
}

async fn shop_in(folder: Arc<TempDir>, redis: &Redis) -> Shop {
    shop_with(folder, redis, |_| {}).await
}

async fn shop_with(
    folder: Arc<TempDir>,
    redis: &Redis,
    change: impl FnOnce(&mut FleetSettings),
) -> Shop {
    let target = redis.url().parse().unwrap();
    Shop::open_in(folder, |config| {
        config.redis = Some(target);
        config.fleet.answer = HOUR / 60;
        config.fleet.recount = HOUR;
        config.fleet.remind = HOUR;
        config.fleet.cooks = 0;
        change(&mut config.fleet);
        config.payment.head_start = HOUR;
    })
    .await
}

const HOUR: Duration = Duration::from_secs(3600);

/// Orders until the counts say that the dish is sold out, and the database need not be asked.
async fn buy_all(shop: &Shop, dish: i64) {
    eventually(async || {
        let before = shop.statements().await;
        let answer = shop.order(&one("ada", dish)).await;
        answer.status == StatusCode::CONFLICT && shop.statements().await == before
    })
    .await;
}

#[tokio::test]
async fn whoever_comes_too_late_costs_the_database_nothing() {
    let redis = Redis::start().await;
    let shop = shop_on(&redis).await;
    buy_all(&shop, 1).await;
    assert_eq!(shop.stock(1).await, 0);
    let before = shop.statements().await;
    for _ in 0..20 {
        let problem = shop
            .order(&one("ada", 1))
            .await
            .problem(409, "items[0].quantity");
        assert_eq!(
            (&problem["reason"], &problem["available"]),
            (&json!("sold_out"), &json!(0))
        );
    }
    assert_eq!(shop.statements().await, before);
    // With a key it is answered the same again, and only the database knows what was.
    let first = shop.order_with_key("k", &one("ada", 1)).await;
    let again = shop.order_with_key("k", &one("ada", 1)).await;
    assert_eq!(
        (first.status, &first.body),
        (StatusCode::CONFLICT, &again.body)
    );
}

#[tokio::test]
async fn a_key_that_has_ordered_is_told_so_when_all_is_sold() {
    let redis = Redis::start().await;
    let shop = shop_on(&redis).await;
    let first = shop.order_with_key("k", &one("ada", 1)).await;
    assert_eq!(first.status, StatusCode::CREATED);
    buy_all(&shop, 1).await;
    let again = shop.order_with_key("k", &one("ada", 1)).await;
    assert_eq!((again.status, again.body), (first.status, first.body));
}

#[tokio::test]
async fn portions_of_an_order_that_came_to_nothing_are_sold_to_others() {
    let redis = Redis::start().await;
    let shop = shop_on(&redis).await;
    let all = json!({ "user_id": "ada", "items": [{ "dish_id": 1, "quantity": 50 }] });
    // The first order finds nothing counted.
    assert_eq!(shop.order(&one("bob", 2)).await.status, StatusCode::CREATED);
    shop.fault("decline").await;
    for _ in 0..3 {
        let declined = shop.order(&all).await;
        assert_eq!(declined.status, StatusCode::PAYMENT_REQUIRED);
    }
    shop.fault("none").await;
    assert_eq!(shop.order(&all).await.status, StatusCode::CREATED);
    assert_eq!(shop.stock(1).await, 0);
}

#[tokio::test]
async fn gateways_that_start_without_redis_serve_alone_and_meet_when_it_comes() {
    let mut redis = Redis::start().await;
    redis.kill();
    let cooks = |fleet: &mut FleetSettings| {
        fleet.cooks = 1;
        fleet.remind = Duration::from_millis(50);
    };
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let first = shop_with(folder.clone(), &redis, cooks).await;
    let second = shop_with(folder, &redis, cooks).await;
    let gateways = [&first, &second];
    for shop in gateways {
        let sold = shop.order(&one("ada", 1)).await;
        assert_eq!(sold.status, StatusCode::CREATED);
        shows(shop, shop.stock(1).await).await;
        let nobodys = shop.get("/dishes/1000").await;
        assert_eq!(nobodys.status, StatusCode::NOT_FOUND);
    }
    let sold = second.order(&one("ada", 2)).await.json();
    let sold = format!("/orders/{}", sold["order_id"].as_str().unwrap());

    redis.start_again().await;
    // What was paid meanwhile is cooked, and all that gateways share is there.
    eventually(async || first.get(&sold).await.json()["cooked_at_ms"].is_number()).await;
    buy_all(&first, 1).await;
    let mut nobodys = 1000;
    for shop in gateways {
        eventually(async || shop.stats().await["rate_limit"]["client"]["nodes"] == 2).await;
        eventually(async || {
            nobodys += 1;
            let before = shop.statements().await;
            let answer = shop.get(&format!("/dishes/{nobodys}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
            shop.statements().await == before
        })
        .await;
    }
}

#[tokio::test]
async fn a_gateway_that_redis_does_not_let_in_does_not_start() {
    let redis = Redis::start().await;
    let url = redis.url().replace("redis://", "redis://nobody:wrong@");
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new("127.0.0.1:0", database_in(&folder));
    config.redis = Some(url.parse().unwrap());
    let refused = ordering::start(config).await.unwrap_err().to_string();
    assert!(refused.contains("redis does not allow this"), "{refused}");
    assert!(!refused.contains("wrong"), "{refused}");
}

#[tokio::test]
async fn a_page_that_one_gateway_made_no_other_need_make() {
    let redis = Redis::start().await;
    let one = shop_on(&redis).await;
    let other = shop_in(one.folder.clone(), &redis).await;
    let mut dish = 0;
    // What is made is there for the others a moment after it was sent.
    eventually(async || {
        dish += 1;
        let path = format!("/dishes/{dish}");
        let made = one.get(&path).await;
        let before = other.statements().await;
        let same = other.get(&path).await;
        assert_eq!((made.status, &made.body), (StatusCode::OK, &same.body));
        other.statements().await == before
    })
    .await;
}

#[tokio::test]
async fn a_dish_that_one_gateway_adds_all_have() {
    let redis = Redis::start().await;
    let shop = shop_on(&redis).await;
    let mut nobodys = 1000;
    let costs_nothing = async || {
        nobodys += 1;
        let before = shop.statements().await;
        let answer = shop.get(&format!("/dishes/{nobodys}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        shop.statements().await == before
    };
    eventually(costs_nothing).await;
    assert_eq!(shop.get("/dishes/201").await.status, StatusCode::NOT_FOUND);

    let mut config = Config::new("127.0.0.1:0", database_in(&shop.folder));
    config.redis = Some(redis.url().parse().unwrap());
    config.fleet.answer = HOUR / 60;
    let fleet = Fleet::join(&config).await.unwrap().unwrap();
    let pages = Pages::new(Some(&fleet), &Environment::new()).unwrap();
    let store = Store::open(config.database_url.as_str(), &pages)
        .await
        .unwrap();
    assert_eq!(store.add_dish("Soup", 900, 5).await.unwrap(), 201);
    eventually(async || shop.get("/dishes/201").await.status == StatusCode::OK).await;
}

#[tokio::test]
async fn a_gateway_with_another_seed_lets_all_numbers_pass_and_takes_no_dish_for_none() {
    let redis = Redis::start().await;
    let shop = shop_on(&redis).await;
    let change = |config: &mut Config| {
        config.redis = Some(redis.url().parse().unwrap());
        config.fleet.answer = HOUR / 60;
        let seed = "01".repeat(16) + &"02".repeat(16);
        config.filter_seed = Some(seed.parse().unwrap());
    };
    let stranger = Shop::open_in(shop.folder.clone(), change).await;
    let mut nobodys = 1000;
    // Whether a number that is no dish's costs `gateway` nothing.
    let mut is_known = async |gateway: &Shop| {
        nobodys += 1;
        let before = gateway.statements().await;
        let answer = gateway.get(&format!("/dishes/{nobodys}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        gateway.statements().await == before
    };
    eventually(async || is_known(&shop).await).await;
    for dish in [1, 2, 200] {
        for gateway in [&shop, &stranger] {
            let page = gateway.get(&format!("/dishes/{dish}")).await;
            assert_eq!(page.status, StatusCode::OK);
        }
    }
    for _ in 0..10 {
        assert!(!is_known(&stranger).await, "its filter is none of ours");
        assert!(is_known(&shop).await);
    }

    // What it adds the others cannot know, and let everything pass until one of them has listed all.
    let mut config = Config::new("127.0.0.1:0", database_in(&shop.folder));
    change(&mut config);
    let fleet = Fleet::join(&config).await.unwrap().unwrap();
    let pages = Pages::new(Some(&fleet), &Environment::new()).unwrap();
    let store = Store::open(config.database_url.as_str(), &pages)
        .await
        .unwrap();
    assert_eq!(store.add_dish("Soup", 900, 5).await.unwrap(), 201);
    eventually(async || shop.get("/dishes/201").await.status == StatusCode::OK).await;
    eventually(async || is_known(&shop).await).await;
    let page = shop.get("/dishes/201").await;
    assert_eq!(page.status, StatusCode::OK);
}

#[tokio::test]
async fn what_one_gateway_sells_the_pages_of_all_show() {
    let mut redis = Redis::start().await;
    let seller = shop_on(&redis).await;
    let other = shop_in(seller.folder.clone(), &redis).await;
    for left in (45..50).rev() {
        // Both have a page that will not be true any more.
        assert_eq!(seller.stock(1).await, left + 1);
        shows(&other, left + 1).await;
        let sold = seller.order(&one("ada", 1)).await;
        assert_eq!(sold.status, StatusCode::CREATED);
        assert_eq!(seller.stock(1).await, left);
        shows(&other, left).await;
    }
    redis.kill();
    let sold = seller.order(&one("ada", 1)).await;
    assert_eq!(sold.status, StatusCode::CREATED);
    assert_eq!(seller.stock(1).await, 44);
    shows(&other, 44).await;
}

#[tokio::test]
async fn a_client_has_one_quota_in_all_gateways_and_each_a_part_of_it_without_redis() {
    const QUOTA: u32 = 6;
    let mut redis = Redis::start().await;
    let target: resilience_redis::Target = redis.url().parse().unwrap();
    let open = async || {
        Shop::open_with(|config| {
            config.redis = Some(target.clone());
            config.requests_per_client = QUOTA;
            // Whoever waits longer than this for Redis decides alone.
            config.fleet.answer = Duration::from_secs(1);
        })
        .await
    };
    let gateways = [open().await, open().await];
    // A client of its own each time: a quota that is used up comes back after ten seconds.
    let mut clients = 2..;
    // How many of its requests are served, sent to these gateways in turn.
    let mut served = async |gateways_asked: &[usize]| {
        let client = clients.next().unwrap();
        let mut served = [0, 0];
        for gateway in gateways_asked.repeat(2 * QUOTA as usize / gateways_asked.len()) {
            let answer = get_from(client, gateways[gateway].address(), "/page.css").await;
            match answer.status {
                StatusCode::OK => served[gateway] += 1,
                other => assert_eq!(other, StatusCode::TOO_MANY_REQUESTS),
            }
        }
        served
    };
    assert_eq!(served(&[0, 1]).await, [3, 3]);
    assert_eq!(served(&[0]).await, [6, 0]);
    // Each must know of the other, or it would take all for its own part.
    for gateway in &gateways {
        eventually(async || {
            get_from(1, gateway.address(), "/page.css").await;
            gateway.stats().await["rate_limit"]["client"]["nodes"] == 2
        })
        .await;
    }
    redis.kill();
    assert_eq!(served(&[0, 1]).await, [3, 3]);
    assert_eq!(served(&[0]).await, [3, 0]);
    let limit = &gateways[0].stats().await["rate_limit"]["client"];
    let calls = |figure: &str, source: &str| limit[figure][source].as_u64().unwrap();
    assert!(calls("admitted", "redis") >= 3 + 6, "{limit}");
    assert!(calls("admitted", "degraded") >= 3 + 3, "{limit}");
    assert!(calls("refused", "degraded") >= 3 + 9, "{limit}");
    assert!(
        calls("refused", "redis") + calls("refused", "denied_locally") >= 3 + 6,
        "{limit}"
    );
    redis.start_again().await;
    // For a window after it is back the part holds as well: nothing is served twice.
    eventually(async || served(&[0]).await == [6, 0]).await;
}

/// What `address` answers to the client at this address of the loopback.
async fn get_from(client: u16, address: SocketAddr, path: &str) -> Answer {
    let socket = TcpSocket::new_v4().unwrap();
    let [high, low] = client.to_be_bytes();
    socket.bind(([127, 0, high, low], 0).into()).unwrap();
    let stream = socket.connect(address).await.unwrap();
    send_on(stream, Request::get(path), "").await
}

/// Waits until `shop` shows that so many portions of the first dish are left: not for so long that
/// the page would have come to its end.
async fn shows(shop: &Shop, left: i64) {
    let shown = eventually(async || {
        let menu = shop.get("/dishes").await.json();
        shop.stock(1).await == left && menu[0]["stock"] == left
    });
    timeout(Duration::from_secs(30), shown).await.unwrap();
}

#[tokio::test]
async fn a_full_kitchen_takes_no_more_orders_and_forgets_none_that_was_paid() {
    let mut redis = Redis::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let nobody_cooks = |fleet: &mut FleetSettings| {
        fleet.kitchen_queue = 2;
        fleet.turn_away = HOUR;
        // Either gateway may be the one that does.
        fleet.remind = Duration::from_millis(50);
    };
    let shop = shop_with(folder.clone(), &redis, nobody_cooks).await;
    let first = shop.order_with_key("k", &one("ada", 1)).await.json();
    let mut paid = vec![first["order_id"].as_str().unwrap().to_owned()];
    let refused = loop {
        let answer = shop.order(&one("ada", 1)).await;
        if answer.status != StatusCode::CREATED {
            break answer;
        }
        paid.push(answer.json()["order_id"].as_str().unwrap().to_owned());
    };
    let known = shop.order_with_key("k", &one("ada", 1)).await;
    assert_eq!(
        known.status,
        StatusCode::CREATED,
        "a key is answered the same again"
    );
    // Two wait in the queue; the third one found it full, and waits in the database.
    assert_eq!(paid.len(), 3);
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.json()["reason"], "kitchen_full");
    assert_eq!(refused.header("retry-after"), Some("3600"));
    assert_eq!(shop.stock(1).await, 47);

    // What was in the queue is forgotten.
    redis.kill();
    redis.start_again().await;
    let somebody_cooks = |fleet: &mut FleetSettings| {
        fleet.kitchen_queue = 2;
        fleet.remind = Duration::from_millis(50);
        fleet.cooks = 1;
    };
    let kitchen = shop_with(folder, &redis, somebody_cooks).await;
    for order in &paid {
        let path = format!("/orders/{order}");
        eventually(async || kitchen.get(&path).await.json()["cooked_at_ms"].is_number()).await;
    }
    eventually(async || kitchen.order(&one("ada", 1)).await.status == StatusCode::CREATED).await;
}
