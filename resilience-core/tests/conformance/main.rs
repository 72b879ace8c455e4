//! Runs the conformance cases of `tests/conformance/cases`, or of the folder that the environment
//! variable `CONFORMANCE_DIR` names, against the public engines under a manual clock.
//!
//! The cases' own README is their specification. A step or a field that the runner does not know
//! fails the case; no case is treated differently from the others.

mod backoff;
mod bulkhead;
mod circuit_breaker;
mod rate_limiter;
mod schema;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
};

use resilience_core::ManualClock;
use serde_json::Value;

use self::schema::{Failure, Fields, instant, text};

/// The engine of one case, driven step by step.
trait Subject: Sized {
    /// Builds the engine from a case's `config`.
    fn new(config: &Fields<'_>, clock: &ManualClock) -> Result<Self, Failure>;

    /// Does one step; `at` has been taken care of.
    fn step(&mut self, step: &Fields<'_>) -> Result<(), Failure>;
}

fn main() -> ExitCode {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    let folder = std::env::var_os("CONFORMANCE_DIR").map_or(own, PathBuf::from);
    let (mut passed, mut failed) = (0, 0);
    for file in json_files(&folder) {
        let name = file.display();
        for (case, result) in run_file(&file) {
            match result {
                Ok(()) => passed += 1,
                Err(failure) => {
                    failed += 1;
                    println!("FAILED {name}: {case}: {failure}");
                }
            }
        }
    }
    if passed + failed == 0 {
        println!("FAILED {}: no cases", folder.display());
        failed += 1;
    }
    println!("conformance: {passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut files: Vec<_> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    files
}

/// The cases of a file by their ids, and what became of them.
type Results = Vec<(String, Result<(), Failure>)>;

fn run_file(path: &Path) -> Results {
    let cases = fs::read_to_string(path)
        .map_err(|error| error.to_string())
        .and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()))
        .and_then(|file: Value| run_cases(&file));
    cases.unwrap_or_else(|failure| vec![("the file".into(), Err(failure))])
}

fn run_cases(file: &Value) -> Result<Results, Failure> {
    let fields = Fields::of(file)?;
    schema::expect("schema", &fields.required("schema")?.as_u64(), &Some(1))?;
    let run = match text(fields.required("component")?)? {
        "backoff" => run_case::<backoff::Subject>,
        "bulkhead" => run_case::<bulkhead::Subject>,
        "circuit_breaker" => run_case::<circuit_breaker::Subject>,
        "rate_limiter" => run_case::<rate_limiter::Subject>,
        unknown => return Err(format!("unknown component `{unknown}`")),
    };
    let cases = fields.required("cases")?;
    fields.done()?;
    let cases = cases.as_array().ok_or("`cases` is no list")?;
    Ok(cases
        .iter()
        .map(|case| (id(case), guarded(run, case)))
        .collect())
}

fn id(case: &Value) -> String {
    case["id"].as_str().unwrap_or("a case without id").into()
}

/// A panic fails its own case and no other.
fn guarded(run: fn(&Value) -> Result<(), Failure>, case: &Value) -> Result<(), Failure> {
    catch_unwind(AssertUnwindSafe(|| run(case))).unwrap_or_else(|_| Err("panicked".into()))
}

fn run_case<S: Subject>(case: &Value) -> Result<(), Failure> {
    let fields = Fields::of(case)?;
    for told in ["id", "source", "title"] {
        text(fields.required(told)?)?;
    }
    let steps = fields.required("steps")?;
    let config = Fields::of(fields.required("config")?)?;
    fields.done()?;
    let clock = ManualClock::new();
    let mut subject = S::new(&config, &clock)?;
    config
        .done()
        .map_err(|failure| format!("config: {failure}"))?;
    for (index, step) in steps
        .as_array()
        .ok_or("`steps` is no list")?
        .iter()
        .enumerate()
    {
        run_step(&mut subject, step, &clock)
            .map_err(|failure| format!("step {}, {step}: {failure}", index + 1))?;
    }
    Ok(())
}

fn run_step<S: Subject>(subject: &mut S, step: &Value, clock: &ManualClock) -> Result<(), Failure> {
    let fields = Fields::of(step)?;
    if let Some(at) = fields.read("at", instant)? {
        // A call may have taken longer: the clock never goes back.
        clock.set(clock.now().max(at));
    }
    subject.step(&fields)?;
    fields.done()
}
