//! Everything that needs a server, held against real `redis-server` processes.

mod failover;
mod limits;
mod lock;
mod outages;
mod script;
mod secrets;
mod stock;
mod support;
mod targets;
