//! Sentinels: where the server is that they watch, and following it when it changes.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use redis::{Cmd, FromRedisValue, PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Address, Node, dial::Dialer, slots::named};
use crate::StoreError;

/// Asks all sentinels where the server is that they watch by a name.
pub(super) struct Sentinels {
    dialer: Dialer,
    addresses: Vec<Address>,
    service: String,
    /// A number that grows when a sentinel says that the server is elsewhere.
    news: watch::Sender<u64>,
}

impl Sentinels {
    pub(super) fn new(dialer: Dialer, addresses: Vec<Address>, service: String) -> Arc<Self> {
        Arc::new(Self {
            dialer,
            addresses,
            service,
            news: watch::Sender::new(0),
        })
    }

    /// Where the server is, by the sentinel that knows of the latest failover.
    ///
    /// One that was away for a while names the server from before. Whoever connects has to see for
    /// himself that it is a primary.
    pub(super) async fn locate(&self) -> Result<Address, StoreError> {
        let mut asking = JoinSet::new();
        for address in &self.addresses {
            let (dialer, service) = (self.dialer.clone(), self.service.clone());
            asking.spawn(view(dialer, address.clone(), service));
        }
        let (mut newest, mut failure): (Option<View>, _) = (None, StoreError::Unavailable);
        let mut patience = TIME_TO_TELL;
        while let Ok(Some(told)) = timeout(patience, asking.join_next()).await {
            match told {
                Ok(Ok(view)) => {
                    if newest.as_ref().is_none_or(|known| known.epoch < view.epoch) {
                        newest = Some(view);
                    }
                    // One that hangs must not hold up what the others know.
                    patience = TIME_FOR_THE_REST;
                }
                Ok(Err(problem)) => failure = problem,
                // Ours never panic and nobody aborts them.
                Err(_) => {}
            }
        }
        newest.map(|view| view.address).ok_or(failure)
    }

    pub(super) const fn news(&self) -> &watch::Sender<u64> {
        &self.news
    }

    fn tell(&self) {
        self.news
            .send_modify(|number| *number = number.wrapping_add(1));
    }
}

/// Moves `node` to where the sentinels say that the server is, until the last store is gone.
pub(super) fn follow(sentinels: &Arc<Sentinels>, node: &Node) {
    for address in &sentinels.addresses {
        tokio::spawn(listen(Arc::downgrade(sentinels), address.clone()));
    }
    let (mut news, node) = (sentinels.news.subscribe(), node.downgrade());
    tokio::spawn(async move {
        loop {
            // In time also without news: a sentinel can have fallen silent.
            let heard = timeout(TIME_TO_LOOK, news.changed()).await;
            let (Ok(Ok(())) | Err(_), Some(node)) = (heard, node.upgrade()) else {
                return;
            };
            node.seek().await;
        }
    });
}

/// What one sentinel says.
struct View {
    address: Address,
    /// How many failovers it knows of.
    epoch: u64,
}

async fn view(dialer: Dialer, address: Address, service: String) -> Result<View, StoreError> {
    let mut connection = dialer.visit(&address).await?;
    let ask = sentinel("MASTER", &service);
    let facts: HashMap<String, String> = ask
        .query_async(&mut connection)
        .await
        .map_err(|error| StoreError::from(&error))?;
    let number = |name: &str| facts.get(name).and_then(|text| text.parse::<u64>().ok());
    let place = || {
        let port = u16::try_from(number("port")?).ok()?;
        named(facts.get("ip")?, port, &address)
    };
    match (place(), number("config-epoch")) {
        (Some(address), Some(epoch)) => Ok(View { address, epoch }),
        _ => Err(StoreError::Protocol),
    }
}

/// Listens to one sentinel, again and again, until the last store is gone.
async fn listen(sentinels: Weak<Sentinels>, address: Address) {
    while let Some(dialer) = sentinels.upgrade().map(|known| known.dialer.clone()) {
        let heard = sentinels.clone();
        let on_push = move |push: PushInfo| {
            if let Some(sentinels) = heard.upgrade()
                && concerns(&push, &sentinels.service)
            {
                sentinels.tell();
            }
        };
        if let Ok(connection) = dialer.dedicate(&address, on_push).await {
            stay(connection, &sentinels).await;
        }
        sleep(TIME_BETWEEN_CALLS).await;
    }
}

/// Subscribes, and stays until the sentinel falls silent or the last store is gone.
async fn stay(mut connection: MultiplexedConnection, sentinels: &Weak<Sentinels>) {
    let mut ask = redis::cmd("SUBSCRIBE").arg("+switch-master").take();
    while let Some(sentinels) = sentinels.upgrade() {
        let answer = timeout(TIME_TO_TELL, connection.send_packed_command(&ask)).await;
        if !matches!(answer, Ok(Ok(_))) {
            return;
        }
        if ask.args_iter().len() > 1 {
            // What it said before we listened.
            sentinels.tell();
            ask = redis::cmd("PING");
        }
        drop(sentinels);
        sleep(TIME_BETWEEN_CALLS).await;
    }
}

/// Whether a push says that `service` is elsewhere: `SERVICE OLD-HOST OLD-PORT HOST PORT`.
fn concerns(push: &PushInfo, service: &str) -> bool {
    let text = |value: &Value| String::from_redis_value_ref(value).unwrap_or_default();
    push.kind == PushKind::Message
        && push
            .data
            .get(1)
            .is_some_and(|payload| text(payload).split(' ').next() == Some(service))
}

fn sentinel(verb: &str, service: &str) -> Cmd {
    redis::cmd("SENTINEL").arg(verb).arg(service).take()
}

const TIME_TO_LOOK: Duration = Duration::from_secs(15);
const TIME_TO_TELL: Duration = Duration::from_secs(1);
const TIME_FOR_THE_REST: Duration = Duration::from_millis(100);
/// How soon it is noticed that a sentinel hangs.
const TIME_BETWEEN_CALLS: Duration = Duration::from_secs(1);
