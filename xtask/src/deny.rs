//! `cargo deny`, by `deny.toml`.

use std::{path::Path, time::Duration};

use crate::{
    invocation::{Failure, Invocation, target_folder},
    steps::Verdict,
    tools,
};

const VERSION: &str = "0.20.2";

/// Of the 40 minutes that a run may take on two cores, what may go into building a tool.
const BUILD_LIMIT: Duration = Duration::from_secs(10 * 60);

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
    let minutes = BUILD_LIMIT.as_secs() / 60;
    Verdict::Skipped(format!(
        "cargo-deny was not built within {minutes} minutes; `cargo install cargo-deny --locked`"
    ))
}

/// The user's own, or one that we build into the target folder, without optimisation: it runs
/// for a second or two.
fn program() -> Result<Option<String>, Failure> {
    if let Some(program) = tools::find("cargo-deny") {
        return Ok(Some(text(&program)));
    }
    let folder = target_folder().join("tools");
    let program = folder.join("bin").join("cargo-deny");
    if program.is_file() {
        return Ok(Some(text(&program)));
    }
    let built = crate::cargo::cargo("install cargo-deny --locked --debug --quiet")
        .arguments(["--version", VERSION, "--root"])
        .arguments([text(&folder)])
        .run_within(BUILD_LIMIT)?;
    Ok(built.then(|| text(&program)))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
