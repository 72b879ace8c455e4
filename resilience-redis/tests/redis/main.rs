//! Everything that needs a server, held against real `redis-server` processes.

mod bloom_guard;
mod cache;
mod differential;
mod engines;
mod errors;
mod failover;
mod fallback;
mod fleet;
mod layer;
mod leases;
mod limits;
mod lock;
mod outages;
mod permissions;
mod queue;
mod refunds;
mod script;
mod secrets;
mod sharing;
mod stock;
mod support;
mod targets;
