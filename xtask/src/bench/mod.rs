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
pub(crate) const ABOUT: &str = "measures the layers beside their peers and reports in \
    target/bench; where nothing is left out it writes the README's table, and fails if a bar is \
    missed; the groups are floor, breaker, limiter, bulkhead, cache, guard, panics, stack, growth, \
    metered, load, redis";

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
    judge(&wanted, &failures, &report)
}

/// What the run comes to. A bar counts where all was measured for as long as it takes: a quick
/// run, or a part of one, is to show what there is and proves nothing.
fn judge(wanted: &Wanted, failures: &[String], report: &Report) -> Result<(), Failure> {
    let mut problems = Vec::new();
    if !failures.is_empty() {
        problems.push(format!(
            "not everything was measured: {}",
            failures.join(", ")
        ));
    }
    let missed: Vec<_> = bars::missed(&report.figures).collect();
    if wanted.is_everything_in_full() && !missed.is_empty() {
        problems.push(format!("bars were missed: {}", missed.join(", ")));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::new(problems.join("; ")))
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
    use super::{figures::tests::figures, *};

    #[test]
    fn a_full_run_fails_where_a_bar_is_missed_and_says_which() {
        let run = |arguments: &[&str], nanos: u64| {
            let arguments: Vec<_> = arguments.iter().map(|it| (*it).to_owned()).collect();
            let wanted = Wanted::parse(&arguments).expect("known words");
            judge(&wanted, &[], &bulkhead(nanos))
        };
        let failure = run(&[], 31).expect_err("a bar is missed").to_string();
        assert_eq!(failure, "failed: bars were missed: `bulkhead/ours/1`");
        run(&[], 29).expect("every bar that was measured is reached");
        run(&["--quick"], 31).expect("too short to prove anything");
        run(&["bulkhead"], 31).expect("not all that there is");
    }

    #[test]
    fn a_run_tells_both_what_was_not_measured_and_what_was_missed() {
        let wanted = Wanted::parse(&[]).expect("nothing to misread");
        let failure = judge(&wanted, &["load".to_owned()], &bulkhead(31));
        assert_eq!(
            failure.expect_err("a group failed").to_string(),
            "failed: not everything was measured: load; bars were missed: `bulkhead/ours/1`"
        );
    }

    /// A run that measured a bulkhead alone, whose bar is 30 ns.
    fn bulkhead(nanos: u64) -> Report {
        let row = format!("{{\"id\":\"bulkhead/ours/1\",\"ns\":{nanos},\"allocs\":0}}\n");
        Report {
            machine: machine::Machine::here(arguments::Length::Full),
            figures: figures(&row),
        }
    }

    #[test]
    fn the_list_of_commands_names_every_group() {
        let names: Vec<_> = group::ALL.iter().map(Group::name).collect();
        assert!(ABOUT.ends_with(&names.join(", ")), "{names:?}");
    }
}
