use crate::script::Script;

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
            acknowledge: Script::new(concat!(
                include_str!("../lua/queue.lua"),
                include_str!("../lua/queue_acknowledge.lua")
            )),
            bury: Script::new(concat!(
                include_str!("../lua/queue.lua"),
                include_str!("../lua/queue_bury.lua")
            )),
            claim: Script::new(concat!(
                include_str!("../lua/queue.lua"),
                include_str!("../lua/queue_claim.lua")
            )),
            drop_group: Script::new(concat!(
                include_str!("../lua/queue.lua"),
                include_str!("../lua/queue_drop.lua")
            )),
            give: Script::new(concat!(
                include_str!("../lua/queue.lua"),
                include_str!("../lua/queue_give.lua")
            )),
            open: Script::new(concat!(
                include_str!("../lua/queue.lua"),
                include_str!("../lua/queue_open.lua")
            )),
            push: Script::new(concat!(
                include_str!("../lua/queue.lua"),
                include_str!("../lua/queue_push.lua")
            )),
            revive: Script::new(concat!(
                include_str!("../lua/queue.lua"),
                include_str!("../lua/queue_revive.lua")
            )),
            depth: Script::new(concat!(
                include_str!("../lua/queue.lua"),
                include_str!("../lua/queue_depth.lua")
            )),
        }
    }
}
