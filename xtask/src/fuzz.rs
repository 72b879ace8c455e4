//! `cargo xtask fuzz`.

use std::{fs, io, path::Path};

use crate::{
    cargo::cargo,
    invocation::{Failure, root, target_folder},
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
        // What is found goes to the first folder; the committed corpus is only read.
        let found = target_folder().join("fuzz-corpus").join(&target);
        fs::create_dir_all(&found).map_err(|error| unreadable(&found, &error))?;
        let seeds = root().join("fuzz").join("corpus").join(&target);
        // No sanitizer: without unsafe code it could find nothing, and costs half the speed.
        cargo("fuzz run --sanitizer none")
            .arguments([target])
            .arguments([found, seeds].map(|folder| folder.to_string_lossy().into_owned()))
            .arguments(["--".to_owned(), format!("-max_total_time={seconds}")])
            // cargo-fuzz asks for flags that a stable compiler keeps behind this switch.
            .environment("RUSTC_BOOTSTRAP", "1")
            .run()?;
    }
    Ok(())
}

/// Each target is a file.
fn targets() -> Result<Vec<String>, Failure> {
    let folder = root().join("fuzz").join("fuzz_targets");
    let failure = |error| unreadable(&folder, &error);
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failure)? {
        let path = entry.map_err(failure)?.path();
        targets.extend(
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned()),
        );
    }
    targets.sort();
    Ok(targets)
}

fn unreadable(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{}: {error}", folder.display()))
}
