//! Invalidations that Redis has not heard of, or may forget.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use resilience_core::Timestamp;

use super::names::Part;

/// Invalidations that are to be told, or told once more.
///
/// While Redis is away they are kept, the last one of each key, and nothing there is believed until
/// it has heard them. Those it has heard are kept for a while as well: a server that takes over
/// from another need not know the last of them.
#[derive(Debug)]
pub(super) struct Unsent {
    waiting: HashMap<Part, u64>,
    told: Told,
    /// More than can be kept: everything is to be removed.
    everything: Option<u64>,
    /// When everything was removed.
    cleared: Option<Timestamp>,
    next: u64,
}

/// Names one invalidation, so that a newer one of the same key is not taken for it; newer ones are
/// greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

impl Unsent {
    pub(super) fn new() -> Self {
        Self {
            waiting: HashMap::new(),
            told: Told::default(),
            everything: None,
            cleared: None,
            next: 0,
        }
    }

    /// `key` is void, and Redis is to hear of it.
    pub(super) fn void(&mut self, key: &Part) -> Ticket {
        if self.waiting.len() >= MOST_WAITING && !self.waiting.contains_key(key) {
            return self.void_all();
        }
        let ticket = self.ticket();
        self.waiting.insert(key.clone(), ticket.0);
        ticket
    }

    /// Everything is.
    pub(super) fn void_all(&mut self) -> Ticket {
        let ticket = self.ticket();
        self.everything = Some(ticket.0);
        self.waiting.clear();
        ticket
    }

    /// Redis has heard of the void of `key`.
    pub(super) fn done(&mut self, key: &Part, ticket: Ticket, now: Timestamp) {
        if self.waiting.get(key) == Some(&ticket.0) {
            self.waiting.remove(key);
        }
        self.forget_old(now);
        let turn = self.ticket();
        self.told.add(key, turn, now);
    }

    /// Redis has forgotten everything that it held when `ticket` was given.
    pub(super) fn done_all(&mut self, ticket: Ticket, now: Timestamp) {
        self.cleared = Some(now);
        if self.everything == Some(ticket.0) {
            self.everything = None;
        }
    }

    /// Whether what Redis has of `key` is to be believed.
    pub(super) fn believes(&self, key: &Part) -> bool {
        self.everything.is_none() && !self.waiting.contains_key(key)
    }

    /// Another server answers for the keys of which `is_meant` is true: what was told of them of
    /// late is to be told again.
    pub(super) fn tell_again(&mut self, now: Timestamp, is_meant: impl Fn(&Part) -> bool) {
        self.forget_old(now);
        // Where there are so many, older ones may be missing.
        if self.cleared.is_some() || self.told.turns.len() >= MOST_TOLD {
            self.told = Told::default();
            self.void_all();
            return;
        }
        for key in self.told.take(is_meant) {
            self.void(&key);
        }
    }

    /// The ticket of everything, where that is to be told.
    pub(super) fn everything(&self) -> Option<Ticket> {
        self.everything.map(Ticket)
    }

    /// What is to be told of the keys of which `is_meant` is true, the oldest first.
    pub(super) fn due(&self, is_meant: impl Fn(&Part) -> bool) -> Vec<(Part, Ticket)> {
        let waiting = self.waiting.iter().filter(|(key, _)| is_meant(key));
        let mut due: Vec<_> = waiting
            .map(|(key, ticket)| (key.clone(), Ticket(*ticket)))
            .collect();
        due.sort_unstable_by_key(|(_, ticket)| ticket.0);
        due
    }

    /// The void of `key` could not be told: the others come first the next time.
    pub(super) fn postpone(&mut self, key: &Part, ticket: Ticket) {
        let next = self.ticket();
        if let Some(waiting) = self.waiting.get_mut(key)
            && *waiting == ticket.0
        {
            *waiting = next.0;
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }

    fn forget_old(&mut self, now: Timestamp) {
        self.told.forget_old(now);
        self.cleared
            .take_if(|cleared| now.saturating_since(*cleared) > KEPT);
    }
}

/// The keys of which Redis has heard of late, each once, the longest unchanged first.
#[derive(Debug, Default)]
struct Told {
    turns: HashMap<Part, Ticket>,
    keys: BTreeMap<Ticket, (Part, Timestamp)>,
}

impl Told {
    /// Redis has heard of `key`: it is the last in turn.
    fn add(&mut self, key: &Part, turn: Ticket, now: Timestamp) {
        let before = self.turns.insert(key.clone(), turn);
        if let Some(before) = before {
            self.keys.remove(&before);
        } else if self.keys.len() >= MOST_TOLD {
            self.pop();
        }
        self.keys.insert(turn, (key.clone(), now));
    }

