//! What each fuzz target does with its bytes.
//!
//! One function per target, so that the committed corpora also run as plain tests:
//! `resilience-core/tests/fuzz_corpora.rs` includes this file.

pub mod backoff;
pub mod bloom_snapshot;
pub mod bulkhead;
pub mod circuit_breaker;
pub mod client_ip;
pub mod http_answer;
pub mod http_cache;
pub mod rate_limit;

mod bytes;

/// A target: its name, which is that of its corpus and of its file, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("backoff", backoff::run),
    ("bloom_snapshot", bloom_snapshot::run),
    ("bulkhead", bulkhead::run),
    ("circuit_breaker", circuit_breaker::run),
    ("client_ip", client_ip::run),
    ("http_answer", http_answer::run),
    ("http_cache", http_cache::run),
    ("rate_limit", rate_limit::run),
];
