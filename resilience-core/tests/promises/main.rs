//! The promises that hold for every layer, kept over real connections.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![cfg(all(feature = "http", feature = "grpc"))]

#[path = "../support/grpc.rs"]
mod grpc;
#[path = "../support/http.rs"]
mod support;

mod answers;
mod guard;
mod sharing;
mod streaming;
mod typed;
