//! Limits that a fleet shares.

mod alike;
mod differential;
mod fallback;
mod fleet;
mod global;
mod keys;
mod kitchen;
mod late;
mod layer;
mod leases;
mod limits;
mod memory;
mod plain;
mod refunds;
mod script;
mod sharing;
mod tiers;
mod waiting;
mod warnings;
