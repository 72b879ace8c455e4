//! `cargo xtask bench`.

mod arguments;
mod bars;
mod chart;
mod figures;
mod group;
mod machine;
mod markdown;
mod plot;
mod readme;
mod report;

use std::{fs, io, path::Path};

use self::{arguments::Wanted, group::Group, report::Report};
use crate::invocation::{Failure, Invocation, target_folder};

/// Builds all, measures group by group, each in a process of its own, and reports.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let wanted = Wanted::parse(arguments)?;
    let folder = target_folder().join("bench");
    let failed = |error: io::Error| Failure::new(format!("{}: {error}", folder.display()));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(failed)?;
    }
    fs::create_dir_all(&folder).map_err(failed)?;

    let mut builds: Vec<_> = wanted.groups().map(Group::build).collect();
    builds.dedup();
    builds.iter().try_for_each(Invocation::run)?;
    for group in wanted.groups() {
        group.run(&wanted, &folder)?;
    }
    let report = Report::collect(&folder, &wanted)?;
    for (name, text) in [
        ("report.json", report.json()),
        ("report.md", markdown::render(&report)),
        ("bars.svg", chart::render(&report.figures)),
        ("growth.svg", plot::render(&report.figures)),
    ] {
        write(&folder.join(name), &text)?;
    }
    if wanted.is_everything_in_full() {
        readme::update(&report)?;
    }
    print!("\n{}", markdown::bars(&report));
    println!("\nmore: {}", folder.join("report.md").display());
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}
