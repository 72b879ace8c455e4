//! `cargo xtask bench`.

use crate::{cargo::cargo, invocation::Failure};

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    cargo("bench --package benches")
        .arguments(arguments.iter().map(String::as_str))
        .run()
}
