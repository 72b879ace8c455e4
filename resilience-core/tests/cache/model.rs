//! The engine against a slow and obvious model.

use std::collections::HashMap;

use proptest::prelude::*;
use resilience_core::{ManualClock, Timestamp};

use super::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    Insert(u8, u64),
    InsertTagged(u8, u64, bool),
    Load(u8, u64),
    Fail(u8),
    Get(u8),
    Invalidate(u8),
    InvalidateTag(bool),
    InvalidateAll,
    Pass(u16),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0..6_u8;
    let ttl = 1..40_u64;
    let op = prop_oneof![
        1 => (key.clone(), ttl.clone()).prop_map(|(key, ttl)| Op::Insert(key, ttl)),
        1 => (key.clone(), ttl.clone(), any::<bool>())
            .prop_map(|(key, ttl, tag)| Op::InsertTagged(key, ttl, tag)),
        3 => (key.clone(), ttl).prop_map(|(key, ttl)| Op::Load(key, ttl)),
        1 => key.clone().prop_map(Op::Fail),
        2 => key.clone().prop_map(Op::Get),
        1 => key.prop_map(Op::Invalidate),
        1 => any::<bool>().prop_map(Op::InvalidateTag),
        1 => Just(Op::InvalidateAll),
        2 => (0..30_u16).prop_map(Op::Pass),
    ];
    prop::collection::vec(op, 1..60)
}

const fn tag(which: bool) -> &'static str {
    if which { "menu" } else { "prices" }
}

/// What is stored of a key, and until when it is fresh, and after that of some use.
struct Known {
    value: u64,
    fresh: u64,
    usable: u64,
    quiet: u64,
    tag: Option<bool>,
}

const STALE: u64 = 20;
const THROTTLE: u64 = 5;

#[derive(Default)]
struct Model {
    now: u64,
    known: HashMap<u8, Known>,
    loads: u64,
}

impl Model {
    fn store(&mut self, key: u8, value: u64, ttl: u64, tag: Option<bool>) {
        let fresh = self.now + ttl;
        let known = Known {
            value,
            fresh,
            usable: fresh + STALE,
            quiet: 0,
            tag,
        };
        self.known.insert(key, known);
    }

    fn get(&self, key: u8) -> Option<u64> {
        let known = self.known.get(&key)?;
        (self.now < known.fresh).then_some(known.value)
    }

    /// What there is without a load.
    fn at_once(&self, key: u8) -> Option<u64> {
        let known = self.known.get(&key)?;
        let served = self.now < known.fresh || (self.now < known.usable && self.now < known.quiet);
        served.then_some(known.value)
    }

    fn fail(&mut self, key: u8) -> Result<u64, &'static str> {
        if let Some(value) = self.at_once(key) {
            return Ok(value);
        }
        self.loads += 1;
        let now = self.now;
        match self.known.get_mut(&key).filter(|known| now < known.usable) {
            Some(known) => {
                known.quiet = now + THROTTLE;
                Ok(known.value)
            }
            None => Err("down"),
        }
    }
}

proptest! {
    #[test]
    fn it_answers_as_a_map_with_times_would(ops in ops()) {
        let clock = ManualClock::new();
        let environment = Environment::new().clock(clock.clone());
        let policy = policy()
            .stale_if_error(Duration::from_secs(STALE))
            .failure_throttle(Duration::from_secs(THROTTLE));
        let cache: Cache<u8, u64> = Cache::new_in(policy, &environment).unwrap();
        let mut model = Model::default();
        let mut next = 0;
        let run = |future| tokio_test::block_on(future);
        for op in ops {
            next += 1;
            let value = Loaded::new(next);
            let seconds = Duration::from_secs;
            match op {
                Op::Insert(key, ttl) => {
                    cache.insert(key, value.ttl(seconds(ttl)));
                    model.store(key, next, ttl, None);
                }
                Op::InsertTagged(key, ttl, which) => {
                    cache.insert(key, value.ttl(seconds(ttl)).tag(tag(which)));
                    model.store(key, next, ttl, Some(which));
                }
                Op::Load(key, ttl) => {
                    let load = async move || Ok::<_, &'static str>(value.ttl(seconds(ttl)));
                    let expected = model.at_once(key).unwrap_or_else(|| {
                        model.loads += 1;
                        model.store(key, next, ttl, None);
                        next
                    });
                    let answer: Later<_> = {
                        let cache = cache.clone();
                        Box::pin(async move { cache.get_or_load(&key, load).await })
                    };
                    prop_assert_eq!(run(answer), Ok(expected));
                }
                Op::Fail(key) => {
                    let answer: Later<_> = {
                        let cache = cache.clone();
                        let load = async || Err::<u64, _>("down");
                        Box::pin(async move { cache.get_or_load(&key, load).await })
                    };
                    prop_assert_eq!(run(answer), model.fail(key).map_err(Error::Inner));
                }
                Op::Get(key) => prop_assert_eq!(cache.get(&key), model.get(key)),
                Op::Invalidate(key) => {
                    cache.invalidate(&key);
                    model.known.remove(&key);
                }
                Op::InvalidateTag(which) => {
                    cache.invalidate_tag(tag(which));
                    model.known.retain(|_, known| known.tag != Some(which));
                }
                Op::InvalidateAll => {
                    cache.invalidate_all();
                    model.known.clear();
                }
                Op::Pass(time) => {
                    model.now += u64::from(time);
                    clock.set(Timestamp::from_nanos(model.now * 1_000_000_000));
                }
            }
            prop_assert_eq!(cache.snapshot().loads, model.loads);
        }
    }
}
