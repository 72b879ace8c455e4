//! What of locks, stocks and queues survives a slot that moves and a server that is killed.

use std::{collections::BTreeSet, time::Duration};

use resilience_core::Error;
use resilience_redis::{
    RedisStore, Settings, StoreError,
    lock::{self, Fence, Guard, Locks},
    queue::{self, Message, Pushed, Queue},
    stock::{self, Stock},
};

use crate::support::{RedisCluster, RedisSentinels, eventually, patient, within};

const MINUTE: Duration = Duration::from_secs(60);
const UNITS: u64 = 20;
const MESSAGES: u8 = 10;

/// One of each, for `key`.
struct Engines {
    locks: Locks,
    stock: Stock,
    queue: Queue,
    key: String,
}

/// What is known of them before something happens.
struct Before {
    held: Guard,
    fence: Fence,
    /// What nobody is done with.
    waiting: BTreeSet<u8>,
}

fn settings() -> Settings {
    patient()
        .decision_timeout(within(Duration::from_secs(1)))
        .connect_timeout(Duration::from_secs(1))
}

impl Engines {
    async fn new(url: &str, key: String) -> Self {
        let store = RedisStore::connect(url, settings()).await.expect("a store");
        let locks = lock::Policy::new("test").ttl(MINUTE);
        let stocks = stock::Policy::new("test").reservation(MINUTE);
        let queue = queue::Policy::new("test").abandoned_after(Duration::from_millis(1));
        Self {
            locks: store.locks(&locks).expect("a valid policy"),
            stock: store.stocks(&stocks).expect("a valid policy").stock(&*key),
            queue: store.queue(&queue).expect("a valid policy"),
            key,
        }
    }

    /// Takes the lock, sells half of the units and is done with two of the messages.
    async fn begin(&self) -> Before {
        let held = self.lock().await.expect("the lock is free");
        self.stock.fill([(1_u64, UNITS)]).await.expect("an answer");
        for order in 0..UNITS / 4 {
            assert!(self.sells(order).await);
        }
        for payload in 0..MESSAGES {
            self.queue.push(&[payload]).await.expect("room");
        }
        let given = self.batch(4).await;
        let (done, _) = given.split_at(2);
        self.acknowledge(done).await;
        let mut waiting: BTreeSet<_> = (0..MESSAGES).collect();
        waiting.retain(|payload| done.iter().all(|message| message.payload() != [*payload]));
        Before {
            fence: held.fence(),
            held,
            waiting,
        }
    }

    /// All that is known stands, and what is left goes on.
    async fn go_on(&self, before: Before) {
        let held = eventually(async || match self.lock().await {
            Err(Error::Rejected(rejected)) => Some(rejected),
            Err(Error::Inner(_)) => None,
            Ok(guard) => panic!("two hold it: {:?}", guard.fence()),
        });
        held.await;
        before.held.release().await.expect("still ours");
        let next = eventually(async || self.lock().await.ok()).await;
        assert!(next.fence() > before.fence);

        let mut sold = UNITS / 4;
        for order in UNITS / 4..UNITS {
            sold += u64::from(self.sells(order).await);
        }
        assert_eq!(2 * sold, UNITS);

        let mut given = BTreeSet::new();
        eventually(async || {
            let messages = self.batch(100).await;
            given.extend(messages.iter().map(|message| message.payload()[0]));
            self.acknowledge(&messages).await;
            (given == before.waiting).then_some(())
        })
        .await;
    }

    async fn lock(&self) -> Result<Guard, Error<StoreError>> {
        self.locks.try_lock(&self.key).await
    }

    /// Reserves two units, as soon as there is an answer.
    async fn sells(&self, order: u64) -> bool {
        let reserved = eventually(
            async || match self.stock.reserve(&order, &[(1_u64, 2)]).await {
                Ok(_) => Some(true),
                Err(stock::Error::SoldOut { .. }) => Some(false),
                Err(stock::Error::Store(_)) => None,
                Err(other) => panic!("{other}"),
            },
        );
        reserved.await
    }

    async fn batch(&self, most: usize) -> Vec<Message> {
        let mut worker = self.queue.consumer("workers").expect("its only group");
        let batch = eventually(async || worker.next_batch(most, Duration::ZERO).await.ok());
        batch.await
    }

    async fn acknowledge(&self, messages: &[Message]) {
        let worker = self.queue.consumer("workers").expect("its only group");
        let ids: Vec<_> = messages.iter().map(Message::id).collect();
        eventually(async || worker.acknowledge(&ids).await.ok()).await;
    }

