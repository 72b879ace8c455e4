//! Decisions that a fleet shares, beside what a server does for one command, and beside the scripts
//! that limiters are commonly made of.
//!
//! A server and its client have a core each. So many tasks ask, each again as soon as it is answered;
//! all that is compared takes turns, and each figure is the median of the rounds. Everybody has one
//! connection that all tasks share, with the same settings. Then one task asks alone, which tells
//! how long an answer takes.

mod crowd;
mod ours;
mod server;
mod theirs;

use std::error::Error;

use benches::{Rounds, cores::Cores, median, report};
use tokio::runtime::{Builder, Runtime};

use self::{
    crowd::{Asks, Keys},
    ours::Limiter,
    server::Server,
    theirs::{Incr, Script},
};

type Problem = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Problem> {
    let rounds = Rounds::chosen(Rounds::of(5, 300), Rounds::of(11, 1_000));
    let cores = Cores::of_this_process();
    cores.stay_on(0);
    let server = Server::start()?;
    cores.stay_on(1);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(rows(&server.url()))?;
    together(&runtime, &rows, rounds);
    alone(&runtime, &rows, rounds);
    Ok(())
}

/// A name, who is asked, and about what.
type Row = (&'static str, Box<dyn Asks>, Keys);

async fn rows(url: &str) -> Result<Vec<Row>, Problem> {
    let shared = theirs::connect(url).await?;
    let limiter = Limiter::of(url).await?;
    let uniform = Keys::uniform;
    Ok(vec![
        (
            "redis_incr/redis/1",
            Box::new(Incr::new(&shared)),
            uniform(),
        ),
        (
            "redis_limiter_uniform/ours/1",
            Box::new(limiter.roomy("uniform")?),
            uniform(),
        ),
        (
            "redis_limiter_zipf/ours/1",
            Box::new(limiter.roomy("zipf")?),
            Keys::zipf(),
        ),
        (
            "redis_limiter_hot/ours/1",
            Box::new(limiter.roomy("hot")?),
            Keys::one(),
        ),
        (
            "redis_limiter_lease/ours/1",
            Box::new(limiter.leased("lease")?),
            Keys::one(),
        ),
        (
            "redis_limiter_denied/ours/1",
            Box::new(limiter.used_up("denied").await?),
            Keys::one(),
        ),
        (
            "redis_zset_log/redis/1",
            Box::new(Script::zset_log(&shared)),
            uniform(),
        ),
        (
            "redis_gcra_float/redis/1",
            Box::new(Script::gcra_float(&shared)),
            uniform(),
        ),
    ])
}

/// How many answers a second a crowd gets.
fn together(runtime: &Runtime, rows: &[Row], rounds: Rounds) {
    let mut rates = vec![Vec::new(); rows.len()];
    for _ in 0..rounds.number {
        for ((_, asks, keys), rates) in rows.iter().zip(&mut rates) {
            // Every key was asked about a moment before, as where there is traffic.
            runtime.block_on(crowd::crowd(&**asks, keys, TASKS, rounds.length / 2));
            rates.push(runtime.block_on(crowd::crowd(&**asks, keys, TASKS, rounds.length)));
        }
    }
    for ((id, asks, keys), rates) in rows.iter().zip(rates) {
        let rate = median(rates);
        let allocations = allocations(runtime, &**asks, keys);
        println!("{id}: {rate:.0} a second, {allocations:.2} allocations");
        report::write(id, |row| {
            row.insert("ns".to_owned(), (1e9 / rate).into());
            row.insert("per_second".to_owned(), rate.into());
            row.insert("allocs".to_owned(), allocations.into());
        });
    }
}

/// How long an answer takes where one task asks alone: the commands and the decisions take turns.
fn alone(runtime: &Runtime, rows: &[Row], rounds: Rounds) {
    let rows = [
        ("redis_incr_alone/redis/1", &rows[0]),
        ("redis_limiter_alone/ours/1", &rows[1]),
    ];
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..rounds.number {
        for ((_, (_, asks, keys)), times) in rows.iter().zip(&mut times) {
            times.extend(runtime.block_on(crowd::alone(&**asks, keys, rounds.length / 4)));
        }
    }
    for ((id, (_, asks, keys)), mut times) in rows.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let at = |share: usize| times.get(times.len() * share / 100).copied();
        let (half, most) = (at(50).unwrap_or(f64::NAN), at(99).unwrap_or(f64::NAN));
        let allocations = allocations(runtime, &**asks, keys);
        println!("{id}: p50 {half:.0} ns, p99 {most:.0} ns");
        report::write(id, |row| {
            row.insert("ns".to_owned(), half.into());
            row.insert("p99_ns".to_owned(), most.into());
            row.insert("allocs".to_owned(), allocations.into());
        });
    }
}

/// Of one call among those of a crowd, the connection's included.
#[allow(clippy::cast_precision_loss, reason = "some thousand")]
fn allocations(runtime: &Runtime, asks: &dyn Asks, keys: &Keys) -> f64 {
    let mut calls = 0;
    let information = allocation_counter::measure(|| {
        calls = runtime.block_on(crowd::some(asks, keys, TASKS));
    });
    information.count_total as f64 / calls as f64
}

const TASKS: usize = 512;
