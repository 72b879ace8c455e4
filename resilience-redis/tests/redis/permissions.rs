//! What the server must allow.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;

use crate::support::permissions;

#[test]
fn the_readme_grants_what_the_documentation_asks_for_and_nothing_else() {
    let of = |text| permissions(text).into_iter().collect::<BTreeSet<_>>();
    let documentation = include_str!("../../src/lib.rs");
    let (_, documentation) = documentation
        .split_once("# What the server must allow")
        .unwrap();
    let (documentation, _) = documentation
        .split_once("To the user of the sentinels")
        .unwrap();
    let granted = of(include_str!("../../../README.md"));
    assert!(granted.len() > 50, "{granted:?}");
    assert_eq!(granted, of(documentation));
}
