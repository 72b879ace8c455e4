//! The layers, one a line, in the order in which a request meets them.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, middleware};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::X_CONTENT_TYPE_OPTIONS};
use http_body_util::Full;
use resilience_core::{
    BoxError, Cache, Environment, Error, InvalidPolicy, Measured, Respond, bloom_guard,
    cache::{self, EarlyRefresh, Origin},
    catch_panic::CatchPanic,
    circuit_breaker::{self, CircuitBreaker, OpenWait, Window},
    concurrency::{self, Bulkhead, Bulkheads},
    key::ClientIp,
    rate_limit::{self, Everybody, Quota},
};
use resilience_redis::rate_limit::Options;
use tokio::task::JoinSet;
use tower::{
    Service, ServiceBuilder,
    util::{BoxCloneSyncService, MapRequestLayer},
};
use tower_http::{
    request_id::{PropagateRequestIdLayer, SetRequestIdLayer},
    set_header::SetResponseHeaderLayer,
};

use crate::{
    Routes, api,
    cached_page::Page,
    config::Config,
    fleet::Fleet,
    known::Known,
    limit::Limit,
    telemetry::{self, Metrics, REQUEST_ID, RandomRequestId},
};

/// What stands between the world and our handlers.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// A panic ends one request.
    pub panics: CatchPanic,
    /// So many requests for each client.
    pub clients: Limit<IpAddr>,
    /// So many requests of all clients together.
    pub everybody: Limit<()>,
    /// So many requests at a time.
    pub places: Bulkhead,
    /// One request at a time for each idempotency key; a handler asks, once it knows the key.
    pub keys: Bulkheads<String>,
}

impl Inbound {
    /// The engines, by what `config` says.
    ///
    /// # Errors
    ///
    /// When a setting cannot work.
    pub fn new(config: &Config, fleet: Option<&Fleet>) -> Result<Self, InvalidPolicy> {
        let redis = fleet.map(|fleet| &fleet.redis);
        // A lunch crowd behind one office's address orders two hundred times at once, and looks
        // at the menu before.
        let quota = Quota::new(config.requests_per_client.into(), Duration::from_secs(10));
        let clients = rate_limit::Policy::new("client", quota);
        // What the database of them all is good for. Every request asks: a tenth is taken ahead.
        let quota = Quota::new(config.requests_per_second.into(), Duration::from_secs(1));
        let everybody = rate_limit::Policy::new("everybody", quota);
        // An order takes a few milliseconds of the one writer: 64 at a time keep it busy, and a
        // thousand more have their turn within the wait.
        let places = concurrency::Policy::new("handlers", 64)
            .queue(1024)
            .max_wait(Duration::from_secs(10));
        // All that have a place may wait for the same key, for as long as an order takes.
        let keys = concurrency::Policy::new("idempotency-keys", 1)
            .queue(64)
            .max_wait(Duration::from_secs(10));
        Ok(Self {
            panics: CatchPanic::new("requests")?,
            clients: Limit::new(clients, redis, &Options::new())?,
            everybody: Limit::new(everybody, redis, &Options::new().lease_up_to(10))?,
            places: Bulkhead::new(places)?,
            keys: Bulkheads::new(keys)?,
        })
    }
}

/// What stands between the pages of dishes and the database.
#[derive(Clone, Debug)]
pub struct Pages {
    /// Tells which dishes there are.
    pub known: Known,
    /// Each page is made once for everybody.
    pub made: Cache<Page, Bytes>,
    /// So many are made at a time.
    pub making: Bulkhead,
}

impl Pages {
    /// The engines of one gateway.
    ///
    /// # Errors
    ///
    /// When a setting cannot work.
    pub fn new(environment: &Environment) -> Result<Self, InvalidPolicy> {
        Self::over(None, |policy| Cache::new_in(policy, environment))
    }

    /// The engines of a gateway that shares what is made with the others of `fleet`.
    ///
    /// # Errors
    ///
    /// When a setting cannot work.
    pub fn shared(fleet: &Fleet, environment: &Environment) -> Result<Self, InvalidPolicy> {
        Self::over(Some(fleet), |policy| fleet.cache(policy, environment))
    }

