//! The layers, one a line, in the order a request meets them.

use axum::{Router, body::Body, middleware};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body_util::Full;
use resilience_core::{BoxError, InvalidPolicy};
use tower::{
    Service, ServiceBuilder,
    util::{BoxCloneSyncService, MapRequestLayer},
};
use tower_http::{
    request_id::{PropagateRequestIdLayer, SetRequestIdLayer},
    set_header::SetResponseHeaderLayer,
    trace::TraceLayer,
};

use crate::{
    api,
    config::Config,
    telemetry::{self, Metrics, RandomRequestId},
};

/// The engines before the payment provider.
#[derive(Clone, Debug)]
pub struct Outbound {}

impl Outbound {
    /// Builds them.
    ///
    /// # Errors
    ///
    /// When a setting cannot work.
    pub fn new(_config: &Config) -> Result<Self, InvalidPolicy> {
        Ok(Self {})
    }
}

/// What [`outbound`] makes.
pub type PaymentService = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, BoxError>;

/// From us to the payment provider.
pub(crate) fn outbound<S>(exchange: S, _engines: &Outbound) -> PaymentService
where
    S: Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let service = ServiceBuilder::new()
        .map_response(|response: Response<Full<Bytes>>| response.map(Body::new))
        .service(exchange);
    BoxCloneSyncService::new(service)
}

/// From the world to our handlers.
pub(crate) fn inbound(routes: crate::Routes, metrics: &Metrics) -> Router {
    let public = routes
        .public
        .layer(ServiceBuilder::new().layer(middleware::from_fn(api::buffer)));
    public.merge(routes.admin).merge(routes.operations).layer(
        ServiceBuilder::new()
            .layer(MapRequestLayer::new(telemetry::drop_bad_request_id))
            .layer(SetRequestIdLayer::new(request_id(), RandomRequestId))
            .layer(
                TraceLayer::new_for_http()
                    .make_span_with(telemetry::request_span)
                    .on_request(())
                    .on_response(telemetry::log_answer)
                    .on_failure(()),
            )
            .layer(PropagateRequestIdLayer::new(request_id()))
            .layer(middleware::from_fn_with_state(
                metrics.clone(),
                telemetry::measure,
            ))
            .layer(SetResponseHeaderLayer::overriding(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            )),
    )
}

fn request_id() -> HeaderName {
    HeaderName::from_static(telemetry::REQUEST_ID)
}