    /// Takes out those of which `is_meant` is true.
    fn take(&mut self, is_meant: impl Fn(&Part) -> bool) -> Vec<Part> {
        let all = std::mem::take(&mut self.keys).into_iter();
        let (taken, kept) = all.partition::<BTreeMap<_, _>, _>(|(_, (key, _))| is_meant(key));
        self.keys = kept;
        let taken: Vec<_> = taken.into_values().map(|(key, _)| key).collect();
        for key in &taken {
            self.turns.remove(key);
        }
        taken
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some((_, (_, told))) = self.keys.first_key_value()
            && now.saturating_since(*told) > KEPT
        {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, (key, _))) = self.keys.pop_first() {
            self.turns.remove(&key);
        }
    }
}

/// About a megabyte of short keys.
const MOST_WAITING: usize = 10_000;
const MOST_TOLD: usize = 10_000;
/// Longer than a replica lags that is made the primary.
const KEPT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: usize) -> Part {
        Part::of(&number.to_le_bytes())
    }

    fn every(_: &Part) -> bool {
        true
    }

    fn keys(due: &[(Part, Ticket)]) -> Vec<Part> {
        due.iter().map(|(key, _)| key.clone()).collect()
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_last_invalidation_of_a_key_waits_until_redis_has_heard_that_one() {
        let mut unsent = Unsent::new();
        let first = unsent.void(&part(7));
        let second = unsent.void(&part(7));
        unsent.done(&part(7), first, at(0));
        assert!(!unsent.believes(&part(7)));
        assert!(unsent.believes(&part(8)));
        assert_eq!(unsent.due(every), [(part(7), second)]);
        unsent.done(&part(7), second, at(0));
        assert!(unsent.believes(&part(7)));
        assert_eq!(unsent.due(every), []);
    }

    #[test]
    fn more_than_can_be_kept_is_everything() {
        let mut unsent = Unsent::new();
        for number in 0..=MOST_WAITING {
            unsent.void(&part(number));
        }
        assert!(!unsent.believes(&part(usize::MAX)));
        let ticket = unsent.everything().expect("it is due");
        // What comes meanwhile is not lost.
        unsent.void(&part(7));
        unsent.done_all(ticket, at(0));
        assert!(!unsent.believes(&part(7)) && unsent.believes(&part(8)));
        let later = unsent.void_all();
        unsent.done_all(ticket, at(0));
        assert_eq!(unsent.everything(), Some(later));
    }

    #[test]
    fn what_was_told_of_late_is_told_again_to_another_server() {
        let mut unsent = Unsent::new();
        for (number, second) in [(1, 0), (2, 50), (3, 100)] {
            let ticket = unsent.void(&part(number));
            unsent.done(&part(number), ticket, at(second));
        }
        unsent.tell_again(at(105), |key| *key != part(3));
        assert_eq!(keys(&unsent.due(every)), [part(2)]);
        // The servers of others fail later.
        unsent.tell_again(at(105), every);
        assert_eq!(keys(&unsent.due(every)), [part(2), part(3)]);
    }

    #[test]
    fn what_cannot_be_told_holds_back_nothing_else() {
        let mut unsent = Unsent::new();
        let tickets = [1, 2, 3].map(|number| unsent.void(&part(number)));
        assert_eq!(keys(&unsent.due(every)), [part(1), part(2), part(3)]);
        unsent.postpone(&part(1), tickets[0]);
        let newer = unsent.void(&part(2));
        unsent.postpone(&part(2), tickets[1]);
        let due = unsent.due(|key| *key != part(3));
        assert_eq!(keys(&due), [part(1), part(2)]);
        assert_eq!(due[1].1, newer);
        unsent.done(&part(1), due[0].1, at(0));
        assert!(unsent.believes(&part(1)));
    }

    #[test]
    fn that_everything_is_forgotten_is_told_again_as_well() {
        let mut unsent = Unsent::new();
        let ticket = unsent.void_all();
        unsent.done_all(ticket, at(0));
        unsent.tell_again(at(50), every);
        let again = unsent.everything().expect("it may not have heard of it");
        unsent.done_all(again, at(51));
        unsent.tell_again(at(112), every);
        assert_eq!(unsent.everything(), None);
    }

    #[test]
    fn however_often_a_key_was_told_it_is_told_again_once() {
        let mut unsent = Unsent::new();
        let tell = |unsent: &mut Unsent, number, second| {
            let ticket = unsent.void(&part(number));
            unsent.done(&part(number), ticket, at(second));
        };
        tell(&mut unsent, 8, 0);
        for _ in 0..=MOST_TOLD {
            tell(&mut unsent, 7, 20);
        }
        tell(&mut unsent, 9, 50);
        tell(&mut unsent, 7, 51);
        // The last time of each counts.
        unsent.tell_again(at(61), every);
        assert_eq!(unsent.everything(), None);
        assert_eq!(keys(&unsent.due(every)), [part(9), part(7)]);
    }

    #[test]
    fn where_too_many_were_told_to_be_told_again_everything_is() {
        let mut unsent = Unsent::new();
        for number in 0..MOST_TOLD {
            let ticket = unsent.void(&part(number));
            unsent.done(&part(number), ticket, at(0));
        }
        unsent.tell_again(at(1), every);
        assert!(unsent.everything().is_some());
    }
}
