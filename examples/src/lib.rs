//! A restaurant-ordering service at noon: thousands order at once, bots try every door, the
//! payment provider hangs, a handler panics, and nobody is sold a portion that is not there.
//!
//! `stack` is the part to read first: each layer of the library on a line, with its reason.

pub mod api;
mod background;
pub mod cached_page;
pub mod clock;
mod config;
pub mod fleet;
pub mod known;
pub mod limit;
pub mod payment;
pub mod payment_provider;
pub mod server;
pub mod settlement;
pub mod stack;
pub mod store;
pub mod telemetry;

pub use self::config::{Config, DatabaseUrl, FilterSeed, FleetSettings, PaymentTimes};

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use resilience_core::{
    Cache, Environment, InvalidPolicy, Measured, concurrency::Bulkheads, otel,
    supervise::Supervised,
};
use tokio::net::TcpListener;

use self::{
    api::Health,
    clock::WallClock,
    fleet::Fleet,
    payment::PaymentClient,
    payment_provider::{FaultSwitch, PaymentProvider},
    server::{Limits, Server},
    settlement::{Settled, Settlement},
    stack::{Inbound, Outbound, Pages},
    store::{Database, Kitchen, Order, Portions, Store},
    telemetry::Metrics,
};

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be served.
    #[error("cannot listen on {address}: {source}; choose another with --listen ADDR")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be used.
    #[error("cannot open the database: {0}; choose another with --database-url URL")]
    Database(#[from] store::OpenError),
    /// The payment provider's stand-in did not start.
    #[error("cannot start the payment provider: {0}")]
    PaymentProvider(#[from] payment_provider::StartError),
    /// Redis cannot be used. Where it is only away, the service starts without.
    #[error("cannot use Redis: {0}; choose another with --redis URL, or go without")]
    Redis(#[from] resilience_redis::StoreError),
    /// A setting cannot work.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// The exporter of figures did not start.
    #[error("cannot export metrics: {0}")]
    Metrics(#[from] opentelemetry_sdk::error::OTelSdkError),
}

/// The service, running. Dropped, it stops at once, as in a crash.
#[derive(Debug)]
pub struct Running {
    service: Service,
    server: Server,
    provider: PaymentProvider,
    background: Vec<StopOnDrop>,
}

/// Starts the service.
///
/// # Errors
///
/// See [`StartError`]; nothing runs then.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let listener = TcpListener::bind(&config.listen).await;
    let cannot_listen = |source| StartError::Listen {
        address: config.listen.clone(),
        source,
    };
    let listener = listener.map_err(cannot_listen)?;
    let metrics = Metrics::new()?;
    let fleet = Fleet::join(&config).await?;
    let inbound = Inbound::new(&config, fleet.as_ref())?;
    let outbound = Outbound::new(&config)?;
    let aging = Environment::new().clock(config.clock.clone());
    let pages = Pages::new(fleet.as_ref(), &aging)?;
    let store = Store::open(config.database_url.as_str(), &pages).await?;
    let store = match &fleet {
        Some(fleet) => store.shared(
            Portions::counted_in(fleet.portions.clone()),
            Kitchen::behind(fleet.kitchen.clone(), fleet.settings.turn_away),
        ),
        None => store,
    };
    let provider = PaymentProvider::start(&store.database().ledger()).await?;
    let payment = PaymentClient::new(provider.address(), &outbound, config.payment.answer);
    let clock = WallClock::start();
    let settlement = Settlement::new(store.clone(), payment, clock.clone(), config.payment);
    settlement.resume().await.map_err(store::OpenError::from)?;
    let engines = stack::engines(&inbound, &pages, &outbound, fleet.as_ref());
    otel::register(&metrics.meter(), engines.clone());
    let background = background::start(&settlement, &store, fleet.as_ref())?;
    let background = background.into_iter().map(StopOnDrop).collect();
    let service = Service(Arc::new(Parts {
        store,
        pages,
        settlement,
        clock,
        payment: config.payment,
        faults: provider.faults().clone(),
        outbound,
        engines: engines.into(),
        keys: inbound.keys.clone(),
        health: inbound.health.clone(),
        metrics: metrics.clone(),
        stopping: AtomicBool::new(false),
    }));
    let app = stack::inbound(Routes::of(&service), &inbound, &metrics);
    let server = Server::start(listener, app, Limits::default()).map_err(cannot_listen)?;
    Ok(Running {
        service,
        server,
        provider,
        background,
    })
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where its data is.
    #[must_use]
    pub fn database(&self) -> &Database {
        self.service.store.database()
    }

    /// Takes no more connections, lets requests under way finish for `patience`, then stops.
    /// Answers how many connections were cut off.
    pub async fn shutdown(self, patience: Duration) -> usize {
        self.service.stopping.store(true, Ordering::Relaxed);
        let cut_off = self.server.shutdown(patience).await;
        drop(self.background);
        self.provider.shutdown().await;
        self.service.store.close().await;
        cut_off
    }
}

/// What the handlers share; cheap to clone.
#[derive(Clone)]
pub(crate) struct Service(Arc<Parts>);

pub(crate) struct Parts {
    store: Store,
    pages: Pages,
    settlement: Settlement,
    clock: WallClock,
    payment: PaymentTimes,
    faults: FaultSwitch,
    outbound: Outbound,
    /// All that count what they do.
    engines: Arc<[Arc<dyn Measured>]>,
    keys: Bulkheads<String>,
    health: Cache<(), Health>,
    metrics: Metrics,
    stopping: AtomicBool,
}

/// By hand, since engines behind a pointer are not `Debug`.
impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl std::ops::Deref for Service {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Parts {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn payment_circuit(&self) -> &'static str {
        self.outbound.circuit.phase().as_str()
    }

    /// Tries once to bring a new order to its end; one that comes to none is kept.
    async fn settle(&self, order: Order) -> Settled {
        let kept = order.clone();
        self.settlement.settle(order).await.unwrap_or_else(|error| {
            tracing::error!(%error, order_id = kept.id, "the order waits for the database");
            Settled {
                order: kept,
                refused: None,
            }
        })
    }
}

/// The routes, before any layer.
pub(crate) struct Routes {
    public: Router,
    pages: Router,
    admin: Router,
    operations: Router,
}

impl Routes {
    fn of(service: &Service) -> Self {
        Self {
            public: api::public().with_state(service.clone()),
            pages: api::pages().with_state(service.clone()),
            admin: api::admin().with_state(service.clone()),
            operations: api::operations().with_state(service.clone()),
        }
    }
}

/// A task that would run on without anybody to stop it.
#[derive(Debug)]
struct StopOnDrop(Supervised);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// The README's examples compile: here, since the service depends on both crates.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
