//! What is reserved, for whom, and how often.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::AsyncCommands as _;
use resilience_redis::{
    RedisStore, StoreError,
    stock::{Confirmed, End, Error, Filled, Once, Policy, Stock},
};
use tokio::task::JoinSet;

use crate::support::{History, RedisServer, Sequential, eventually, patient};

const COUNTS: &str = "resilience:stock:{test:kitchen}";
const ORDERS: &str = "resilience:stock:{test:kitchen}:orders";
const DUE: &str = "resilience:stock:{test:kitchen}:due";
const DAY: Duration = Duration::from_secs(86_400);
const MOMENT: Duration = Duration::from_millis(1);
const MOST: u64 = (1 << 53) - 1;

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
async fn what_is_not_counted_is_neither_none_nor_any_number() {
    let server = RedisServer::start().await;
    let stock = server.stock(lasting()).await;
    let mut raw = server.raw().await;
    let unknown = async |stock: &Stock| {
        let nothing = Err(Error::Unknown { item: None });
        assert_eq!(stock.reserve("a", &[(1_u64, 1)]).await, nothing);
        assert_eq!(left(stock, 1).await, None);
        assert_eq!(stock.add(&1_u64, 5).await, Ok(None));
        assert_eq!(stock.cap(&1_u64, 5).await, Ok(None));
        assert_eq!(stock.set(&1_u64, 5).await, Ok(None));
        assert_eq!(left(stock, 1).await, None);
    };
    unknown(&stock).await;
    stock.fill([(1_u64, 9)]).await.expect("filled");
    assert_eq!(left(&stock, 1).await, Some(9));
    // Too old to be believed.
    let () = raw.pexpire(COUNTS, 1).await.expect("expires");
    eventually(async || left(&stock, 1).await.is_none().then_some(())).await;
    unknown(&stock).await;
    stock.fill([(1_u64, 9)]).await.expect("filled");
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut raw)
        .await
        .expect("ok");
    unknown(&stock).await;
}

#[tokio::test]
async fn counts_that_were_written_anew_have_what_was_given_back() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(1, 10)]).await;
    for order in ["a", "b", "c"] {
        stock.reserve(order, &[(1_u64, 1)]).await.expect("units");
    }
    assert_eq!(stock.release("a").await, Ok(Once::Now));
    assert_eq!(left(&stock, 1).await, Some(8));
    // The database has sold one of them by now and knows nothing of the other.
    assert_eq!(stock.refill([(1_u64, 9)]).await, Ok(Filled::Now));
    assert_eq!(stock.confirm("b").await, Ok(Confirmed::Now));
    assert_eq!(stock.release("c").await, Ok(Once::Now));
    assert_eq!(left(&stock, 1).await, Some(9));
}

#[tokio::test]
async fn the_first_to_find_the_counts_missing_writes_them() {
    let server = RedisServer::start().await;
    let one = filled(&server, &[(1, 5)]).await;
    let other = server.stock(lasting()).await;
    assert_eq!(other.fill([(1_u64, 7)]).await, Ok(Filled::ByOthers));
    assert_eq!(left(&one, 1).await, Some(5));
    assert_eq!(other.refill([(1_u64, 7)]).await, Ok(Filled::Now));
    assert_eq!(left(&one, 1).await, Some(7));
    // In several steps.
    let many = || (0..1234_u64).map(|item| (item, item));
    assert_eq!(one.refill(many()).await, Ok(Filled::Now));
    for item in [0, 499, 500, 999, 1000, 1233] {
        assert_eq!(left(&other, item).await, Some(item));
    }
    assert_eq!(left(&other, 1234).await, None);
    assert_eq!(other.refill([(0_u64, 0); 0]).await, Ok(Filled::Now));
    assert_eq!(left(&one, 0).await, None);
    assert_eq!(one.fill(many()).await, Ok(Filled::ByOthers));
}

#[tokio::test]
async fn counts_follow_what_the_database_says() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(1, 5)]).await;
    assert_eq!(stock.add(&1_u64, 3).await, Ok(Some(8)));
    assert_eq!(stock.cap(&1_u64, 9).await, Ok(Some(8)));
    assert_eq!(stock.cap(&1_u64, 2).await, Ok(Some(2)));
    assert_eq!(stock.add(&2_u64, 1).await, Ok(None));
    assert_eq!(stock.set(&2_u64, 4).await, Ok(Some(4)));
    assert_eq!(stock.reserve("a", &[(2_u64, 4)]).await, Ok(Once::Now));
}

