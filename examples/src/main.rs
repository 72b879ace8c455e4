//! `cargo run --release -p ordering`

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use ordering::{Config, Running, store::Database};

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    ordering::telemetry::log_to_stderr();
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("cannot listen for signals: {error}")),
    };
    match ordering::start(config).await {
        Ok(running) => serve(running, signals).await,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(error: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::FAILURE
}

async fn serve(running: Running, mut signals: Signals) -> ExitCode {
    greet(running.address(), running.database());
    signals.next().await;
    say("Stopping: requests under way may finish.");
    tokio::select! {
        cut_off = running.shutdown(PATIENCE) => {
            if cut_off > 0 {
                tracing::warn!(connections = cut_off, "cut off after {PATIENCE:?}");
            }
            ExitCode::SUCCESS
        }
        () = signals.next() => fail("stopped at once by a second signal"),
    }
}

/// Not `println`, which panics once whoever read our words is gone.
fn say(words: &str) {
    let _ = writeln!(io::stdout(), "{words}");
}

fn greet(address: std::net::SocketAddr, database: &Database) {
    let url = format!("http://{address}");
    say(&format!(
        "The ordering service is open: {url}

  See it      {url}/            in a browser: order, and watch the layers answer
  The menu    curl {url}/dishes
  Order       curl -i {url}/orders -H 'content-type: application/json' \\
                -d '{{\"user_id\": \"ada\", \"items\": [{{\"dish_id\": 1, \"quantity\": 1}}]}}'
  Break it    curl -i {url}/admin/payment-fault -H 'content-type: application/json' \\
                -d '{{\"mode\": \"error\"}}'   (or none, hang, slow, decline), then order again
  Panic       curl -i -X POST {url}/admin/panic
  Watch it    curl {url}/health/ready ; curl {url}/metrics
  Count       curl {url}/admin/stats   (what each layer did, and what came to the database)

The data is in {database}. Log lines go to stderr. Ctrl-C stops."
    ));
}

/// Ctrl-C, and what a service manager sends.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Longer than any request should take: 10 s for a place, 3 s for the provider.
const PATIENCE: Duration = Duration::from_secs(15);
