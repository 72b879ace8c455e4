use crate::script::{Script, of_family};

/// What runs on the server.
pub(super) struct Scripts {
    pub(super) poll: Script,
    pub(super) add: Script,
    pub(super) begin: Script,
    pub(super) merge: Script,
    pub(super) end: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            poll: of_family!("filter", "poll"),
            add: of_family!("filter", "add"),
            begin: of_family!("filter", "begin"),
            merge: of_family!("filter", "merge"),
            end: of_family!("filter", "end"),
        }
    }
}