#[tokio::test]
async fn numbers_are_counted_exactly_to_their_bounds() {
    let server = RedisServer::start().await;
    let stock = filled(&server, &[(1, MOST), (2, 0)]).await;
    assert_eq!(
        stock.reserve("a", &[(1_u64, MOST - 1)]).await,
        Ok(Once::Now)
    );
    assert_eq!(left(&stock, 1).await, Some(1));
    assert_eq!(
        stock.reserve("b", &[(1_u64, 2)]).await,
        Err(Error::SoldOut { item: 0, left: 1 })
    );
    assert_eq!(stock.release("a").await, Ok(Once::Now));
    assert_eq!(left(&stock, 1).await, Some(MOST));
    assert_eq!(stock.add(&1_u64, MOST).await, Ok(Some(MOST)));
    assert_eq!(stock.reserve("c", &[(1_u64, MOST)]).await, Ok(Once::Now));
    assert_eq!(left(&stock, 1).await, Some(0));
    let invalid = |outcome| matches!(outcome, Err(Error::Invalid(_)));
    for units in [0, MOST + 1, 1 << 53, i64::MAX as u64, u64::MAX] {
        assert!(invalid(stock.reserve("d", &[(1_u64, units)]).await));
        if units > 0 {
            assert!(matches!(
                stock.add(&1_u64, units).await,
                Err(Error::Invalid(_))
            ));
            assert!(matches!(
                stock.refill([(1_u64, units)]).await,
                Err(Error::Invalid(_))
            ));
        }
    }
    let many: Vec<_> = (0..101_u64).map(|item| (item, 1)).collect();
    assert!(invalid(stock.reserve("d", &many).await));
    assert!(invalid(stock.reserve::<_, u64>("d", &[]).await));
    assert!(invalid(
        stock.reserve("d", &[(2_u64, 1), (1, 1), (2, 1)]).await
    ));
    assert!(matches!(stock.reap(0).await, Err(Error::Invalid(_))));
    assert!(matches!(stock.reap(1001).await, Err(Error::Invalid(_))));
    stock.refill(many.iter().copied()).await.expect("filled");
    assert_eq!(stock.reserve("e", &many[..100]).await, Ok(Once::Now));
}

#[tokio::test]
async fn names_of_any_length_and_letters_are_told_apart() {
    let server = RedisServer::start().await;
    let stock = server.stock(lasting()).await;
    let names: Vec<String> = vec![
        String::new(),
        " ".into(),
        "#".into(),
        "a b".into(),
        "a%20b".into(),
        "k".repeat(512),
        "k".repeat(513),
        "()".into(),
    ];
    let counts = names
        .iter()
        .zip(1..)
        .map(|(name, units)| (name.as_str(), units));
    stock.fill(counts).await.expect("filled");
    assert_eq!(stock.set(&(), 99).await, Ok(Some(99)));
    for (name, units) in names.iter().zip(1..) {
        let item = [(name.as_str(), units)];
        assert_eq!(stock.left(name).await, Ok(Some(units)));
        assert_eq!(stock.reserve(name, &item).await, Ok(Once::Now));
        assert_eq!(stock.reserve(name, &item).await, Ok(Once::Before));
        assert_eq!(stock.left(name).await, Ok(Some(0)));
        assert_eq!(stock.release(name).await, Ok(Once::Now));
        assert_eq!(stock.left(name).await, Ok(Some(units)));
    }
    assert_eq!(stock.left(&()).await, Ok(Some(99)));
}

