//! What cargo knows of the workspace.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{cargo::cargo, invocation::Failure, steps::Verdict};

/// The answer of `cargo metadata`.
#[derive(Debug)]
pub(crate) struct Metadata(Value);

impl Metadata {
    pub(crate) fn read() -> Result<Self, Failure> {
        let text = cargo("metadata --format-version 1 --all-features --locked").output()?;
        serde_json::from_slice(&text)
            .map(Self)
            .map_err(|error| Failure::new(format!("`cargo metadata` cannot be read: {error}")))
    }

    /// The crates that users get: members of the workspace that may be published.
    pub(crate) fn published(&self) -> impl Iterator<Item = Package<'_>> {
        // `publish` is null where nothing forbids it, and names no registry where all is forbidden.
        self.packages()
            .filter(|package| package.0["source"].is_null() && package.0["publish"].is_null())
    }

    fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        items(&self.0["packages"]).map(Package)
    }

    /// What is compiled for the published crates: their dependencies for running and building,
    /// and those of these.
    fn compiled_for_users(&self) -> BTreeSet<&str> {
        let nodes: BTreeMap<_, _> = items(&self.0["resolve"]["nodes"])
            .map(|node| (text(&node["id"]), node))
            .collect();
        let mut open: Vec<_> = self.published().map(Package::id).collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let dependencies = nodes.get(id).map(|node| items(&node["deps"]));
            open.extend(
                dependencies
                    .into_iter()
                    .flatten()
                    .filter(|dependency| items(&dependency["dep_kinds"]).any(is_compiled))
                    .map(|dependency| text(&dependency["pkg"])),
            );
        }
        seen
    }
}

/// A package of the graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package<'a>(&'a Value);

impl<'a> Package<'a> {
    pub(crate) fn name(self) -> &'a str {
        text(&self.0["name"])
    }

    pub(crate) fn features(self) -> impl Iterator<Item = &'a str> {
        let features = self.0["features"].as_object();
        let names = features.into_iter().flat_map(|features| features.keys());
        names.map(String::as_str).filter(|name| *name != "default")
    }

    fn id(self) -> &'a str {
        text(&self.0["id"])
    }

    fn rust_version(self) -> Option<Version> {
        version(self.0["rust_version"].as_str()?)
    }
}

/// Checks that no dependency of the published crates asks for a newer Rust than they promise.
pub(crate) fn oldest_rust() -> Result<Verdict, Failure> {
    let metadata = Metadata::read()?;
    let promised = metadata.published().filter_map(Package::rust_version).min();
    let Some(promised) = promised else {
        return Err(Failure::new("no published crate has a `rust-version`"));
    };
    let compiled = metadata.compiled_for_users();
    let too_new: Vec<_> = metadata
        .packages()
        .filter(|package| compiled.contains(package.id()))
        .filter(|package| package.rust_version() > Some(promised))
        .map(Package::name)
        .collect();
    let (major, minor, _) = promised;
    if too_new.is_empty() {
        println!("{} crates build with Rust {major}.{minor}", compiled.len());
        return Ok(Verdict::Passed);
    }
    let names = too_new.join(", ");
    Err(Failure::new(format!(
        "newer than the promised Rust {major}.{minor}: {names}"
    )))
}

type Version = (u32, u32, u32);

fn version(text: &str) -> Option<Version> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let mut next = || parts.next().unwrap_or(Some(0));
    Some((next()?, next()?, next()?))
}

/// Whether an edge of the graph is there when a user builds: a kind of null is a normal dependency.
fn is_compiled(kind: &Value) -> bool {
    kind["kind"].is_null() || kind["kind"] == "build"
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(version("1.100") > version("1.88"));
        assert_eq!(version("1.88"), version("1.88.0"));
        assert_eq!(version("nightly"), None);
    }
}