    fn over(
        fleet: Option<&Fleet>,
        cache: impl FnOnce(cache::Policy) -> Result<Cache<Page, Bytes>, InvalidPolicy>,
    ) -> Result<Self, InvalidPolicy> {
        // 12 KiB, for fifty times the menu there is. A number that passes and is not there costs
        // the database one statement a minute, however often it is asked for, where no more than
        // 10 000 of these come: they are found by chance, or by who knows the seed.
        let known = bloom_guard::Policy::new("dishes")
            .expected_keys(10_000)
            .false_positive_rate(UNKNOWN_THAT_PASS)
            .remember(10_000, Duration::from_secs(60));
        // Orders void what they change: the end is for whoever else writes to the file. Pages
        // that are asked for are made anew ahead of it, and nobody waits. Where the database is
        // away, or takes long, the page of before will do: an order would have voided it.
        let made = cache::Policy::new("pages", Duration::from_secs(60))
            .early_refresh(EarlyRefresh::AtAge(0.8))
            .stale_if_error(Duration::from_secs(600))
            .soft_timeout(Duration::from_millis(500));
        // Half of the connections for reading: the other half is for orders, whatever numbers
        // come here. A page takes less than a millisecond: in a second all 1024 had their turn.
        let making = concurrency::Policy::new("page-loads", 4)
            .queue(1024)
            .max_wait(Duration::from_secs(5));
        Ok(Self {
            known: Known::new(known, fleet)?,
            made: cache(made)?,
            making: Bulkhead::new(making)?,
        })
    }

    /// Voids every page on which one of `dishes` stands, in all gateways, and those that are being
    /// made as well.
    pub async fn void(&self, dishes: &[i64]) {
        let mut pages: Vec<_> = dishes.iter().copied().map(Page::Dish).collect();
        if !pages.is_empty() {
            pages.push(Page::Menu);
        }
        // Here at once, elsewhere as soon as they are told: nobody waits for one after the other.
        let mut told = JoinSet::new();
        for page in pages {
            self.made.invalidate(&page);
            let made = self.made.clone();
            told.spawn(async move { made.forget(&page).await });
        }
        // What cannot be told now is told later, before what the others have is believed again.
        told.join_all().await;
    }
}

/// What stands between us and the payment provider.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Leaves a provider alone that fails.
    pub circuit: CircuitBreaker,
    /// So many calls at a time.
    pub calls: Bulkhead,
}

impl Outbound {
    /// The engines, by what `config` says.
    ///
    /// # Errors
    ///
    /// When a setting cannot work.
    pub fn new(config: &Config) -> Result<Self, InvalidPolicy> {
        // Half of the calls of ten seconds failed: left alone for a while, then asked once.
        let circuit = circuit_breaker::Policy::new("payment")
            .window(Window::time(Duration::from_secs(10), 10))
            .failure_rate(0.5)
            .min_calls(5)
            .open(OpenWait::fixed(config.payment.circuit_open))
            .half_open_permits(1);
        // As many as there are handlers; the settlement, which is in no hurry, may have to wait.
        let calls = concurrency::Policy::new("payment-calls", 64)
            .queue(64)
            .max_wait(Duration::from_secs(1));
        Ok(Self {
            circuit: CircuitBreaker::new(circuit)?,
            calls: Bulkhead::new(calls)?,
        })
    }
}

