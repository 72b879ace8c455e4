//! `cargo deny`, by `deny.toml`.

use std::time::Duration;

use crate::{
    invocation::{Failure, Invocation},
    steps::Verdict,
    tools,
};

const VERSION: &str = "0.20.2";

/// A network that answers nothing must not hold up a run.
const FETCH_LIMIT: Duration = Duration::from_secs(2 * 60);

/// Licences, bans and sources: what the tree itself can tell.
pub(crate) fn dependencies() -> Result<Verdict, Failure> {
    let Some(program) = program()? else {
        return Ok(no_program());
    };
    check(&program, &["bans", "licenses", "sources"])
}

/// Known vulnerabilities, where their database can be had.
pub(crate) fn advisories() -> Result<Verdict, Failure> {
    let Some(program) = program()? else {
        return Ok(no_program());
    };
    let fetch = Invocation::new(&program).arguments(["--all-features", "fetch", "db"]);
    if !matches!(fetch.run_within(FETCH_LIMIT), Ok(true)) {
        return Ok(Verdict::Skipped(
            "the advisory database is out of reach".to_owned(),
        ));
    }
    check(&program, &["--disable-fetch", "advisories"])
}

fn check(program: &str, what: &[&str]) -> Result<Verdict, Failure> {
    Invocation::new(program)
        .arguments(["--all-features", "check", "--hide-inclusion-graph"])
        .arguments(what.iter().copied())
        .run()?;
    Ok(Verdict::Passed)
}

fn no_program() -> Verdict {
    let minutes = tools::BUILD_LIMIT.as_secs() / 60;
    Verdict::Skipped(format!(
        "cargo-deny was not built within {minutes} minutes; `cargo install cargo-deny --locked`"
    ))
}

/// The user's own, or one that we build.
fn program() -> Result<Option<String>, Failure> {
    match tools::find("cargo-deny") {
        Some(program) => Ok(Some(program.to_string_lossy().into_owned())),
        None => tools::built("cargo-deny", VERSION),
    }
}
