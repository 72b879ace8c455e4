//! What a run consists of, and its table at the end.

use std::{fmt, time::Duration};

use crate::{
    cargo, deny, instructions, invocation::Failure, metadata, smoke, tools, wait::Stopwatch,
};

/// How a step ended that did not fail.
#[derive(Debug)]
pub(crate) enum Verdict {
    Passed,
    /// Not done, and why.
    Skipped(String),
}

/// Part of a run: its name, and what it does.
pub(crate) type Step = (&'static str, fn() -> Result<Verdict, Failure>);

/// What every run needs.
pub(crate) const TOOLS: &[Step] = &[("tools", tools::install)];

/// What costs seconds and would be a pity to hear of last.
pub(crate) const BEFORE_TEST: &[Step] = &[
    ("format", cargo::format),
    ("oldest Rust", metadata::oldest_rust),
];

/// `cargo xtask test`.
pub(crate) const TEST: &[Step] = &[
    ("tests", cargo::tests),
    ("conformance cases", cargo::conformance),
    ("fuzz corpora", cargo::corpora),
    ("bars of a fleet", cargo::fleet_bars),
    ("loom models", cargo::loom),
    ("lints", cargo::lints),
];

/// What `cargo xtask ci` adds at the end. Each feature stands beside the lints, whose build it shares.
pub(crate) const AFTER_TEST: &[Step] = &[
    ("each feature", cargo::features),
    ("docs", cargo::docs),
    ("dependencies", deny::dependencies),
    ("advisories", deny::advisories),
];

/// `cargo xtask smoke`.
pub(crate) const SMOKE: &[Step] = &[
    ("release build", smoke::build),
    ("smoke run", smoke::run),
    ("floods", smoke::floods),
];

/// What `cargo xtask ci` ends with.
pub(crate) const MEASURE: &[Step] = &[
    ("benchmarks, once", cargo::benches),
    ("instructions", instructions::check),
];

/// Runs one step after the other until one fails, then prints how each went.
pub(crate) fn run(parts: &[&[Step]]) -> Result<(), Failure> {
    let whole = Stopwatch::start();
    let mut rows = Vec::new();
    let mut result = Ok(());
    for &(name, action) in parts.iter().copied().flatten() {
        println!("\n=== {name}");
        let stopwatch = Stopwatch::start();
        let verdict = match action() {
            Ok(Verdict::Passed) => "passed".to_owned(),
            Ok(Verdict::Skipped(why)) => format!("SKIPPED: {why}"),
            Err(failure) => {
                result = Err(failure);
                "FAILED".to_owned()
            }
        };
        let row = Row {
            name,
            took: stopwatch.read(),
            verdict,
        };
        println!("--- {row}");
        rows.push(row);
        if result.is_err() {
            break;
        }
    }
    println!("\n=== summary");
    for row in &rows {
        println!("{row}");
    }
    println!("{:<18} {:>8.1} s", "all", whole.read().as_secs_f64());
    result
}

struct Row {
    name: &'static str,
    took: Duration,
    verdict: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        write!(f, "{:<18} {seconds:>8.1} s  {}", self.name, self.verdict)
    }
}
