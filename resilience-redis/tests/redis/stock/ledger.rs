//! A stock beside a ledger: without time, one call after the other.

use std::collections::BTreeMap;

use resilience_redis::stock::{Confirmed, End, Error, Once, Stock};
use tokio::task::JoinSet;

use super::{lasting, left};
use crate::support::{History, RedisServer, Sequential};

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
