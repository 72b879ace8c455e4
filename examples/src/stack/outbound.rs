//! From us to the payment provider.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use resilience_core::{
    BoxError, InvalidPolicy,
    circuit_breaker::{self, CircuitBreaker, OpenWait, Window},
    concurrency::{self, Bulkhead},
};
use tower::{Service, ServiceBuilder, util::BoxCloneSyncService};

use crate::config::Config;

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

/// The provider, through all of that.
pub type PaymentService = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, BoxError>;
