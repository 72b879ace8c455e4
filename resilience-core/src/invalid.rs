//! The error for settings that cannot work.

use std::{error::Error, fmt};

/// A policy that cannot work, found when an engine is built from it.
///
/// Nothing is checked later: an engine that was built never fails for its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPolicy {
    field: &'static str,
    problem: &'static str,
}

impl InvalidPolicy {
    /// `problem` says what is wrong with `field`, and what to write instead.
    #[must_use]
    pub const fn new(field: &'static str, problem: &'static str) -> Self {
        Self { field, problem }
    }

    /// The setting to change.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn problem(&self) -> &'static str {
        self.problem
    }
}

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid policy: `{}` {}", self.field, self.problem)
    }
}

impl Error for InvalidPolicy {}

/// Whether `name` can stand in a header, a problem document and a metric as it is.
pub(crate) fn check_name(name: &str) -> Result<(), InvalidPolicy> {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(InvalidPolicy::new(
            "name",
            "must be printable ASCII without quotes or backslashes, and not empty",
        ));
    }
    Ok(())
}
