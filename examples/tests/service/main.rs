//! The service as its users meet it: started on a free port, asked over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod buying;
mod client;
mod dishes;
mod fleet;
mod input;
mod operating;
mod outage;
mod paying;
#[path = "../../../resilience-redis/tests/redis/support/port.rs"]
mod port;
#[cfg(unix)]
mod postgres;
mod process;
#[path = "../../../resilience-redis/tests/redis/support/reaper.rs"]
mod reaper;
mod redis;
mod serving;