#[tokio::test]
async fn whoever_looks_after_what_is_due_does_so_in_steps() {
    let server = RedisServer::start().await;
    let stock = server.stock(lasting().reservation(MOMENT)).await;
    stock.fill([(1_u64, 250)]).await.expect("filled");
    let orders = server.stock(lasting().reservation(DAY)).await;
    for order in 0..250_u64 {
        orders.reserve(&order, &[(1_u64, 1)]).await.expect("units");
    }
    let mut raw = server.raw().await;
    let ids: Vec<String> = raw.zrange(DUE, 0, -1).await.expect("ids");
    let due: Vec<_> = ids.into_iter().map(|id| (0, id)).collect();
    let () = raw.zadd_multiple(DUE, &due).await.expect("due");
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
    let mut raw = server.raw().await;
    let ids: Vec<String> = raw.zrange(DUE, 0, -1).await.expect("ids");
    let due: Vec<_> = ids.into_iter().map(|id| (0, id)).collect();
    let () = raw.zadd_multiple(DUE, &due).await.expect("due");
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

/// A stock without time, one call after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ledger {
    left: BTreeMap<u64, u64>,
    orders: BTreeMap<u64, Order>,
}

/// Its items, and how it ended.
type Order = (Vec<(u64, u64)>, Option<End>);

#[derive(Clone, Debug)]
enum Call {
    Reserve(u64, Vec<(u64, u64)>),
    Confirm(u64),
    Release(u64),
    Left(u64),
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Reserved(Result<Once, Error>),
    Confirmed(Result<Confirmed, Error>),
    Released(Result<Once, Error>),
    Left(Option<u64>),
}

impl Sequential for Ledger {
    type Call = Call;
    type Answer = Answer;

    fn apply(&mut self, call: &Call) -> Answer {
        match call {
            Call::Reserve(order, items) => Answer::Reserved(self.reserve(*order, items)),
            Call::Confirm(order) => Answer::Confirmed(match self.orders.get_mut(order) {
                None => Err(Error::NotReserved),
                Some((_, end @ None)) => {
                    *end = Some(End::Confirmed);
                    Ok(Confirmed::Now)
                }
                Some((_, Some(End::Confirmed))) => Ok(Confirmed::Before),
                Some((_, Some(end))) => Err(Error::Over(*end)),
            }),
            Call::Release(order) => Answer::Released(match self.orders.get_mut(order) {
                None => Err(Error::NotReserved),
                Some((items, end @ None)) => {
                    *end = Some(End::Released);
                    for (item, units) in items {
                        *self.left.get_mut(item).expect("a known item") += *units;
                    }
                    Ok(Once::Now)
                }
                Some((_, Some(End::Confirmed))) => Err(Error::Over(End::Confirmed)),
                Some(_) => Ok(Once::Before),
            }),
            Call::Left(item) => Answer::Left(self.left.get(item).copied()),
        }
    }
}

impl Ledger {
    fn new(items: &[(u64, u64)]) -> Self {
        Self {
            left: items.iter().copied().collect(),
            orders: BTreeMap::new(),
        }
    }

    fn reserve(&mut self, order: u64, items: &[(u64, u64)]) -> Result<Once, Error> {
        let sorted = {
            let mut items = items.to_vec();
            items.sort_unstable();
            items
        };
        match self.orders.get(&order) {
            Some((ordered, _)) if *ordered != sorted => return Err(Error::Conflict),
            Some((_, None)) => return Ok(Once::Before),
            Some((_, Some(end))) => return Err(Error::Over(*end)),
            None => {}
        }
        for (item, units) in &sorted {
            let place = items.iter().position(|(other, _)| other == item);
            match self.left.get(item) {
                None => return Err(Error::Unknown { item: place }),
                Some(left) if left < units => {
                    let item = place.expect("one of them");
                    return Err(Error::SoldOut { item, left: *left });
                }
                Some(_) => {}
            }
        }
        for (item, units) in &sorted {
            *self.left.get_mut(item).expect("a known item") -= units;
        }
        self.orders.insert(order, (sorted, None));
        Ok(Once::Now)
    }
}

async fn make(stock: &Stock, call: &Call) -> Answer {
    match call {
        Call::Reserve(order, items) => Answer::Reserved(stock.reserve(order, items).await),
        Call::Confirm(order) => Answer::Confirmed(stock.confirm(order).await),
        Call::Release(order) => Answer::Released(stock.release(order).await),
        Call::Left(item) => Answer::Left(left(stock, *item).await),
    }
}

