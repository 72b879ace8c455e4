//! Everything that needs a server, held against real `redis-server` processes.

mod bloom_guard;
mod cache;
mod engines;
mod errors;
mod failover;
mod handover;
mod lock;
mod outages;
mod permissions;
mod queue;
mod rate_limit;
mod runtimes;
mod secrets;
mod stock;
mod support;
mod targets;
