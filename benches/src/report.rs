//! What a benchmark hands to `cargo xtask bench`: a line of JSON for each figure.

use std::{
    env,
    fs::OpenOptions,
    io::{self, Write as _},
};

use serde_json::{Map, Value};

/// Writes the row `id` with the fields that `fill` sets to the file that is to have it.
///
/// Fields: `ns`, `allocs`, `p99_ns`, `p999_ns` and `per_second`, all numbers, all of one call. Where
/// nobody collects, it is printed.
///
/// # Panics
///
/// When the file cannot be written: a figure that is lost must not go unseen.
pub fn write(id: &str, fill: impl FnOnce(&mut Map<String, Value>)) {
    let mut row = Map::from_iter([("id".to_owned(), id.into())]);
    fill(&mut row);
    append(&Value::Object(row).to_string()).expect("the file of rows can be written");
}

/// Writes a figure that is no row: a ratio, or a size, by a name of its own.
///
/// # Panics
///
/// As [`write()`].
pub fn ratio(name: &str, value: f64) {
    let line = serde_json::json!({ "ratio": name, "value": value });
    append(&line.to_string()).expect("the file of rows can be written");
}

fn append(line: &str) -> io::Result<()> {
    let Some(path) = env::var_os(FILE) else {
        println!("{line}");
        return Ok(());
    };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{line}")
}

/// The environment variable that names the file.
const FILE: &str = "BENCH_ROWS";
