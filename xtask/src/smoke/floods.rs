//! More requests than a database could stand, of which it is to hear next to nothing.

use std::{io, thread, time::Duration};

use serde_json::Value;

use super::{client::Connection, service::Service};
use crate::{
    invocation::Failure,
    wait::{self, Stopwatch},
};

/// All of them ask for one page that nobody made yet, before anybody reads an answer.
pub(super) fn crowd(service: &Service) -> Result<(), Failure> {
    let before = statements_at_rest(service)?;
    let stopwatch = Stopwatch::start();
    ask_together(service).map_err(|error| broke(&error))?;
    let grown = statements(service)? - before;
    let seconds = stopwatch.read().as_secs_f64();
    println!("{CROWD} requests at once for one cold page: {grown} statement, {seconds:.1} s");
    if grown != 1 {
        return Err(Failure::new(format!("{grown} statements instead of one")));
    }
    Ok(())
}

/// All of them ask for numbers that are no dish's, each for another.
pub(super) fn strangers(service: &Service) -> Result<(), Failure> {
    let before = statements_at_rest(service)?;
    let stopwatch = Stopwatch::start();
    thread::scope(|scope| {
        let bots: Vec<_> = (0..BOTS)
            .map(|bot| scope.spawn(move || ask_for_nothing(service, bot)))
            .collect();
        bots.into_iter()
            .try_for_each(|bot| bot.join().expect("a bot does not panic"))
    })
    .map_err(|error| broke(&error))?;
    let grown = statements(service)? - before;
    let rate = &stats(service)?["bloom_guard"]["dishes"]["false_positive_rate"]["stated"];
    let rate = rate
        .as_f64()
        .ok_or_else(|| Failure::new("the guard states no rate"))?;
    let most = rate * f64::from(STRANGERS) * 1.5;
    let seconds = stopwatch.read().as_secs_f64();
    println!("{STRANGERS} unknown numbers: {grown} statements of {most}, {seconds:.1} s");
    if grown as f64 > most {
        return Err(Failure::new(format!(
            "{grown} statements are more than {most}"
        )));
    }
    Ok(())
}

fn ask_together(service: &Service) -> io::Result<()> {
    let connections = (0..CROWD / AT_ONCE).map(|_| Connection::open(service.address()));
    let mut connections = connections.collect::<io::Result<Vec<_>>>()?;
    for connection in &mut connections {
        connection.ask((0..AT_ONCE).map(|_| "/dishes/7"))?;
    }
    let mut connections = connections.iter_mut();
    connections.try_for_each(|connection| expect(connection, AT_ONCE, 200))
}

fn ask_for_nothing(service: &Service, bot: u32) -> io::Result<()> {
    let mut random = fastrand::Rng::with_seed(bot.into());
    let mut connection = Connection::open(service.address())?;
    for _ in 0..STRANGERS / BOTS / AT_ONCE {
        let path = |_| format!("/dishes/{}", random.i64(1_000..));
        connection.ask((0..AT_ONCE).map(path))?;
        expect(&mut connection, AT_ONCE, 404)?;
    }
    Ok(())
}

fn expect(connection: &mut Connection, answers: u32, status: u16) -> io::Result<()> {
    for _ in 0..answers {
        let told = connection.answer()?.status;
        if told != status {
            return Err(io::Error::other(format!("{told} instead of {status}")));
        }
    }
    Ok(())
}

fn statements(service: &Service) -> Result<u64, Failure> {
    let statements = stats(service)?["sql_statements"].as_u64();
    statements.ok_or_else(|| Failure::new("the service counts no statements"))
}

/// The same once nothing is sent that nobody asked for: a service that has just started looks for what
/// an earlier one left, and then for a minute no more.
fn statements_at_rest(service: &Service) -> Result<u64, Failure> {
    let mut last = None;
    let at_rest = wait::until(REST, || match statements(service) {
        Ok(sent) => (last.replace(sent) == Some(sent)).then_some(Ok(sent)),
        Err(problem) => Some(Err(problem)),
    });
    at_rest.unwrap_or_else(|| Err(Failure::new("the service sends statements by itself")))
}

fn stats(service: &Service) -> Result<Value, Failure> {
    let stats = service.get("/admin/stats")?;
    serde_json::from_str(&stats).map_err(|error| Failure::new(format!("/admin/stats: {error}")))
}

fn broke(error: &io::Error) -> Failure {
    Failure::new(format!("a connection to the service broke: {error}"))
}

const CROWD: u32 = 5_000;
const STRANGERS: u32 = 200_000;
const BOTS: u32 = 4;

/// Until a service has nothing left to do that nobody asked for.
const REST: Duration = Duration::from_secs(10);

/// Requests ahead of their answers on one connection.
const AT_ONCE: u32 = 20;
