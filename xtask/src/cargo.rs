//! The steps that are one call of cargo.

use crate::{
    invocation::{Failure, Invocation, target_folder},
    metadata::Metadata,
    steps::Verdict,
};

/// `cargo` with `arguments`, separated by spaces.
pub(crate) fn cargo(arguments: &str) -> Invocation {
    Invocation::new("cargo").arguments(arguments.split_whitespace())
}

pub(crate) fn format() -> Result<Verdict, Failure> {
    cargo("fmt --all --check").run()?;
    Ok(Verdict::Passed)
}

pub(crate) fn tests() -> Result<Verdict, Failure> {
    cargo("test --workspace --all-features").run()?;
    Ok(Verdict::Passed)
}

/// Once more, so that its total is seen: with the features of [`tests`] nothing is built again.
pub(crate) fn conformance() -> Result<Verdict, Failure> {
    cargo("test --workspace --all-features --test conformance -- --nocapture").run()?;
    Ok(Verdict::Passed)
}

/// Once more by name, as [`conformance`].
pub(crate) fn corpora() -> Result<Verdict, Failure> {
    cargo("test --workspace --all-features --test fuzz_corpora").run()?;
    Ok(Verdict::Passed)
}

/// Once more, by name and one after the other: how soon a fleet decides again when a server is lost,
/// and how much of a limit it can use, is held against its bars where nothing else runs.
pub(crate) fn fleet_bars() -> Result<Verdict, Failure> {
    cargo("test --workspace --all-features --test redis")
        .arguments(["--", "soon_after", "graceful", "rate_limit::fleet::"])
        .arguments(["--test-threads", "1"])
        .environment("STRICT_TIMES", "1")
        .run()?;
    Ok(Verdict::Passed)
}

/// In a folder of its own, since other flags would have the workspace built anew each time.
pub(crate) fn loom() -> Result<Verdict, Failure> {
    let folder = target_folder().join("loom");
    cargo("test --profile loom --package resilience-core --package resilience-redis --lib")
        .arguments(["--target-dir", &folder.to_string_lossy()])
        .arguments(["loom"])
        .environment("RUSTFLAGS", "--cfg resilience_loom")
        .run()?;
    Ok(Verdict::Passed)
}

pub(crate) fn lints() -> Result<Verdict, Failure> {
    cargo("clippy --workspace --all-targets --all-features -- -D warnings").run()?;
    Ok(Verdict::Passed)
}

/// What users build: each published crate without features, with each alone, and with all.
pub(crate) fn features() -> Result<Verdict, Failure> {
    for package in Metadata::read()?.published() {
        let name = package.name();
        let clippy = |chosen: &[&str]| {
            cargo("clippy --package")
                .arguments([name])
                .arguments(chosen.iter().copied())
                .arguments(["--", "-D", "warnings"])
                .run()
        };
        clippy(&["--no-default-features"])?;
        for feature in package.features() {
            clippy(&["--no-default-features", "--features", feature])?;
        }
        clippy(&["--all-features"])?;
    }
    Ok(Verdict::Passed)
}

/// Each benchmark runs once, so that none is found broken on the day when somebody asks what a
/// change costs.
pub(crate) fn benches() -> Result<Verdict, Failure> {
    cargo(
        "test --workspace --all-features --bench growth --bench layers --bench load --bench redis",
    )
    .arguments(["--bench", "metered", "--", "--test"])
    .run()?;
    Ok(Verdict::Passed)
}

pub(crate) fn docs() -> Result<Verdict, Failure> {
    cargo("doc --workspace --no-deps --all-features")
        .environment("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Ok(Verdict::Passed)
}
