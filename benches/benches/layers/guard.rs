//! Guards, beside filters of as many keys and as few mistakes.

use benches::{
    Expect::{self, Admitted, Refused},
    Row, Subject, VALID, keyed,
    keys::{HELD, RATE, absent, all, held},
    ours,
};
use bloomfilter::Bloom;
use criterion::Criterion;
use fastbloom::BloomFilter;

pub(crate) fn bench(criterion: &mut Criterion) {
    Row::ours("guard_hit").bench(criterion, ours::guard_hit);
    Row::ours("guard_hit_engine").bench(criterion, ours::guard_hit_engine);
    Row::of("guard_hit", "bloomfilter").bench(criterion, || bloomfilter(Admitted, held));
    Row::of("guard_hit", "fastbloom").bench(criterion, || fastbloom(Admitted, held));

    Row::ours("guard_miss").bench(criterion, ours::guard_miss);
    Row::ours("guard_miss_engine").bench(criterion, ours::guard_miss_engine);
    Row::of("guard_miss", "bloomfilter").bench(criterion, || bloomfilter(Refused, absent));
    Row::of("guard_miss", "fastbloom").bench(criterion, || fastbloom(Refused, absent));
}

fn bloomfilter(expect: Expect, key_of: fn(u64) -> u64) -> impl Subject {
    let mut filter = Bloom::new_for_fp_rate(keys(), RATE).expect(VALID);
    all().for_each(|key| filter.set(&key));
    keyed(expect, filter, move |filter, request| {
        filter.check(&key_of(request))
    })
}

fn fastbloom(expect: Expect, key_of: fn(u64) -> u64) -> impl Subject {
    let mut filter = BloomFilter::with_false_pos(RATE).expected_items(keys());
    all().for_each(|key| {
        filter.insert(&key);
    });
    keyed(expect, filter, move |filter, request| {
        filter.contains(&key_of(request))
    })
}

fn keys() -> usize {
    usize::try_from(HELD).unwrap_or(usize::MAX)
}
