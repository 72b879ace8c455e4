//! The README's first command, as a newcomer runs it, and what it is to stand.

mod client;
mod floods;
mod service;

use self::service::Service;
use crate::{cargo::cargo, invocation::Failure, steps::Verdict};

/// Builds apart, so that the table tells the build from the run.
pub(crate) fn build() -> Result<Verdict, Failure> {
    cargo("build --release --package ordering").run()?;
    Ok(Verdict::Passed)
}

/// Starts the service, asks it for its health and its menu, and stops it as an init system would.
pub(crate) fn run() -> Result<Verdict, Failure> {
    if !cfg!(unix) {
        return Ok(no_signal());
    }
    let service = Service::start(cargo("run --release --package ordering"))?;
    let menu = service.get("/dishes")?;
    if !menu.contains("price_cents") {
        return Err(Failure::new(format!("GET /dishes is no menu: {menu}")));
    }
    service.stop()?;
    Ok(Verdict::Passed)
}

/// Sends the service more requests than its database could stand, and reads what came of it from
/// the service's own figures.
pub(crate) fn floods() -> Result<Verdict, Failure> {
    if !cfg!(unix) {
        return Ok(no_signal());
    }
    // All of them come from one address, and not one is worth a line in the log.
    let command = cargo(
        "run --release --package ordering -- --requests-per-client 4294967295 \
         --requests-per-second 4294967295",
    );
    let service = Service::start(command.environment("RUST_LOG", "warn"))?;
    floods::crowd(&service)?;
    floods::strangers(&service)?;
    service.stop()?;
    Ok(Verdict::Passed)
}

fn no_signal() -> Verdict {
    Verdict::Skipped("there is no SIGTERM here".to_owned())
}