/// Few items, of which one is not counted, and few orders, so that clients meet.
fn some_call(random: &mut fastrand::Rng) -> Call {
    let order = random.u64(0..12);
    match random.u8(0..8) {
        0..4 => {
            let mut items = vec![1, 2, 3];
            random.shuffle(&mut items);
            items.truncate(random.usize(1..=2));
            let units = |item| (item, random.u64(1..4));
            Call::Reserve(order, items.into_iter().map(units).collect())
        }
        4 => Call::Confirm(order),
        5..7 => Call::Release(order),
        _ => Call::Left(random.u64(1..=3)),
    }
}

const COUNTED: [(u64, u64); 2] = [(1, 5), (2, 8)];

#[tokio::test]
async fn a_stock_behaves_as_a_ledger_does() {
    let server = RedisServer::start().await;
    let store = server.store().await;
    let stocks = store.stocks(&lasting()).expect("valid");
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..20_u64 {
        let stock = stocks.stock(&round);
        stock.fill(COUNTED).await.expect("filled");
        let mut ledger = Ledger::new(&COUNTED);
        for _ in 0..100 {
            let call = some_call(&mut random);
            assert_eq!(make(&stock, &call).await, ledger.apply(&call), "{call:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_clients_see_one_ledger() {
    let server = RedisServer::start().await;
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(server.store().await.stocks(&lasting()).expect("valid"));
    }
    for round in 0..100_u64 {
        stores[0].stock(&round).fill(COUNTED).await.expect("filled");
        let history = History::<Ledger>::new();
        let mut clients = JoinSet::new();
        for (client, stocks) in stores.iter().enumerate() {
            let (stock, history) = (stocks.stock(&round), history.clone());
            let mut random = fastrand::Rng::with_seed(round * 4 + client as u64);
            clients.spawn(async move {
                for _ in 0..25 {
                    let call = some_call(&mut random);
                    history.record(call.clone(), make(&stock, &call)).await;
                }
            });
        }
        clients.join_all().await;
        history.assert_linearizable(Ledger::new(&COUNTED));
    }
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

#[tokio::test]
async fn what_somebody_else_wrote_under_our_keys_is_named() {
    let server = RedisServer::start().await;
    let mut raw = server.raw().await;
    for key in [COUNTS, ORDERS, DUE] {
        let stock = filled(&server, &[(1, 5)]).await;
        let () = raw.del(key).await.expect("deleted");
        let () = raw.rpush(key, "a list").await.expect("pushed");
        let foreign = Err(Error::Store(StoreError::ForeignValue));
        assert_eq!(stock.reserve("a", &[(1_u64, 1)]).await, foreign);
        let () = redis::cmd("FLUSHALL")
            .query_async(&mut raw)
            .await
            .expect("ok");
    }
}

#[tokio::test]
async fn times_that_cannot_work_are_named() {
    let store = RedisServer::start().await.store().await;
    let day = DAY + MOMENT;
    for (policy, field) in [
        (lasting().reservation(Duration::ZERO), "reservation"),
        (lasting().reservation(day), "reservation"),
        (lasting().life(Duration::from_micros(999)), "life"),
        (lasting().life(Duration::MAX), "life"),
        (lasting().remember(Duration::ZERO), "remember"),
        (lasting().remember(DAY * 31), "remember"),
    ] {
        assert_eq!(store.stocks(&policy).expect_err("no").field(), field);
    }
}

#[tokio::test]
async fn the_documented_permissions_are_enough() {
    let server = RedisServer::start().await;
    let url = server
        .user(
            "+eval +evalsha +time +del +hdel +hexists +hget +hset +pexpire +zadd +zrangebyscore +zrem",
        )
        .await;
    let store = RedisStore::connect(&url, patient()).await.expect("allowed");
    let stock = stock(&store, lasting().reservation(MOMENT).remember(MOMENT));
    stock.refill([(1_u64, 5)]).await.expect("allowed");
    stock.reserve("a", &[(1_u64, 1)]).await.expect("allowed");
    stock.reserve("b", &[(1_u64, 1)]).await.expect("allowed");
    stock.confirm("a").await.expect("allowed");
    stock.release("b").await.expect("allowed");
    stock.set(&1_u64, 5).await.expect("allowed");
    assert_eq!(stock.left(&1_u64).await, Ok(Some(5)));
    eventually(async || {
        stock.reap(10).await.expect("allowed");
        (stock.confirm("a").await == Err(Error::NotReserved)).then_some(())
    })
    .await;
}
