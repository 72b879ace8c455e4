use crate::script::{Script, of_family};

/// What the server does for a stock.
pub(super) struct Scripts {
    pub(super) reserve: Script,
    pub(super) confirm: Script,
    pub(super) release: Script,
    pub(super) reap: Script,
    pub(super) fill: Script,
    pub(super) count: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            reserve: of_family!("stock", "reserve"),
            confirm: of_family!("stock", "confirm"),
            release: of_family!("stock", "release"),
            reap: of_family!("stock", "reap"),
            fill: of_family!("stock", "fill"),
            count: of_family!("stock", "count"),
        }
    }
}
