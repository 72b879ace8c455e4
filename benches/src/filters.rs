//! The peers for guards: filters of as many keys and as few mistakes.

use bloomfilter::Bloom;
use fastbloom::BloomFilter;

use crate::{
    Expect::{self, Admitted, Refused},
    KEYS, Subject, VALID, keyed,
    keys::{Held, absent, held, index},
};

/// Every key that is asked for is held.
#[must_use]
pub fn bloomfilter_hit() -> impl Subject {
    bloomfilter(Held::MILLION, KEYS, Admitted, held)
}

/// No key that is asked for is.
#[must_use]
pub fn bloomfilter_miss() -> impl Subject {
    bloomfilter(Held::MILLION, KEYS, Refused, absent)
}

/// A filter of so many bits, asked for all that it holds.
#[must_use]
pub fn bloomfilter_of(bits: u64) -> impl Subject {
    let keys = Held::in_bits(bits);
    bloomfilter(keys, keys.number, Admitted, held)
}

/// Every key that is asked for is held.
#[must_use]
pub fn fastbloom_hit() -> impl Subject {
    fastbloom(Held::MILLION, KEYS, Admitted, held)
}

/// No key that is asked for is.
#[must_use]
pub fn fastbloom_miss() -> impl Subject {
    fastbloom(Held::MILLION, KEYS, Refused, absent)
}

/// A filter of so many bits, asked for all that it holds.
#[must_use]
pub fn fastbloom_of(bits: u64) -> impl Subject {
    let keys = Held::in_bits(bits);
    fastbloom(keys, keys.number, Admitted, held)
}

fn bloomfilter(keys: Held, asked: u64, expect: Expect, key_of: fn(u64) -> u64) -> impl Subject {
    let mut filter = Bloom::new_for_fp_rate(index(keys.number), keys.rate).expect(VALID);
    keys.all().for_each(|key| filter.set(&key));
    keyed(expect, filter, move |filter, request| {
        filter.check(&key_of(request))
    })
    .of_keys(asked)
}

fn fastbloom(keys: Held, asked: u64, expect: Expect, key_of: fn(u64) -> u64) -> impl Subject {
    let filter = BloomFilter::with_false_pos(keys.rate);
    let mut filter = filter.expected_items(index(keys.number));
    keys.all().for_each(|key| {
        filter.insert(&key);
    });
    keyed(expect, filter, move |filter, request| {
        filter.contains(&key_of(request))
    })
    .of_keys(asked)
}
