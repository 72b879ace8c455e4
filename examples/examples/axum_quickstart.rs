//! A limit and a breaker on an axum router: `cargo run -p ordering --example axum_quickstart`
//!
//! ```sh
//! curl -i http://127.0.0.1:3000/soup     # ten times a second: then 429, and when to come back
//! curl -i http://127.0.0.1:3000/cake     # fails every time: after five, 503 at once for 5 s
//! ```

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
};

use axum::{Router, extract::ConnectInfo, http::StatusCode, routing::get};
use resilience_core::{
    CircuitBreaker, RateLimiter, Respond, circuit_breaker, key::ClientIp, rate_limit,
    rate_limit::Quota,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Engines hold the state: layers, routes and connections made from one share it.
    let clients = rate_limit::Policy::new("clients", Quota::per_second(10));
    let clients: RateLimiter<IpAddr> = RateLimiter::new(clients)?;
    let oven = CircuitBreaker::new(circuit_breaker::Policy::new("oven").min_calls(5))?;
    let address = ClientIp::from_extension(|peer: &ConnectInfo<SocketAddr>| peer.0.ip());

    let app = Router::new()
        .route("/cake", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .layer(Respond::with((oven.layer(),))) // a 500 is a failure without any setting
        .route("/soup", get(async || "soup"))
        .layer(Respond::with((clients.layer_by(address),))); // for both routes

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}/soup", listener.local_addr()?);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(listener, app).await?)
}
