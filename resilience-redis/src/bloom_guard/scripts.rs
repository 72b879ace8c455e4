use crate::script::Script;

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
            poll: Script::new(concat!(
                include_str!("../lua/filter.lua"),
                include_str!("../lua/filter_poll.lua")
            )),
            add: Script::new(concat!(
                include_str!("../lua/filter.lua"),
                include_str!("../lua/filter_add.lua")
            )),
            begin: Script::new(concat!(
                include_str!("../lua/filter.lua"),
                include_str!("../lua/filter_begin.lua")
            )),
            merge: Script::new(concat!(
                include_str!("../lua/filter.lua"),
                include_str!("../lua/filter_merge.lua")
            )),
            end: Script::new(concat!(
                include_str!("../lua/filter.lua"),
                include_str!("../lua/filter_end.lua")
            )),
        }
    }
}
