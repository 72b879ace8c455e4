//! Instructions of our layers' calls, counted by Valgrind: the same on a busy machine as on an
//! idle one. `cargo xtask instructions` holds them against `benches/instructions.txt`.
#![allow(missing_docs, reason = "the macros make public items of ours")]

use benches::{HOUR, Subject, ours};
use gungraun::{library_benchmark, library_benchmark_group, main};

// A thousand calls, of a layer that was built and has settled before anybody counts. A key whose
// call falls into another part of a window than the one before costs more, and how soon that is
// depends on how busy the machine is: no part of an hour ends meanwhile.
#[library_benchmark]
#[bench::bare(settled(ours::bare()))]
#[bench::breaker_count(settled(ours::breaker_count()))]
#[bench::breaker_time(settled(ours::breaker_time()))]
#[bench::breaker_open(settled(ours::breaker_open()))]
#[bench::limiter_sliding(settled(ours::limiter_sliding()))]
#[bench::limiter_sliding_engine(settled(ours::limiter_sliding_engine()))]
#[bench::limiter_log(settled(ours::limiter_log()))]
#[bench::limiter_gcra(settled(ours::limiter_gcra()))]
#[bench::limiter_gcra_engine(settled(ours::limiter_gcra_engine()))]
#[bench::limiter_denied(settled(ours::limiter_denied()))]
#[bench::limiter_keyed(settled(ours::limiter_keyed_over(HOUR)))]
#[bench::limiter_keyed_string(settled(ours::limiter_keyed_string_over(HOUR)))]
#[bench::bulkhead(settled(ours::bulkhead()))]
#[bench::bulkhead_full(settled(ours::bulkhead_full()))]
#[bench::cache_hit(settled(ours::cache_hit()))]
#[bench::guard_hit(settled(ours::guard_hit()))]
#[bench::guard_miss(settled(ours::guard_miss()))]
#[bench::catch_panic(settled(ours::catch_panic()))]
#[bench::stack5(settled(ours::stack5()))]
#[bench::respond(settled(ours::respond()))]
fn calls(subject: Box<dyn Subject>) -> Box<dyn Subject> {
    subject.calls(0, CALLS);
    subject
}

fn settled(subject: impl Subject + 'static) -> Box<dyn Subject> {
    subject.calls(0, CALLS);
    Box::new(subject)
}

const CALLS: u64 = 1_000;

library_benchmark_group!(name = layers, benchmarks = calls);
main!(library_benchmark_groups = layers);
