//! What all clones of an engine share, and how a call keeps it.
//!
//! A call owns its engine until it is over, wherever its future goes. To count owners changes an
//! atomic twice a call, which costs as much as all the rest, and ten times that where threads meet
//! at it. So there is a count for each few threads, and a thread keeps the last owner that ended
//! on it for the next call.

use std::{
    array,
    cell::Cell,
    fmt, mem,
    ops::Deref,
    sync::atomic::{AtomicUsize, Ordering},
};

use crossbeam_utils::CachePadded;

use crate::{
    Environment,
    striped::{STRIPES, stripe},
    sync::Arc,
};

/// What all clones of an engine share.
///
/// A clone is one more handle. A call does not clone it, but takes a [`Hold`].
pub(crate) enum Engine<T: AtHand> {
    /// Calls of different threads do not meet.
    Striped(Arc<Lanes<T>>),
    /// One count of owners: for one engine of many, such as those of keys.
    Single(Hold<T>),
}

/// Keeps an engine for a call: a permit owns one.
///
/// One word, since it is moved with the permit and the future that the permit stands in.
pub(crate) struct Hold<T: AtHand>(
    /// `None` in its drop, and where it was taken.
    Option<Lane<T>>,
);

/// An engine, and the owners that those of threads are clones of.
pub(crate) struct Lanes<T> {
    engine: Arc<T>,
    lanes: [Lane<T>; STRIPES],
}

/// A count of owners, on a cache line of its own.
type Lane<T> = Arc<CachePadded<Line<T>>>;

pub(crate) struct Line<T> {
    engine: Arc<T>,
    /// Where threads keep an owner that ended; [`SPARES`] where they do not.
    spare: usize,
}

/// An engine type whose owners threads keep between calls.
pub(crate) trait AtHand: Sized {
    /// Lets `act` at what this thread keeps; drops it where the thread keeps nothing.
    fn with_spares<R>(act: impl FnOnce(&Spares<Self>) -> R) -> Option<R>;
}

/// What a thread keeps of the engines of one type: one owner for all engines of one number.
pub(crate) struct Spares<T>([Cell<Option<Lane<T>>>; SPARES]);

/// More than engines of one type stand in most stacks.
const SPARES: usize = 8;

/// Numbers of engines given so far.
static NUMBERS: AtomicUsize = AtomicUsize::new(0);

/// Lets threads keep owners of an engine type.
macro_rules! keep_at_hand {
    ($engine:ty) => {
        std::thread_local! {
            static AT_HAND: $crate::engine::Spares<$engine> =
                const { $crate::engine::Spares::new() };
        }

        impl $crate::engine::AtHand for $engine {
            #[inline]
            fn with_spares<R>(act: impl FnOnce(&$crate::engine::Spares<Self>) -> R) -> Option<R> {
                AT_HAND.try_with(act).ok()
            }
        }
    };
}
pub(crate) use keep_at_hand;

impl<T: AtHand> Engine<T> {
    /// An engine that lives in `environment`.
    ///
    /// Threads keep owners of it where nobody can see that they do: an observer may be waited for
    /// to go, and goes with the last owner.
    pub(crate) fn striped(engine: T, environment: &Environment) -> Self {
        let engine = Arc::new(engine);
        // Loom wants to see everything go with each of its runs.
        let spare = if cfg!(resilience_loom) || environment.has_observer() {
            SPARES
        } else {
            NUMBERS.fetch_add(1, Ordering::Relaxed) % SPARES
        };
        let lane = || {
            let engine = engine.clone();
            Arc::new(CachePadded::new(Line { engine, spare }))
        };
        let lanes = array::from_fn(|_| lane());
        Self::Striped(Arc::new(Lanes { engine, lanes }))
    }

    /// Keeps the engine for a call that this thread begins.
    #[inline(always)]
    pub(crate) fn hold(&self) -> Hold<T> {
        match self {
            Self::Striped(lanes) => lanes.hold(),
            Self::Single(hold) => hold.clone(),
        }
    }
}

impl<T: AtHand> Lanes<T> {
    #[inline(always)]
    fn hold(&self) -> Hold<T> {
        let index = self.lanes[0].spare;
        let spare = T::with_spares(|spares| spares.take(index, &self.engine));
        Hold(Some(spare.flatten().unwrap_or_else(|| self.lane())))
    }

    #[inline(never)]
    fn lane(&self) -> Lane<T> {
        self.lanes[stripe()].clone()
    }
}

impl<T: AtHand> Hold<T> {
    pub(crate) fn new(engine: T) -> Self {
        let engine = Arc::new(engine);
        let line = Line {
            engine,
            spare: SPARES,
        };
        Self(Some(Arc::new(CachePadded::new(line))))
    }