/// From the world to our handlers, outermost first.
pub(crate) fn inbound(routes: Routes, engines: &Inbound, metrics: &Metrics) -> Router {
    let panics = Respond::with((engines.panics.layer(),));
    let places = Respond::with((engines.places.layer(),));
    let whole_body = middleware::from_fn(api::buffer);
    // A page is there or is nobody's, as a rule: it takes no place, and the few that must be made
    // have places of their own.
    let public = routes.public.layer(
        ServiceBuilder::new()
            .layer(whole_body.clone()) // a slow sender waits here, where it takes no place
            .layer(places), // more at a time than the database serves only makes all late
    );
    let public = public.merge(routes.pages);
    let public = engines.everybody.before(public, Everybody); // more gateways do not make the database faster
    let public = engines.clients.before(public, ClientIp::new()); // one client's loop must not take everybody's turn
    // Whoever watches over the service must get through when nobody else does: no limits there.
    let admin = routes.admin.layer(whole_body);
    let operations = routes.operations;

    let measure = middleware::from_fn_with_state(metrics.clone(), telemetry::measure);
    let (nosniff, yes) = (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let all = public.merge(admin).merge(operations);
    all.layer(
        ServiceBuilder::new()
            .layer(MapRequestLayer::new(telemetry::drop_bad_request_id)) // no stranger writes our log
            .layer(SetRequestIdLayer::new(REQUEST_ID, RandomRequestId)) // every line has a request's id
            .layer(telemetry::log()) // one line for every answer, refusals as well
            .layer(PropagateRequestIdLayer::new(REQUEST_ID)) // who complains can say about what
            .layer(measure) // how long, by route and status
            .layer(SetResponseHeaderLayer::overriding(nosniff, yes)) // data is never taken for a page
            .layer(panics), // a handler that panics costs one answer, not a connection
    )
}

/// From the page of a dish to the database, outermost first.
pub(crate) async fn dish<F>(
    id: i64,
    make: impl FnOnce() -> F + Send + 'static,
    engines: &Pages,
) -> Result<Option<(Bytes, Origin)>, Error<sqlx::Error>>
where
    F: Future<Output = sqlx::Result<Option<Bytes>>> + Send + 'static,
{
    let page = Page::Dish(id);
    let making = engines.making.clone();
    let make = async move || making.call(make).await; // those that are not there yet do not take all connections
    let find = || engines.made.get_or_find_with_origin(&page, make); // a crowd at a new page asks the database once
    let found = engines.known.find(id, find).await; // numbers that are no dish's cost nothing
    found.map_err(whoever_failed)
}

/// From the menu to the database, outermost first.
pub(crate) async fn menu<F>(
    make: impl FnOnce() -> F + Send + 'static,
    engines: &Pages,
) -> Result<(Bytes, Origin), Error<sqlx::Error>>
where
    F: Future<Output = sqlx::Result<Bytes>> + Send + 'static,
{
    let making = engines.making.clone();
    let make = async move || making.call(make).await; // as for dishes, and with them
    let made = &engines.made; // the one page that everybody asks for
    let made = made.get_or_load_with_origin(&Page::Menu, make).await;
    made.map_err(whoever_failed)
}

/// A refusal is the same, whichever layer it comes from.
fn whoever_failed<E>(error: Error<Error<E>>) -> Error<E> {
    match error {
        Error::Rejected(rejected) => rejected.into(),
        Error::Inner(error) => error,
    }
}

/// From us to the payment provider, outermost first.
pub(crate) fn outbound<S>(exchange: S, engines: &Outbound) -> PaymentService
where
    S: Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let service = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new)) // one type for any stack
        .layer(engines.circuit.layer()) // a provider that fails is left alone: orders wait
        .layer(engines.calls.layer()) // a provider that is slow does not take all we have
        .service(exchange); // has the deadline: an answer that is late is a failure
    BoxCloneSyncService::new(service)
}

/// Everything that counts what it does.
pub(crate) fn engines(
    inbound: &Inbound,
    pages: &Pages,
    outbound: &Outbound,
    fleet: Option<&Fleet>,
) -> Vec<Arc<dyn Measured>> {
    let mut engines: Vec<Arc<dyn Measured>> = vec![
        Arc::new(inbound.panics.clone()),
        Arc::new(inbound.clients.clone()),
        Arc::new(inbound.everybody.clone()),
        Arc::new(inbound.places.clone()),
        Arc::new(inbound.keys.clone()),
        pages.known.engine(),
        Arc::new(pages.made.clone()),
        Arc::new(pages.making.clone()),
        Arc::new(outbound.circuit.clone()),
        Arc::new(outbound.calls.clone()),
    ];
    if let Some(fleet) = fleet {
        engines.push(Arc::new(fleet.kitchen.clone()));
    }
    engines
}

/// Of the numbers that are no dish's, the share that the guard may let pass.
const UNKNOWN_THAT_PASS: f64 = 0.01;

/// The provider, through all of that.
pub type PaymentService = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, BoxError>;
