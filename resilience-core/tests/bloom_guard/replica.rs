//! The door to a guard whose keys a whole fleet knows.

use std::{collections::HashSet, time::Duration};

use proptest::prelude::*;
use resilience_core::{
    BloomGuard, Environment, ManualClock,
    bloom_guard::{Fingerprint, Geometry, Policy, Presence, Replica, Standing},
};

const SECOND: Duration = Duration::from_secs(1);

struct Fleet {
    guard: BloomGuard<u64>,
    replica: Replica,
    clock: ManualClock,
}

impl Fleet {
    fn new(policy: Policy) -> Self {
        let clock = ManualClock::new();
        clock.advance(SECOND);
        let environment = Environment::new().clock(clock.clone());
        let (guard, replica) = BloomGuard::replica(policy, &environment).unwrap();
        Self {
            guard,
            replica,
            clock,
        }
    }

    fn load(&self, keys: impl IntoIterator<Item = u64>) {
        let (capacity, geometry) = self.replica.next_size();
        let mut staged = self.replica.stage(capacity, geometry).unwrap();
        for key in keys {
            staged.insert(self.guard.fingerprint(&key));
        }
        staged.finish();
    }

    fn trust(&self, time: Duration) {
        self.replica
            .trust_until(self.clock.now().saturating_add(time));
    }

    fn standing(&self) -> Standing {
        self.guard.snapshot().standing
    }
}

fn policy() -> Policy {
    Policy::new("dishes")
        .expected_keys(1000)
        .false_positive_rate(1e-6)
        .seed(*b"thirty-two bytes that are secret")
}

#[test]
fn nothing_is_absent_before_keys_are_loaded_nor_before_they_are_trusted_nor_after() {
    let fleet = Fleet::new(policy());
    fleet.trust(SECOND);
    assert_eq!(fleet.guard.check(&1), Presence::Maybe);
    assert_eq!(fleet.standing(), Standing::Empty);
    let fleet = Fleet::new(policy());
    fleet.load([2]);
    assert_eq!(fleet.guard.check(&1), Presence::Maybe);
    assert_eq!(fleet.standing(), Standing::OutOfTouch);
    fleet.trust(SECOND);
    assert_eq!(fleet.guard.check(&1), Presence::Absent);
    assert_eq!(fleet.guard.check(&2), Presence::Maybe);
    assert_eq!(fleet.standing(), Standing::Answering);
    fleet.clock.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(fleet.guard.check(&1), Presence::Absent);
    fleet.clock.advance(Duration::from_nanos(1));
    assert_eq!(fleet.guard.check(&1), Presence::Maybe);
    assert_eq!(fleet.standing(), Standing::OutOfTouch);
    let snapshot = fleet.guard.snapshot();
    assert_eq!((snapshot.absent, snapshot.maybe), (2, 1));
}

#[test]
fn keys_that_are_distrusted_pass_until_others_are_finished_and_trusted() {
    let fleet = Fleet::new(policy());
    fleet.load([2]);
    fleet.trust(SECOND);
    fleet.replica.distrust();
    assert_eq!(fleet.guard.check(&1), Presence::Maybe);
    fleet.load([2]);
    assert_eq!(fleet.guard.check(&1), Presence::Maybe, "finished alone");
    fleet.trust(SECOND);
    assert_eq!(fleet.guard.check(&1), Presence::Absent);
}

#[tokio::test]
async fn what_was_not_found_is_not_held_against_a_key_that_others_may_have_inserted_since() {
    // Of two keys in a filter of few bits, most others are taken for known.
    let small = policy()
        .expected_keys(1)
        .false_positive_rate(0.9)
        .overload_factor(f64::INFINITY)
        .remember(10, Duration::from_secs(60));
    let fleet = Fleet::new(small);
    fleet.load(0..20);
    fleet.trust(SECOND);
    assert!(!fleet.replica.is_overloaded());
    let look = async |key: u64| {
        let found = fleet.guard.find(&key, async || Ok::<Option<()>, ()>(None));
        found.await.unwrap()
    };
    let key = (100..).find(|key| fleet.guard.check(key) == Presence::Maybe);
    let key = key.unwrap();
    look(key).await;
    assert_eq!(fleet.guard.check(&key), Presence::Absent);
    fleet.clock.advance(SECOND);
    assert_eq!(fleet.guard.check(&key), Presence::Maybe);
    fleet.trust(SECOND);
    assert_eq!(fleet.guard.check(&key), Presence::Absent);
    fleet.replica.insert(fleet.guard.fingerprint(&key));
    assert_eq!(fleet.guard.check(&key), Presence::Maybe);
}