    /// Whether nobody else holds what an [`Engine::Single`] holds.
    pub(crate) fn is_only(&self) -> bool {
        Arc::strong_count(self.lane()) == 1
    }

    #[inline]
    fn lane(&self) -> &Lane<T> {
        self.0.as_ref().expect("held until it is dropped")
    }
}

impl<T: AtHand> Hold<T> {
    /// Moves it out of what is about to be forgotten: a hollow one is left there.
    #[inline(always)]
    pub(crate) const fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Drops it, and leaves nothing behind that needs a look.
    #[inline(always)]
    pub(crate) fn release(mut self) {
        self.put_back();
        mem::forget(self);
    }

    #[inline(always)]
    fn put_back(&mut self) {
        if let Some(lane) = self.0.take() {
            T::with_spares(|spares| spares.put(lane));
        }
    }
}

impl<T: AtHand> Drop for Hold<T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.put_back();
    }
}

impl<T> Spares<T> {
    pub(crate) const fn new() -> Self {
        Self([const { Cell::new(None) }; SPARES])
    }

    /// The owner of `engine` that was kept, if any.
    #[inline(always)]
    fn take(&self, index: usize, engine: &Arc<T>) -> Option<Lane<T>> {
        let place = self.0.get(index)?;
        let spare = place.take()?;
        if Arc::ptr_eq(&spare.engine, engine) {
            return Some(spare);
        }
        place.set(Some(spare));
        None
    }

    /// Keeps an owner, in the place of what was kept before.
    #[inline(always)]
    fn put(&self, lane: Lane<T>) {
        if let Some(place) = self.0.get(lane.spare) {
            let before = place.replace(Some(lane));
            if before.is_some() {
                forget_owner(before);
            }
        }
    }
}

/// Not inlined, since mostly there is none.
#[inline(never)]
fn forget_owner<T>(owner: Option<Lane<T>>) {
    drop(owner);
}

impl<T: AtHand> Deref for Engine<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Striped(lanes) => &lanes.engine,
            Self::Single(hold) => hold,
        }
    }
}

impl<T: AtHand> Deref for Hold<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.lane().engine
    }
}

/// By hand, since engines need not be.
impl<T: AtHand> Clone for Engine<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Striped(lanes) => Self::Striped(lanes.clone()),
            Self::Single(hold) => Self::Single(hold.clone()),
        }
    }
}

/// By hand, since engines need not be.
impl<T: AtHand> Clone for Hold<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: AtHand + fmt::Debug> fmt::Debug for Engine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: AtHand + fmt::Debug> fmt::Debug for Hold<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

#[cfg(all(test, not(resilience_loom)))]
mod tests {
    use std::thread;

    use super::*;
    use crate::Event;

    struct Fake {
        _alive: Arc<()>,
    }

    keep_at_hand!(Fake);

    fn striped(environment: &Environment) -> (Engine<Fake>, Arc<()>) {
        let alive = Arc::new(());
        let fake = Fake {
            _alive: alive.clone(),
        };
        (Engine::striped(fake, environment), alive)
    }

    fn is_gone(alive: &Arc<()>) -> bool {
        Arc::strong_count(alive) == 1
    }

    #[test]
    fn an_engine_goes_with_its_last_owner_on_whatever_thread() {
        let (engine, alive) = striped(&Environment::new());
        let owners: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..20)
                .map(|_| scope.spawn(|| (engine.clone(), engine.hold())))
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        drop(engine);
        let (handles, mut holds): (Vec<_>, Vec<_>) = owners.into_iter().unzip();
        drop(handles);
        let last = holds.pop();
        thread::spawn(move || drop(holds)).join().unwrap();
        assert!(!is_gone(&alive));
        thread::spawn(move || drop(last)).join().unwrap();
        assert!(is_gone(&alive));
    }

    #[test]
    fn a_thread_takes_the_owner_it_kept_of_this_engine_and_no_other() {
        let engines: Vec<_> = (0..3 * SPARES)
            .map(|_| striped(&Environment::new()))
            .collect();
        for _ in 0..3 {
            for (engine, _) in &engines {
                let hold = engine.hold();
                assert!(Arc::ptr_eq(&hold._alive, &engine._alive));
            }
        }
        let (engines, alive): (Vec<_>, Vec<_>) = engines.into_iter().unzip();
        drop(engines);
        assert!(alive.iter().filter(|it| !is_gone(it)).count() <= SPARES);
    }

    #[test]
    fn what_an_observer_holds_waits_for_no_thread() {
        let environment = Environment::new().observer(|_: &Event<'_>| {});
        let (engine, alive) = striped(&environment);
        drop(engine.hold());
        drop(engine);
        assert!(is_gone(&alive));
    }
}
