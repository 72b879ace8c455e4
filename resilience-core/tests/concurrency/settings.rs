//! What can be set, and what cannot.

use std::time::Duration;

use resilience_core::concurrency::{Bulkhead, Bulkheads, Permit, Policy, Snapshot, Waiting};

use super::{manual, policy};

#[test]
fn a_queue_without_a_longest_wait_is_refused_when_built() {
    let invalid = Bulkhead::new(policy(1).queue(1)).unwrap_err();
    assert_eq!(invalid.field(), "max_wait");
    let invalid = Bulkheads::<u8>::new(policy(1).capacity(0)).unwrap_err();
    assert_eq!(invalid.field(), "capacity");
    assert_eq!(
        Bulkhead::new(Policy::new("", 1)).unwrap_err().field(),
        "name"
    );
}

#[test]
fn every_number_works_or_is_refused_when_built() {
    for permits in [0, 1, u32::MAX] {
        for queue in [0, 1, usize::MAX] {
            for max_wait in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
                let (bulkhead, _clock) = manual(policy(permits).queue(queue).max_wait(max_wait));
                assert_eq!(bulkhead.try_acquire().is_ok(), permits > 0);
                bulkhead.set_permits(u32::MAX);
                let two = [bulkhead.try_acquire(), bulkhead.try_acquire()];
                assert!(two.iter().all(Result::is_ok));
                assert_eq!(bulkhead.snapshot().permits, (1 << 31) - 1);
            }
        }
    }
}

#[test]
fn sizes_and_threads() {
    fn anywhere<T: Send + Sync + 'static>() -> usize {
        size_of::<T>()
    }
    assert!(anywhere::<Permit>() <= 16);
    assert!(anywhere::<Waiting>() <= 160);
    assert!(anywhere::<Bulkhead>() <= 16);
    assert!(anywhere::<Bulkheads<String>>() <= 8);
    assert!(anywhere::<Snapshot>() <= 72);
}
