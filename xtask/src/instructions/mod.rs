//! `cargo xtask instructions`: instructions of our layers' calls, held against a table.
//!
//! Valgrind counts what a program does, not how long it takes: a machine with other work, where no
//! bar in nanoseconds could be checked, counts the same as an idle one. Counts change with the
//! compiler, so the table names the one it was recorded with.

mod table;

use std::{fs, path::PathBuf};

use serde_json::Value;

use self::table::{Change, Table};
use crate::{
    cargo::cargo,
    invocation::{Failure, Invocation, root, target_folder},
    steps::Verdict,
    tools,
};

/// What a call may cost more than recorded before somebody must look at it.
const TOLERANCE: f64 = 0.05;

/// The same where another compiler recorded: what is found then is a path that was lost, and no
/// more than that. Without it a new compiler would end all checks unseen.
const TOLERANCE_OF_COMPILERS: f64 = 0.25;

/// `cargo xtask instructions`: checks, or records.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [] => check().map(|verdict| {
            if let Verdict::Skipped(why) = verdict {
                println!("SKIPPED: {why}");
            }
        }),
        [argument] if argument == "--record" => record(),
        _ => Err(Failure::new(
            "`cargo xtask instructions` takes nothing, or `--record`",
        )),
    }
}

/// Fails where a row takes more instructions than recorded.
pub(crate) fn check() -> Result<Verdict, Failure> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        let why = "the table is for Linux on x86-64";
        return Ok(Verdict::Skipped(why.to_owned()));
    }
    let path = path();
    let text = fs::read_to_string(&path);
    let text = text.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    judge(&Table::parse(&text)?, &count()?).map(|()| Verdict::Passed)
}

fn judge(recorded: &Table, counted: &Table) -> Result<(), Failure> {
    let mut tolerance = TOLERANCE;
    if recorded.compiler != counted.compiler {
        tolerance = TOLERANCE_OF_COMPILERS;
        println!(
            "recorded with {}, and this is {}: up to {:.0} % may be due to that",
            recorded.compiler,
            counted.compiler,
            100.0 * tolerance
        );
    }
    let changes = recorded.changes(counted, tolerance).into_iter();
    let (welcome, unwelcome): (Vec<_>, Vec<_>) = changes.partition(Change::is_welcome);
    for change in welcome {
        println!("{change}");
    }
    if unwelcome.is_empty() {
        return Ok(());
    }
    let unwelcome: Vec<_> = unwelcome.iter().map(ToString::to_string).collect();
    let unwelcome = unwelcome.join("\n");
    Err(Failure::new(format!(
        "{unwelcome}\nif that is meant, {RECORD}"
    )))
}

fn record() -> Result<(), Failure> {
    let path = path();
    let written = fs::write(&path, count()?.to_string());
    written.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    println!("{} is written", path.display());
    Ok(())
}

fn path() -> PathBuf {
    root().join("benches").join("instructions.txt")
}

fn count() -> Result<Table, Failure> {
    if tools::find("valgrind").is_none() {
        let problem = "there is no `valgrind`, which counts: `cargo xtask test` installs it";
        return Err(Failure::new(problem));
    }
    let home = target_folder().join("gungraun");
    let bench = cargo("bench --quiet --package benches --bench instructions --")
        .arguments(["--output-format=json", "--nosummary"])
        .arguments(["--callgrind-args=--cache-sim=no"])
        // Code that was built by parts is inlined less, and counts up to a third more.
        .environment("CARGO_INCREMENTAL", "0")
        .environment("GUNGRAUN_RUNNER", runner()?)
        .environment("GUNGRAUN_HOME", home.to_string_lossy());
    println!("$ {bench}");
    let output = bench.output()?;
    let mut table = Table::new(compiler()?);
    for line in String::from_utf8_lossy(&output).lines() {
        let row = row(line);
        let row = row.ok_or_else(|| Failure::new(format!("no count in {line}")))?;
        table.rows.push(row);
    }
    Ok(table)
}

/// What one line of the runner says: whose count, and the instructions of one call.
fn row(line: &str) -> Option<(String, f64)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let total = &line["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"];
    Some((line["id"].as_str()?.to_owned(), total.as_f64()? / CALLS))
}

/// That the benchmark makes.
const CALLS: f64 = 1000.0;

fn compiler() -> Result<String, Failure> {
    let output = Invocation::new("rustc").arguments(["--version"]).output()?;
    Ok(String::from_utf8_lossy(&output).trim().to_owned())
}

/// It must have the version of the library: whatever the user has may have another.
fn runner() -> Result<String, Failure> {
    let program = tools::built("gungraun-runner", VERSION)?;
    program.ok_or_else(|| Failure::new("gungraun-runner took too long to build"))
}

/// Of the library in `benches/Cargo.toml`, and of its runner.
const VERSION: &str = "0.20.0";

const RECORD: &str = "`cargo xtask instructions --record` writes them down";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_of_one_call() {
        let line = r#"{"id":"bare","profiles":[{"data":{"total":{"metrics":{"Ir":{"values":
            {"new":10247}}}}},"tool":"Callgrind"}]}"#;
        assert_eq!(row(line), Some(("bare".to_owned(), 10.247)));
        assert_eq!(row(r#"{"id":"bare","profiles":[]}"#), None);
    }

    #[test]
    fn a_call_that_grew_by_six_percent_fails_by_name_and_with_what_to_do() {
        let recorded = table("rustc 1.95.0", 100.0);
        judge(&recorded, &table("rustc 1.95.0", 105.0)).expect("within the tolerance");
        let failure = judge(&recorded, &table("rustc 1.95.0", 106.0)).expect_err("too much");
        let failure = failure.to_string();
        assert!(
            failure.contains("stack5 GREW from 100.0 to 106.0"),
            "{failure}"
        );
        assert!(
            failure.contains("cargo xtask instructions --record"),
            "{failure}"
        );
    }

    #[test]
    fn another_compiler_may_count_otherwise_and_not_as_it_likes() {
        let recorded = table("rustc 1.95.0", 100.0);
        judge(&recorded, &table("rustc 1.96.0", 120.0)).expect("the compiler's part");
        judge(&recorded, &table("rustc 1.96.0", 130.0)).expect_err("too much for that");
    }

    fn table(compiler: &str, count: f64) -> Table {
        let mut table = Table::new(compiler.to_owned());
        table.rows.push(("stack5".to_owned(), count));
        table
    }

    #[test]
    fn library_and_runner_have_one_version() {
        let manifest = fs::read_to_string(root().join("benches").join("Cargo.toml"));
        let manifest = manifest.expect("it is there");
        assert!(manifest.contains(&format!("gungraun = \"={VERSION}\"")));
    }

    #[test]
    fn the_table_can_be_read() {
        let text = fs::read_to_string(path()).expect("it is there");
        assert!(!Table::parse(&text).expect("a table").rows.is_empty());
    }
}
