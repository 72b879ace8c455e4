//! From the world to our handlers.

use std::{net::IpAddr, time::Duration};

use axum::{Router, middleware};
use http::{HeaderValue, header::X_CONTENT_TYPE_OPTIONS};
use resilience_core::{
    Cache, InvalidPolicy, Respond, cache,
    catch_panic::CatchPanic,
    concurrency::{self, Bulkhead, Bulkheads},
    key::ClientIp,
    rate_limit::{self, Everybody, Quota},
};
use resilience_redis::rate_limit::Options;
use tower::{ServiceBuilder, util::MapRequestLayer};
use tower_http::{
    request_id::{PropagateRequestIdLayer, SetRequestIdLayer},
    set_header::SetResponseHeaderLayer,
};

use crate::{
    Routes,
    api::{self, Health},
    config::Config,
    fleet::Fleet,
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
    /// One look at the database for all who ask at a time how it is.
    pub health: Cache<(), Health>,
}

impl Inbound {
    /// The engines, by what `config` says.
    ///
    /// # Errors
    ///
    /// When a setting cannot work.
    pub fn new(config: &Config, fleet: Option<&Fleet>) -> Result<Self, InvalidPolicy> {
        let redis = fleet.map(|fleet| &fleet.redis);
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
        // Nothing is kept: whoever asks later is told how it is then.
        let health = cache::Policy::new("health", Duration::ZERO);
        Ok(Self {
            panics: CatchPanic::new("requests")?,
            clients: Limit::new(clients, redis, &Options::new())?,
            everybody: Limit::new(everybody, redis, &Options::new().lease_up_to(10))?,
            places: Bulkhead::new(places)?,
            keys: Bulkheads::new(keys)?,
            health: Cache::new(health)?,
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
    // Whoever watches over the service must get through when nobody else does: no limits there, and
    // nothing that costs the database more the more they ask.
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
