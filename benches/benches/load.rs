//! Latency of a page under load, with every layer around it and with none.
//!
//! Requests leave by a timetable, whether or not earlier ones have their answers, and each is timed
//! from when it was due: a server that falls behind cannot slow down its own clients and look fast.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{Router, body::Bytes, routing::get};
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use resilience_core::{
    Bulkhead, CatchPanic, CircuitBreaker, Clock, InvalidPolicy, RateLimiter, Respond, Timestamp,
    circuit_breaker, concurrency,
    rate_limit::{self, Quota},
};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

type Problem = Box<dyn Error + Send + Sync>;
type Requests = Client<HttpConnector, Empty<Bytes>>;

/// Well below what two cores can do: percentiles at the limit tell about queues alone.
const PER_SECOND: u32 = 2000;
const SECONDS: u32 = 5;

/// A request that left so much later than it was due was held up by this program.
const LATE: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let requests = if smoke { 20 } else { PER_SECOND * SECONDS };
    println!("{requests} requests, {PER_SECOND} a second, latencies in microseconds");
    for (name, app) in [("no layer", page()), ("all layers", protected()?)] {
        let address = serve(app).await?;
        load(address, requests / 10).await?; // warms up connections and caches
        let (latencies, late) = load(address, requests).await?;
        let at = |percentile| latencies.value_at_quantile(percentile);
        let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
        println!("{name:<10}  p50 {p50:>6}  p99 {p99:>6}  p99.9 {p999:>6}  late starts {late}");
    }
    Ok(())
}

fn page() -> Router {
    Router::new().route("/", get(async || "soup"))
}

fn protected() -> Result<Router, InvalidPolicy> {
    let quota = Quota::new(u64::from(PER_SECOND) * 1000, Duration::from_secs(1));
    let limiter = RateLimiter::new(rate_limit::Policy::new("all", quota))?;
    let bulkhead = Bulkhead::new(concurrency::Policy::new("handlers", 1024))?;
    let breaker = CircuitBreaker::new(circuit_breaker::Policy::new("kitchen"))?;
    let panics = CatchPanic::new("handlers")?;
    let layers = (
        limiter.layer(),
        bulkhead.layer(),
        breaker.layer(),
        panics.layer(),
    );
    Ok(page().layer(Respond::with(layers)))
}

async fn serve(app: Router) -> Result<SocketAddr, Problem> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

/// Sends `requests` on time; returns their latencies and how many left late.
async fn load(address: SocketAddr, requests: u32) -> Result<(Histogram<u64>, u32), Problem> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let clock = Clock::system();
    let start = clock.now();
    let mut under_way = JoinSet::new();
    let mut late = 0;
    for number in 0..requests {
        let due = start.saturating_add(Duration::from_secs(1) * number / PER_SECOND);
        while clock.now() < due {
            sleep(due.saturating_since(clock.now())).await;
        }
        late += u32::from(clock.now().saturating_since(due) > LATE);
        under_way.spawn(request(client.clone(), address, clock.clone(), due));
    }
    // Up to a minute, to three digits.
    let mut latencies = Histogram::new_with_max(60_000_000, 3)?;
    while let Some(latency) = under_way.join_next().await {
        let micros = u64::try_from(latency??.as_micros())?;
        latencies.saturating_record(micros);
    }
    Ok((latencies, late))
}

async fn request(
    client: Requests,
    address: SocketAddr,
    clock: Clock,
    due: Timestamp,
) -> Result<Duration, Problem> {
    let response = client.get(format!("http://{address}/").parse()?).await?;
    if !response.status().is_success() {
        return Err(format!("answered {}", response.status()).into());
    }
    response.into_body().collect().await?;
    Ok(clock.now().saturating_since(due))
}
