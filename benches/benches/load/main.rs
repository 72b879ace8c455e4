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

use std::{error::Error, iter};

use benches::{Rounds, median, report};
use hdrhistogram::Histogram;
use tokio::runtime::{Builder, Runtime};

use self::{client::Clients, pages::Folder, server::Serving};

type Problem = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Problem> {
    let rounds = Rounds::chosen(Rounds::of(7, 400), Rounds::of(15, 1_000));
    let folder = Folder::new()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut variants = variants(&folder)?;
    check_pages(&runtime, &variants)?;
    for _ in 0..rounds.number {
        for variant in &mut variants {
            let asked = variant.clients.as_many_as_possible(rounds.length);
            variant.rates.push(runtime.block_on(asked)?);
        }
    }
    let slowest = variants.iter().map(|it| median(it.rates.clone()));
    let half = slowest.fold(f64::INFINITY, f64::min) / 2.0;
    for _ in 0..rounds.number {
        for variant in &mut variants {
            let asked = variant.clients.by_timetable(half, rounds.length);
            variant.latencies.push(runtime.block_on(asked)?);
        }
    }
    for variant in &variants {
        let some = || runtime.block_on(variant.clients.some());
        variant.write(variant.server.allocations(some)?);
    }
    let [layers, none, memory] = &variants;
    report::ratio("dish_page", layers.over(none));
    report::ratio("dish_page_in_memory", layers.over(memory));
    Ok(())
}

/// One way to make the page, and how it did.
struct Variant {
    layer: &'static str,
    who: &'static str,
    server: Serving,
    clients: Clients,
    /// Pages a second, of each round.
    rates: Vec<f64>,
    latencies: Vec<Histogram<u64>>,
}

fn variants(folder: &Folder) -> Result<[Variant; 3], Problem> {
    let service = pages::service(folder.database("service"));
    let made = pages::from_database(folder.database("made"));
    let memory = pages::from_memory(folder.database("memory"));
    Ok([
        // All that stands in the service's `stack`.
        Variant::of("dish_page", "ours", Serving::start(service)?),
        // The same handler and accept loop without any of it: each request is the database's.
        Variant::of("dish_page", "axum", Serving::start(made)?),
        // Bytes that are there already, which no service of this kind can answer with: what all
        // that is around a page costs, down to request ids and metrics.
        Variant::of("dish_page_in_memory", "axum", Serving::start(memory)?),
    ])
}

/// Whoever answers something else does other work.
fn check_pages(runtime: &Runtime, variants: &[Variant]) -> Result<(), Problem> {
    let page = |variant: &Variant| runtime.block_on(variant.clients.page());
    let pages: Vec<_> = variants.iter().map(page).collect::<Result<_, _>>()?;
    if let Some((one, other)) = iter::zip(&pages, pages.iter().skip(1)).find(|(a, b)| a != b) {
        let [one, other] = [one, other].map(|page| String::from_utf8_lossy(page).into_owned());
        return Err(format!("not the same page:\n{one}\n{other}").into());
    }
    Ok(())
}

impl Variant {
    const fn of(layer: &'static str, who: &'static str, server: Serving) -> Self {
        Self {
            layer,
            who,
            clients: Clients::of(server.address()),
            server,
            rates: Vec::new(),
            latencies: Vec::new(),
        }
    }

    /// How many times as many pages as `other`.
    fn over(&self, other: &Self) -> f64 {
        let rounds = iter::zip(&self.rates, &other.rates);
        median(rounds.map(|(ours, other)| ours / other).collect())
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "nanoseconds of far less than a year"
    )]
    fn nanos_at(&self, quantile: f64) -> f64 {
        let rounds = self.latencies.iter();
        median(
            rounds
                .map(|it| it.value_at_quantile(quantile) as f64)
                .collect(),
        )
    }

    fn write(&self, allocations: f64) {
        let id = format!("{}/{}/1", self.layer, self.who);
        let per_second = median(self.rates.clone());
        let [half, most, nearly_all] = [0.5, 0.99, 0.999].map(|quantile| self.nanos_at(quantile));
        println!(
            "{id}: {per_second:.0} a second; at half of the slowest, p50 {:.0} p99 {:.0} p99.9 {:.0} µs",
            half / 1e3,
            most / 1e3,
            nearly_all / 1e3
        );
        report::write(&id, |row| {
            row.insert("ns".to_owned(), half.into());
            row.insert("p99_ns".to_owned(), most.into());
            row.insert("p999_ns".to_owned(), nearly_all.into());
            row.insert("per_second".to_owned(), per_second.into());
            row.insert("allocs".to_owned(), allocations.into());
        });
    }
}
