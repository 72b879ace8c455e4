//! The stand-in for a payment provider: a server of its own, on a port and with a database of its
//! own, that can be told to misbehave.
//!
//! It keeps its promise towards its callers, which is what makes retries safe: whatever is sent
//! for an order, and however often, the order is charged at most once, and an order that was
//! voided is never charged.
//!
//! - `POST /charges` with `{"order_id", "amount_cents"}`: 200 charged, 402 declined or voided.
//! - `DELETE /charges/{order_id}`: 200, and from then on the order is not charged.

use std::{
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{self, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, post},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use sqlx::AnyPool;
use tokio::net::TcpListener;

use crate::{
    server::{Limits, Server},
    store::{Database, Use},
};

/// How the provider behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// As it should.
    None,
    /// It answers 500 and charges nothing.
    Error,
    /// It does its work and never answers: whether it charged is not known.
    Hang,
    /// It answers after 1.5 s.
    Slow,
    /// It declines every new charge.
    Decline,
}

impl Fault {
    /// All of them; a fault's place is its number.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Error,
        Self::Hang,
        Self::Slow,
        Self::Decline,
    ];

    /// The word in requests and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Error => "error",
            Self::Hang => "hang",
            Self::Slow => "slow",
            Self::Decline => "decline",
        }
    }
}

/// The switch for the provider's behaviour; clones share it.
#[derive(Clone, Debug, Default)]
pub struct FaultSwitch(Arc<AtomicU8>);

impl FaultSwitch {
    /// How the provider behaves now.
    #[must_use]
    pub fn fault(&self) -> Fault {
        Fault::ALL[usize::from(self.0.load(Ordering::Relaxed))]
    }

    /// Makes the provider behave like this from now on.
    pub fn set(&self, fault: Fault) {
        self.0.store(fault as u8, Ordering::Relaxed);
    }
}

/// The provider, running.
#[derive(Debug)]
pub struct PaymentProvider {
    server: Server,
    ledger: AnyPool,
    faults: FaultSwitch,
}

/// Why the provider did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No port was to be had.
    #[error(transparent)]
    Listen(#[from] io::Error),
    /// Its database could not be opened.
    #[error(transparent)]
    Ledger(#[from] sqlx::Error),
}

impl PaymentProvider {
    /// Starts it on a free port of the loopback address, with its ledger in `database`.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(database: &Database) -> Result<Self, StartError> {
        // Survives a crash of the process, which is what this stand-in is there to show.
        let ledger = database.connect(Use::Ledger).await?;
        sqlx::raw_sql(SCHEMA).execute(&ledger).await?;
        let faults = FaultSwitch::default();
        let app = routes(ledger.clone(), faults.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = Server::start(listener, app, Limits::default())?;
        Ok(Self {
            server,
            ledger,
            faults,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The switch for its behaviour.
    #[must_use]
    pub const fn faults(&self) -> &FaultSwitch {
        &self.faults
    }

    /// Stops it.
    pub async fn shutdown(self) {
        self.server.shutdown(Duration::ZERO).await;
        self.ledger.close().await;
    }
}

#[derive(Debug, Deserialize)]
struct ChargeRequest {
    order_id: String,
    amount_cents: i64,
}

#[derive(Clone, Debug)]
struct Provider {
    ledger: AnyPool,
    faults: FaultSwitch,
}

fn routes(ledger: AnyPool, faults: FaultSwitch) -> Router {
    let provider = Provider { ledger, faults };
    Router::new()
        .route("/charges", post(charge))
        .route("/charges/{order_id}", delete(void))
        .layer(middleware::from_fn_with_state(provider.clone(), misbehave))
        .with_state(provider)
}

async fn misbehave(State(provider): State<Provider>, request: Request, next: Next) -> Response {
    match provider.faults.fault() {
        Fault::None | Fault::Decline => next.run(request).await,
        Fault::Error => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Fault::Hang => {
            next.run(request).await;
            pending().await
        }
        Fault::Slow => {
            tokio::time::sleep(SLOW).await;
            next.run(request).await
        }
    }
}

async fn charge(
    State(provider): State<Provider>,
    Json(request): Json<ChargeRequest>,
) -> Result<Response, Failed> {
    let verdict = match provider.faults.fault() {
        Fault::Decline => "declined",
        Fault::None | Fault::Error | Fault::Hang | Fault::Slow => "charged",
    };
    // The first word on an order stands.
    let state: String = sqlx::query_scalar(
        "INSERT INTO charges (order_id, amount_cents, state) VALUES ($1, $2, $3)
         ON CONFLICT (order_id) DO UPDATE SET state = charges.state RETURNING state",
    )
    .bind(request.order_id)
    .bind(request.amount_cents)
    .bind(verdict)
    .fetch_one(&provider.ledger)
    .await?;
    let status = match state.as_str() {
        "charged" => StatusCode::OK,
        _ => StatusCode::PAYMENT_REQUIRED,
    };
    Ok((status, Json(serde_json::json!({ "state": state }))).into_response())
}

async fn void(
    State(provider): State<Provider>,
    extract::Path(order_id): extract::Path<String>,
) -> Result<Response, Failed> {
    sqlx::query(
        "INSERT INTO charges (order_id, amount_cents, state) VALUES ($1, 0, 'voided')
         ON CONFLICT (order_id) DO UPDATE SET state = 'voided'",
    )
    .bind(order_id)
    .execute(&provider.ledger)
    .await?;
    Ok(Json(serde_json::json!({ "state": "voided" })).into_response())
}

/// The ledger could not be written.
#[derive(Debug)]
struct Failed(sqlx::Error);

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        tracing::error!(error = %self.0, "the payment provider's ledger failed");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// Where the ledger is in the orders' database, it is there with their tables.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS charges (
        order_id TEXT PRIMARY KEY,
        amount_cents BIGINT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('charged', 'declined', 'voided'))
    )";

/// Shorter than the service's patience: slow, not failed.
const SLOW: Duration = Duration::from_millis(1_500);
