//! Makes the connections of one node, wherever its server is by then.

use std::sync::Arc;

use redis::{Value, aio::MultiplexedConnection};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{Address, dial::Dialer, flow::Flow, sentinel::Sentinels};
use crate::{Settings, StoreError};

/// Makes the connections of one node, wherever its server is by then.
pub(super) struct Maker {
    dialer: Dialer,
    place: Place,
    /// A number that grows when the server is elsewhere.
    news: watch::Sender<u64>,
}

/// Where the server of a node is.
pub(super) enum Place {
    /// Here; a name is resolved anew with each connection.
    At(Address),
    /// Where these say.
    Named(Arc<Sentinels>),
}

impl Maker {
    pub(super) fn new(dialer: Dialer, place: Place) -> Arc<Self> {
        let news = match &place {
            Place::At(_) => watch::Sender::new(0),
            Place::Named(sentinels) => sentinels.news().clone(),
        };
        Arc::new(Self {
            dialer,
            place,
            news,
        })
    }

    /// Where the server is now.
    pub(super) async fn locate(&self) -> Result<Address, StoreError> {
        match &self.place {
            Place::At(address) => Ok(address.clone()),
            Place::Named(sentinels) => sentinels.locate().await,
        }
    }

    pub(super) async fn connect(
        &self,
        number: u64,
        on_lost: impl Fn() + Send + Sync + 'static,
    ) -> Result<Flow, StoreError> {
        let address = self.locate().await?;
        let mut connection = self.dialer.share(&address, on_lost).await?;
        if matches!(self.place, Place::Named(_)) {
            expect_primary(&mut connection, self.settings()).await?;
        }
        Flow::new(number, address, connection).map_err(StoreError::InvalidSettings)
    }

    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub(super) const fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    pub(super) const fn settings(&self) -> &Settings {
        self.dialer.settings()
    }

    /// Where all connections of the store live.
    pub(super) const fn runtime(&self) -> &Handle {
        self.dialer.runtime()
    }
}

/// A sentinel may name a server that was demoted since.
async fn expect_primary(
    connection: &mut MultiplexedConnection,
    settings: &Settings,
) -> Result<(), StoreError> {
    let role = redis::cmd("ROLE");
    let asking = role.query_async::<Vec<Value>>(connection);
    let role = match timeout(settings.time_to_connect(), asking).await {
        Ok(role) => role.map_err(|error| StoreError::from(&error).as_seen_later())?,
        Err(_) => return Err(StoreError::Unavailable),
    };
    match role.first() {
        Some(Value::BulkString(name)) if name == b"master" => Ok(()),
        _ => Err(StoreError::Unavailable),
    }
}
