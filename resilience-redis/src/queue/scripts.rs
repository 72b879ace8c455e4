use crate::script::{Script, of_family};

/// What the server does for a queue.
pub(super) struct Scripts {
    pub(super) acknowledge: Script,
    pub(super) bury: Script,
    pub(super) claim: Script,
    pub(super) drop_group: Script,
    pub(super) give: Script,
    pub(super) open: Script,
    pub(super) push: Script,
    pub(super) revive: Script,
    pub(super) depth: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            acknowledge: of_family!("queue", "acknowledge"),
            bury: of_family!("queue", "bury"),
            claim: of_family!("queue", "claim"),
            drop_group: of_family!("queue", "drop"),
            give: of_family!("queue", "give"),
            open: of_family!("queue", "open"),
            push: of_family!("queue", "push"),
            revive: of_family!("queue", "revive"),
            depth: of_family!("queue", "depth"),
        }
    }
}
