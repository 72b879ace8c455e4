//! What is due is given back in steps, and nothing is kept for ever.

use redis::AsyncCommands as _;
use resilience_redis::stock::{Confirmed, Error, Once, Policy};

use super::{COUNTS, DAY, DUE, MOMENT, ORDERS, filled, lasting, left};
use crate::support::{RedisServer, eventually};

#[tokio::test]
async fn whoever_looks_after_what_is_due_does_so_in_steps() {
    let server = RedisServer::start().await;
    let stock = server.stock(lasting().reservation(MOMENT)).await;
    stock.fill([(1_u64, 250)]).await.expect("filled");
    let orders = server.stock(lasting().reservation(DAY)).await;
    for order in 0..250_u64 {
        orders.reserve(&order, &[(1_u64, 1)]).await.expect("units");
    }
    all_is_due(&server).await;
    let mut expired = Vec::new();
    loop {
        let reaped = stock.reap(100).await.expect("reaped");
        expired.push(reaped.expired);
        if !reaped.more {
            break;
        }
    }
    assert_eq!(expired, [100, 100, 50]);
    assert_eq!(left(&stock, 1).await, Some(250));
}

/// All that is reserved is due at once.
async fn all_is_due(server: &RedisServer) {
    let mut raw = server.raw().await;
    let ids: Vec<String> = raw.zrange(DUE, 0, -1).await.expect("ids");
    let due: Vec<_> = ids.into_iter().map(|id| (0, id)).collect();
    let () = raw.zadd_multiple(DUE, &due).await.expect("due");
}

#[tokio::test]
async fn who_reserves_again_has_all_of_the_time_again() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(1, 5)]).await;
    stock.reserve("a", &[(1_u64, 1)]).await.expect("units");
    all_is_due(&server).await;
    let again = stock.reserve("a", &[(1_u64, 1)]).await;
    assert_eq!(again, Ok(Once::Before));
    assert_eq!(stock.reap(10).await.expect("reaped").expired, 0);
    assert_eq!(stock.confirm("a").await, Ok(Confirmed::Now));
}

#[tokio::test]
async fn nobody_is_told_that_it_is_sold_out_while_there_are_units_that_are_due() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(1, 20)]).await;
    for order in 0..20_u64 {
        stock.reserve(&order, &[(1_u64, 1)]).await.expect("units");
    }
    all_is_due(&server).await;
    assert_eq!(stock.reserve("late", &[(1_u64, 20)]).await, Ok(Once::Now));
}

/// Whoever comes too late clears up after those who left, and holds up nobody for long.
#[tokio::test]
async fn what_one_call_clears_up_is_bounded_by_items() {
    let server = RedisServer::start().await;
    let stock = server.stock(lasting()).await;
    let items: Vec<(u64, u64)> = (0..100).map(|item| (item, 1)).collect();
    let counts = items.iter().map(|&(item, _)| (item, 1000));
    stock.fill(counts.chain([(1000, 0)])).await.expect("filled");
    for order in 0..40_u64 {
        stock.reserve(&order, &items).await.expect("units");
    }
    all_is_due(&server).await;
    let sold_out = Err(Error::SoldOut { item: 0, left: 0 });
    let written = async || {
        let stats: String = server.ask("INFO commandstats").await;
        let (_, calls) = stats.split_once("cmdstat_hset:calls=").expect("a hash");
        let (calls, _) = calls.split_once(',').expect("a number");
        calls.parse::<u64>().expect("a number")
    };
    let before = written().await;
    let late = stock.reserve("late", &[(1000_u64, 1)]).await;
    assert_eq!(late, sold_out);
    let first = written().await - before;
    // At least the two orders that keep up with those that come in.
    assert!((200..1000).contains(&first), "{first}");
    let reaped = stock.reap(1000).await.expect("reaped");
    assert!(reaped.more);
    let second = written().await - before - first;
    assert!((100..500).contains(&second), "{second}");
    while stock.reap(1000).await.expect("reaped").more {}
    assert_eq!(left(&stock, 99).await, Some(1000));
}

#[tokio::test]
async fn nothing_is_kept_for_longer_than_it_is_good_for() {
    let server = RedisServer::start().await;
    let brief = lasting().reservation(MOMENT).remember(MOMENT);
    let stock = server.stock(brief).await;
    stock.fill([(1_u64, 10_000)]).await.expect("filled");
    let mut raw = server.raw().await;
    for order in 0..1000_u64 {
        stock.reserve(&order, &[(1_u64, 1)]).await.expect("units");
        if order % 3 == 0 {
            stock.confirm(&order).await.expect("reserved");
        }
    }
    let kept: u64 = raw.hlen(ORDERS).await.expect("orders");
    assert!(kept < 500, "{kept} orders are kept");
    for key in [COUNTS, ORDERS, DUE] {
        assert!(raw.pttl::<_, i64>(key).await.expect("a life") > 0, "{key}");
    }
    eventually(async || {
        stock.reap(1000).await.expect("reaped");
        let kept: bool = raw.exists(ORDERS).await.expect("an answer");
        (!kept).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_order_is_known_for_as_long_as_anybody_asked_for() {
    let server = RedisServer::start().await;
    let stock = server.stock(lasting()).await;
    let hasty = Policy::new("test")
        .reservation(MOMENT)
        .life(MOMENT)
        .remember(MOMENT);
    let hasty = server.stock(hasty).await;
    stock.fill([(1_u64, 5)]).await.expect("filled");
    stock.reserve("b", &[(1_u64, 1)]).await.expect("units");
    let lives = async || {
        let orders: u64 = server.ask(&format!("PTTL {ORDERS}")).await;
        orders.min(server.ask(&format!("PTTL {DUE}")).await)
    };
    let mut raw = server.raw().await;
    let day = 86_400_000_u64;
    for (last, least) in [
        ("reserve", 2 * day),
        ("confirm", day - 60_000),
        ("release", day - 60_000),
    ] {
        for key in [ORDERS, DUE] {
            let () = raw.persist(key).await.expect("an answer");
            let _: bool = raw.pexpire(key, 10_000).await.expect("an answer");
        }
        match last {
            "reserve" => drop(stock.reserve("a", &[(1_u64, 1)]).await.expect("units")),
            "confirm" => drop(stock.confirm("a").await.expect("reserved")),
            _ => drop(stock.release("b").await.expect("reserved")),
        }
        assert!(lives().await > least, "{last}");
        // One whose terms are others takes nothing from it.
        hasty.reserve(last, &[(1_u64, 1)]).await.expect("units");
        hasty.release(last).await.expect("reserved");
        assert!(lives().await > least, "{last}");
    }
}
