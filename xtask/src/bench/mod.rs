//! `cargo xtask bench`.

mod arguments;
mod bars;
mod chart;
mod digits;
mod figures;
mod group;
mod machine;
mod markdown;
mod plot;
mod readme;
mod report;

use std::{fs, io, path::Path};

use self::{arguments::Wanted, group::Group, report::Report};
use crate::{
    invocation::{Failure, Invocation, target_folder},
    wait::Stopwatch,
};

/// For the list of commands.
pub(crate) const ABOUT: &str = "measures the layers beside their peers, reports in target/bench, \
    and, where nothing is left out, writes the README's table; the groups are floor, breaker, \
    limiter, bulkhead, cache, guard, panics, stack, growth, metered, load, redis";

/// Builds all, measures group by group, each in a process of its own, and reports.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let wanted = Wanted::parse(arguments)?;
    let folder = target_folder().join("bench");
    let mut builds: Vec<_> = wanted.groups().map(Group::build).collect();
    builds.dedup();
    builds.iter().try_for_each(Invocation::run)?;
    // What was measured before is there until there is something new.
    clear(&folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;

    let Measured {
        groups,
        mut failures,
    } = measure(&wanted, &folder)?;
    let report = Report::collect(&folder, &wanted)?;
    if failures.is_empty() {
        failures = missing(&wanted, &report);
    }
    if wanted.is_everything_in_full() && failures.is_empty() {
        readme::update(&report)?;
    }
    print!(
        "\n{}\n{}\n{groups}",
        markdown::bars(&report),
        bars::summary(&report.figures)
    );
    println!("\nmore: {}", folder.join("report.md").display());
    if failures.is_empty() {
        return Ok(());
    }
    let failures = failures.join(", ");
    Err(Failure::new(format!(
        "not everything was measured: {failures}"
    )))
}

fn clear(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)
}

/// How the groups went.
#[derive(Default)]
struct Measured {
    /// A line for each.
    groups: String,
    /// The names of those that failed.
    failures: Vec<String>,
}

/// The report is written anew after each group, and a group that fails takes nothing from the
/// others: a whole run takes its time, and is not to be lost near its end.
fn measure(wanted: &Wanted, folder: &Path) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    for group in wanted.groups() {
        let stopwatch = Stopwatch::start();
        let result = group.run(wanted, folder);
        let seconds = stopwatch.read().as_secs_f64();
        let mut line = format!("{:<10} {seconds:>6.1} s", group.name());
        if let Err(failure) = result {
            eprintln!("{failure}");
            line.push_str("  FAILED");
            measured.failures.push(group.name().to_owned());
        }
        measured.groups.push_str(&line);
        measured.groups.push('\n');
        Report::collect(folder, wanted)?.write(folder)?;
    }
    Ok(measured)
}

/// What a run without failures was to measure and did not.
fn missing(wanted: &Wanted, report: &Report) -> Vec<String> {
    if wanted.is_everything() {
        return bars::not_measured(&report.figures).collect();
    }
    match wanted.filter() {
        Some(filter) if report.figures.rows.is_empty() => {
            vec![format!("nothing is named {filter}")]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_commands_names_every_group() {
        let names: Vec<_> = group::ALL.iter().map(Group::name).collect();
        assert!(ABOUT.ends_with(&names.join(", ")), "{names:?}");
    }
}
