//! The client of the payment provider.
//!
//! Charges carry the order's id, by which the provider tells a retry from a second charge. That is
//! why an answer that never came can simply be asked for again.

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use resilience_core::{BoxError, Rejectable, Rejected};
use tokio::time::timeout;
use tower::ServiceExt;

use crate::stack::{self, PaymentService};

/// The payment provider, through everything that protects us from it; clones share that.
#[derive(Clone)]
pub struct PaymentClient {
    provider: SocketAddr,
    service: PaymentService,
}

/// What the provider said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The order is charged; once, no matter how often it was asked for.
    Charged,
    /// The order is not charged and never will be.
    Declined,
}

/// The provider gave no usable answer: what it did is not known, unless it was not even asked.
#[derive(Debug)]
pub struct Unavailable(BoxError);

impl Unavailable {
    /// The refusal of one of our layers, where the provider was not asked.
    #[must_use]
    pub fn rejected(&self) -> Option<&Rejected> {
        self.0.as_rejected()
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PaymentClient {
    /// A client of the provider at `provider`, with the engines in `outbound` before it.
    #[must_use]
    pub fn new(provider: SocketAddr, outbound: &stack::Outbound, patience: Duration) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(HttpConnector::new());
        let exchange =
            tower::service_fn(move |request| exchange(client.clone(), request, patience));
        Self {
            provider,
            service: stack::outbound(exchange, outbound),
        }
    }

    /// Charges `amount_cents` for `order_id`, at most once.
    ///
    /// # Errors
    ///
    /// Where the provider gave no answer, or was not asked.
    pub async fn charge(&self, order_id: &str, amount_cents: i64) -> Result<Charge, Unavailable> {
        let body = serde_json::json!({ "order_id": order_id, "amount_cents": amount_cents });
        let status = self
            .send(Method::POST, "/charges", body.to_string())
            .await?;
        match status {
            StatusCode::OK => Ok(Charge::Charged),
            StatusCode::PAYMENT_REQUIRED => Ok(Charge::Declined),
            other => Err(unexpected(other)),
        }
    }

    /// Takes back what was charged for `order_id`, if anything, and forbids to charge it later.
    ///
    /// # Errors
    ///
    /// Where the provider gave no answer, or was not asked.
    pub async fn void(&self, order_id: &str) -> Result<(), Unavailable> {
        let path = format!("/charges/{order_id}");
        match self.send(Method::DELETE, &path, String::new()).await? {
            StatusCode::OK => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<StatusCode, Unavailable> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.provider))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|error| Unavailable(error.into()))?;
        let response = self
            .service
            .clone()
            .oneshot(request)
            .await
            .map_err(Unavailable)?;
        let (head, body) = response.into_parts();
        // The layers see the call's outcome at the end of the body.
        body.collect()
            .await
            .map_err(|error| Unavailable(error.into()))?;
        Ok(head.status)
    }
}

impl fmt::Debug for PaymentClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentClient")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// One request and its whole answer, within `patience`.
async fn exchange(
    client: Client<HttpConnector, Full<Bytes>>,
    request: Request<Full<Bytes>>,
    patience: Duration,
) -> Result<Response<Full<Bytes>>, BoxError> {
    let answer = async {
        let (head, body) = client.request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await?;
        Ok(Response::from_parts(head, Full::new(body.to_bytes())))
    };
    timeout(patience, answer).await?
}

fn unexpected(status: StatusCode) -> Unavailable {
    Unavailable(format!("the payment provider answered {status}").into())
}

/// Shorter than the provider's own patience with idle connections, so that no request is sent on
/// one that is just being closed.
const IDLE: Duration = Duration::from_secs(3);

const ANSWER_BYTES: usize = 64 * 1024;
