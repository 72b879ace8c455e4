//! Makes the connections of one node, wherever its server is by then.

use std::sync::Arc;

use super::{Address, dial::Dialer, flow::Flow};
use crate::{Settings, StoreError};

/// Makes the connections of one node, wherever its server is by then.
pub(super) struct Maker {
    dialer: Dialer,
    place: Place,
}

/// Where the server of a node is.
pub(super) enum Place {
    /// Here; a name is resolved anew with each connection.
    At(Address),
}

impl Maker {
    pub(super) fn new(dialer: Dialer, place: Place) -> Arc<Self> {
        Arc::new(Self { dialer, place })
    }

    pub(super) async fn connect(
        &self,
        number: u64,
        on_lost: impl Fn() + Send + Sync + 'static,
    ) -> Result<Flow, StoreError> {
        let Place::At(address) = &self.place;
        let connection = self.dialer.share(address, on_lost).await?;
        Flow::new(number, address.clone(), connection).map_err(StoreError::InvalidSettings)
    }

    pub(super) const fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    pub(super) const fn settings(&self) -> &Settings {
        self.dialer.settings()
    }
}
