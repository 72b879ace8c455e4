//! The ordering service's dish page over HTTP, with every layer around it and with none.
//!
//! A server and its clients have a core each. How many pages a second: as many as the server can,
//! all clients asking again as soon as they are answered; the variants take turns, and the ratio
//! is the median of the rounds. How long a page takes: by a timetable at half of what the slowest
//! can, each request timed from when it was due, so that a server that falls behind cannot slow
//! down its own clients and look fast. Here the variants take turns as well, and a percentile is
//! the median of the rounds: whatever else the machine does for a while, it does to one round.

mod client;
mod pages;
mod server;

use std::error::Error;

use benches::{Rounds, report};
use hdrhistogram::Histogram;
use tokio::runtime::Builder;

use self::{client::Clients, pages::Folder, server::Serving};

type Problem = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Problem> {
    let rounds = Rounds::chosen(Rounds::of(7, 400), Rounds::of(15, 1_000));
    let folder = Folder::new()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let own = || folder.clone();
    let servers = [
        // All that stands in the service's `stack.rs`.
        ("dish_page", "ours", Serving::start(pages::service(own()))?),
        // The same handler and accept loop without any of it: each request is the database's.
        (
            "dish_page",
            "axum",
            Serving::start(pages::from_database(own()))?,
        ),
        // Bytes that are there already, which no service of this kind can answer with: what all
        // that is around a page costs, down to request ids and metrics.
        (
            "dish_page_in_memory",
            "axum",
            Serving::start(pages::from_memory(own()))?,
        ),
    ];
    let clients: Vec<_> = servers
        .iter()
        .map(|it| Clients::of(it.2.address()))
        .collect();

    let mut rates = vec![Vec::new(); servers.len()];
    for _ in 0..rounds.number {
        for (clients, rates) in clients.iter().zip(&mut rates) {
            rates.push(runtime.block_on(clients.as_many_as_possible(rounds.length))?);
        }
    }
    let slowest = rates.iter().map(|rates| median(rates.clone()));
    let half = slowest.fold(f64::INFINITY, f64::min) / 2.0;
    let mut latencies = vec![Vec::new(); servers.len()];
    for _ in 0..rounds.number {
        for (clients, latencies) in clients.iter().zip(&mut latencies) {
            latencies.push(runtime.block_on(clients.by_timetable(half, rounds.length))?);
        }
    }
    for (number, (layer, who, server)) in servers.iter().enumerate() {
        let allocations = server.allocations(|| runtime.block_on(clients[number].some()))?;
        write(
            &format!("{layer}/{who}/1"),
            &latencies[number],
            median(rates[number].clone()),
            allocations,
        );
    }
    let ratio = |other: usize| {
        let pairs = rates[0].iter().zip(&rates[other]);
        median(pairs.map(|(ours, other)| ours / other).collect())
    };
    report::ratio("dish_page", ratio(1));
    report::ratio("dish_page_in_memory", ratio(2));
    folder.remove()
}

#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds of far less than a year"
)]
fn write(id: &str, rounds: &[Histogram<u64>], per_second: f64, allocations: f64) {
    let at = |percentile| {
        let rounds = rounds.iter();
        median(
            rounds
                .map(|it| it.value_at_quantile(percentile) as f64)
                .collect(),
        )
    };
    println!(
        "{id}: {per_second:.0} a second; at half of the slowest, p50 {:.0} p99 {:.0} p99.9 {:.0} µs",
        at(0.5) / 1e3,
        at(0.99) / 1e3,
        at(0.999) / 1e3
    );
    report::write(id, |row| {
        row.insert("ns".to_owned(), at(0.5).into());
        row.insert("p99_ns".to_owned(), at(0.99).into());
        row.insert("per_second".to_owned(), per_second.into());
        row.insert("allocs".to_owned(), allocations.into());
    });
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
