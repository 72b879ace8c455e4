//! Callers who take of what a line has lent, and others who take it back, in every order.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use loom::{
    sync::{Arc, Mutex},
    thread,
};

use super::left::{Left, REFUSAL};

/// A key: the lock of the table, the line's with the units that it has, and what it lent of them.
#[derive(Default)]
struct Key {
    table: Mutex<()>,
    line: Mutex<u64>,
    left: Left,
}

impl Key {
    fn with(units: u64) -> Arc<Self> {
        let key = Self::default();
        *key.line.lock().unwrap() = units;
        Arc::new(key)
    }

    /// A caller comes who wants one unit, as [`super::Front::enter`] has it. Says whether he got it.
    fn enter(&self) -> bool {
        let _table = self.table.lock().unwrap();
        if self.left.take(1).is_some() {
            return true;
        }
        let mut units = self.line.lock().unwrap();
        *units += self.left.take_back();
        let Some(rest) = units.checked_sub(1) else {
            return false;
        };
        self.left.lend(rest);
        *units = 0;
        true
    }

    /// Somebody comes to the line without the table, and takes all that there is.
    fn surrender(&self) -> u64 {
        let mut units = self.line.lock().unwrap();
        std::mem::take(&mut *units) + self.left.take_back()
    }
}

#[test]
fn no_unit_is_lost_or_spent_twice_in_any_order() {
    loom::model(|| {
        let key = Key::with(3);
        let callers = [(); 2].map(|()| {
            let key = Arc::clone(&key);
            thread::spawn(move || u64::from(key.enter()) + u64::from(key.enter()))
        });
        let surrendered = key.surrender();
        let spent: u64 = callers.map(|caller| caller.join().unwrap()).iter().sum();
        assert_eq!(spent + surrendered + key.surrender(), 3);
    });
}

#[test]
fn a_refusal_is_no_unit_and_ends_with_the_loan() {
    loom::model(|| {
        let key = Key::with(0);
        {
            let _table = key.table.lock().unwrap();
            let _line = key.line.lock().unwrap();
            key.left.lend(REFUSAL);
        }
        let other = Arc::clone(&key);
        let other = thread::spawn(move || {
            let _table = other.table.lock().unwrap();
            other.left.is_refusal()
        });
        // Units came back: whoever comes from now on asks.
        assert_eq!(key.surrender(), 0);
        other.join().unwrap();
        assert!(!key.left.is_refusal());
        assert!(!key.enter());
    });
}