#[test]
fn what_is_inserted_while_a_filter_is_filled_is_in_both() {
    let fleet = Fleet::new(policy());
    fleet.load([1]);
    fleet.trust(SECOND);
    fleet.replica.insert(fleet.guard.fingerprint(&2));
    let (capacity, geometry) = fleet.replica.next_size();
    let staged = fleet.replica.stage(capacity, geometry).unwrap();
    assert!(fleet.replica.stage(capacity, geometry).is_none());
    fleet.replica.insert(fleet.guard.fingerprint(&3));
    for key in [1, 2, 3] {
        assert_eq!(fleet.guard.check(&key), Presence::Maybe, "{key}");
    }
    staged.finish();
    for (key, presence) in [
        (1, Presence::Absent),
        (2, Presence::Maybe),
        (3, Presence::Maybe),
    ] {
        assert_eq!(fleet.guard.check(&key), presence, "{key}");
    }
    // Told by the bits, so about.
    assert!((2..=3).contains(&fleet.guard.snapshot().keys));
    drop(fleet.replica.stage(capacity, geometry));
    assert_eq!(
        fleet.guard.check(&2),
        Presence::Maybe,
        "a drop is no finish"
    );
}

#[test]
fn a_policy_without_a_seed_is_none_for_a_fleet() {
    let without = BloomGuard::<u64>::replica(Policy::new("dishes"), &Environment::new());
    assert!(without.unwrap_err().to_string().contains("seed"));
}

#[test]
fn a_layout_is_possible_or_none() {
    for (bytes, hashes) in [(0, 1), ((512 << 20) + 1, 1), (u64::MAX, 1), (1, 0), (1, 65)] {
        assert_eq!(Geometry::new(bytes, hashes), None, "{bytes} {hashes}");
    }
    let least = Geometry::new(1, 64).unwrap();
    assert_eq!((least.bytes(), least.hashes()), (1, 64));
    let fleet = Fleet::new(policy());
    let mut staged = fleet.replica.stage(1, least).unwrap();
    staged.add(0, &[0xFF; 100]);
    staged.add(usize::MAX, &[0xFF; 100]);
    assert_eq!(staged.read(0, 100), [0xFF]);
    assert!(staged.read(usize::MAX, usize::MAX).is_empty());
}

proptest! {
    #[test]
    fn bits_that_are_brought_over_in_parts_say_the_same(
        keys in prop::collection::hash_set(0..1_000_000_u64, 0..300),
        asked in prop::collection::vec(0..1_000_000_u64, 100),
        step in 1..40_usize,
    ) {
        let (one, other) = (Fleet::new(policy()), Fleet::new(policy()));
        let (capacity, geometry) = one.replica.next_size();
        let mut built = one.replica.stage(capacity, geometry).unwrap();
        let mut brought = other.replica.stage(capacity, geometry).unwrap();
        for key in &keys {
            built.insert(one.guard.fingerprint(key));
        }
        let mut bytes = Vec::new();
        for first in (0..geometry.bytes().div_ceil(8)).step_by(step) {
            let part = built.read(first, step);
            brought.add(first, &part);
            bytes.extend(part);
        }
        prop_assert_eq!(bytes.len(), geometry.bytes());
        for fleet in [&one, &other] {
            fleet.trust(SECOND);
        }
        let set: HashSet<u64> = bits(&bytes).collect();
        for key in &keys {
            let key = one.guard.fingerprint(key);
            prop_assert_eq!(Fingerprint::from_bytes(key.to_bytes()), key);
            prop_assert!(geometry.bits_of(key).all(|bit| set.contains(&bit)));
        }
        built.finish();
        brought.finish();
        for key in keys.iter().chain(&asked) {
            let presence = one.guard.check(key);
            prop_assert_eq!(other.guard.check(key), presence);
            prop_assert_eq!(presence == Presence::Maybe, keys.contains(key));
        }
    }
}

fn bits(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let is_set = |bit: &u64| {
        let byte = bytes[usize::try_from(bit / 8).unwrap()];
        byte & (1 << (bit % 8)) != 0
    };
    (0..8 * bytes.len() as u64).filter(is_set)
}
