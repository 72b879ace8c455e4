//! `cargo xtask fuzz`.

use std::fs;

use crate::{
    cargo::cargo,
    invocation::{Failure, root},
};

const SECONDS: &str = "30";

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let known = targets()?;
    let (chosen, seconds) = match arguments {
        [] => (known, SECONDS),
        [target] => (vec![target.clone()], SECONDS),
        [target, seconds] => (vec![target.clone()], seconds.as_str()),
        [_, _, ..] => return Err(Failure::new("at most a target and a number of seconds")),
    };
    if !cargo("fuzz --version").succeeds() {
        return Err(Failure::new(
            "cargo-fuzz is missing: `cargo install cargo-fuzz --locked`",
        ));
    }
    for target in chosen {
        // No sanitizer: without unsafe code it could find nothing, and costs half the speed.
        cargo("fuzz run --sanitizer none")
            .arguments([target.as_str(), "--"])
            .arguments([format!("-max_total_time={seconds}")])
            // cargo-fuzz asks for flags that a stable compiler keeps behind this switch.
            .environment("RUSTC_BOOTSTRAP", "1")
            .run()?;
    }
    Ok(())
}

/// Each target is a file.
fn targets() -> Result<Vec<String>, Failure> {
    let folder = root().join("fuzz").join("fuzz_targets");
    let unreadable = |error| Failure::new(format!("{}: {error}", folder.display()));
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        targets.extend(
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned()),
        );
    }
    targets.sort();
    Ok(targets)
}
