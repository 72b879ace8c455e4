//! A task that panics and starts again: `cargo run -p ordering --example background_task`

use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use resilience_core::{
    Environment, Event,
    backoff::Backoff,
    supervise::{Ended, Policy, supervise_in},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let policy = Policy::new("menu-refresh")
        .backoff(Backoff::exponential(Duration::from_millis(100)))
        .max_restarts(3);
    // Without this, events go to `tracing`.
    let environment = Environment::new().observer(|event: &Event<'_>| println!("{event:?}"));
    let runs = Arc::new(AtomicU32::new(0));
    let mut refresh = supervise_in(policy, &environment, move || refresh_menu(runs.clone()))?;
    if refresh.ended().await == Ended::GaveUp {
        println!("after {} restarts it stays down", refresh.restarts());
    }
    Ok(())
}

/// Fails every time, each time in another way.
async fn refresh_menu(runs: Arc<AtomicU32>) -> io::Result<()> {
    match runs.fetch_add(1, Ordering::Relaxed) {
        0 => Err(io::Error::other("the printer is on fire")),
        1 => panic!("no menu at all"),
        _ => Ok(()), // a task that ends is a task that is missed
    }
}