    /// What each of them says while its keys are apart.
    async fn are_apart(&self) {
        let says = |error: &StoreError| matches!(error, StoreError::NotServing(code) if code.as_str() == "TRYAGAIN");
        let another = self.lock().await;
        assert!(
            matches!(&another, Err(Error::Inner(error)) if says(error)),
            "{another:?}"
        );
        let reserved = self.stock.reserve(&UNITS, &[(1_u64, 2)]).await;
        let apart = matches!(&reserved, Err(stock::Error::Store(error)) if says(error));
        assert!(apart, "{reserved:?}");
        let pushed = self.queue.push_once("late", &[MESSAGES]).await;
        assert!(
            matches!(&pushed, Err(Error::Inner(error)) if says(error)),
            "{pushed:?}"
        );
    }
}

/// A key of a lock and of a stock whose owner has the queue as well, and that owner.
async fn one_owner(cluster: &RedisCluster) -> (String, usize) {
    let owner = cluster.owner_of("res:queue:{test}").await;
    for key in 0_u64.. {
        let lock = cluster.owner_of(&format!("res:lock:{{test:{key}}}")).await;
        let stock = cluster.owner_of(&format!("res:stock:{{test:{key}}}")).await;
        if (lock, stock) == (owner, owner) {
            return (key.to_string(), owner);
        }
    }
    unreachable!("an owner has a third of the slots")
}

#[tokio::test]
async fn sentinels_hand_over_what_was_replicated() {
    let mut servers = RedisSentinels::start().await;
    let engines = Engines::new(&servers.url(), "key".to_owned()).await;
    let before = engines.begin().await;
    servers.replica.catches_up_with(&servers.primary).await;
    servers.primary.kill();
    engines.go_on(before).await;
}

#[tokio::test]
async fn a_cluster_hands_over_what_was_replicated() {
    let mut cluster = RedisCluster::start().await;
    let (key, owner) = one_owner(&cluster).await;
    let engines = Engines::new(&cluster.url(), key).await;
    let before = engines.begin().await;
    let replica = cluster.replica_of(owner);
    replica.catches_up_with(&cluster.members[owner]).await;
    cluster.members[owner].kill();
    engines.go_on(before).await;
}

#[tokio::test]
async fn a_fence_grows_also_where_the_last_holder_was_not_replicated() {
    let mut servers = RedisSentinels::start().await;
    let store = RedisStore::connect(&servers.url(), settings()).await;
    let policy = lock::Policy::new("test").ttl(Duration::from_secs(1));
    let store = store.expect("a store");
    let locks = store.locks(&policy).expect("a valid policy");
    let held = locks.try_lock("key").await.expect("the lock is free");
    let fence = held.fence();
    // What the new primary knows of it, and for how long, makes no difference.
    servers.primary.kill();
    drop(held);
    let next = eventually(async || locks.try_lock("key").await.ok()).await;
    assert!(next.fence() > fence);
}

#[tokio::test]
async fn a_slot_that_moves_loses_nothing() {
    let cluster = RedisCluster::start().await;
    let (key, from) = one_owner(&cluster).await;
    let engines = Engines::new(&cluster.url(), key.clone()).await;
    let mut before = engines.begin().await;
    let to = (from + 1) % cluster.owners().len();
    let [lock, stock] = ["lock", "stock"].map(|of| format!("res:{of}:{{test:{key}}}"));
    let queue = "res:queue:{test}".to_owned();
    // Lock and stock share a slot.
    for slot in [&lock, &queue] {
        cluster.begin_to_move(slot, from, to).await;
    }
    // Of the queue there is no other key yet, and new ones are to be beside it.
    for first in [&lock, &stock, &queue] {
        cluster.move_key(first, from, to).await;
    }
    engines.are_apart().await;
    let others: Vec<String> = cluster.members[from].ask("KEYS res:*").await;
    for other in others {
        cluster.move_key(&other, from, to).await;
    }
    for slot in [&lock, &queue] {
        cluster.end_move(slot, from, to).await;
    }
    // What was refused did not run.
    let pushed = engines.queue.push_once("late", &[MESSAGES]).await;
    assert!(matches!(pushed, Ok(Pushed::Now(_))), "{pushed:?}");
    before.waiting.insert(MESSAGES);
    engines.go_on(before).await;
}
