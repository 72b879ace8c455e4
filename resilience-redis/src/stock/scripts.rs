use crate::script::Script;

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
            reserve: Script::new(concat!(
                include_str!("../lua/stock.lua"),
                include_str!("../lua/stock_reserve.lua")
            )),
            confirm: Script::new(concat!(
                include_str!("../lua/stock.lua"),
                include_str!("../lua/stock_confirm.lua")
            )),
            release: Script::new(concat!(
                include_str!("../lua/stock.lua"),
                include_str!("../lua/stock_release.lua")
            )),
            reap: Script::new(concat!(
                include_str!("../lua/stock.lua"),
                include_str!("../lua/stock_reap.lua")
            )),
            fill: Script::new(concat!(
                include_str!("../lua/stock.lua"),
                include_str!("../lua/stock_fill.lua")
            )),
            count: Script::new(concat!(
                include_str!("../lua/stock.lua"),
                include_str!("../lua/stock_count.lua")
            )),
        }
    }
}
