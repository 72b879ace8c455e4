//! A caller, from the question to the answer.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use resilience_core::{QuotaStatus, Rejected};

use super::{
    Engine,
    both::{self, Begun, Both},
    told::Told,
};
use crate::{
    StoreKey,
    rate_limit::{
        decision::{Decision, Source},
        line::{Entry, Spent},
    },
};

/// How a caller fares, of whom `E` is kept where nobody needs to be asked.
pub(in crate::rate_limit) enum Ask<E> {
    /// Refused, as is known here.
    Refused(Rejected),
    /// Would be, and goes on, since the policy is a shadow.
    Spared(QuotaStatus),
    /// Has units that were taken ahead.
    Leased(Spent, E),
    /// Stands in line, and hears of it.
    Waits(InLine),
}

/// A call of which only the decision is wanted.
#[must_use = "futures do nothing unless polled"]
pub(in crate::rate_limit) enum Decide<'a, K: ?Sized> {
    Comes {
        engine: &'a Arc<Engine>,
        key: &'a K,
        cost: u64,
        /// In nanoseconds.
        max_wait: u64,
    },
    Waits(InLine),
    /// For his key and for all keys.
    WaitsForBoth(Box<Both>),
    Over,
}

impl<K: StoreKey + ?Sized> Future for Decide<'_, K> {
    type Output = Decision;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Decision> {
        match &mut *self {
            Self::Waits(caller) => Pin::new(caller).poll(context).map(|told| told.decision),
            Self::WaitsForBoth(both) => Pin::new(&mut **both)
                .poll(context)
                .map(|it| it.told.decision),
            &mut Self::Comes {
                engine,
                key,
                cost,
                max_wait,
            } => {
                if let Some(global) = &engine.global {
                    let engines = (engine, global);
                    return self.come_for_both(engines, key, (cost, max_wait), context);
                }
                // What is decided at once is heard at once: of the entry nothing need be kept.
                let ask = engine.ask(key, (cost, max_wait), Some(context.waker()), |_| ());
                let decision = match ask {
                    Ask::Refused(rejected) => Decision::by(Source::DeniedLocally, Err(rejected)),
                    Ask::Spared(status) => Decision::by(Source::DeniedLocally, Ok(status)),
                    Ask::Leased(spent, ()) => engine.spent(&spent),
                    Ask::Waits(caller) => {
                        *self = Self::Waits(caller);
                        return Poll::Pending;
                    }
                };
                *self = Self::Over;
                Poll::Ready(decision)
            }
            Self::Over => panic!("polled after it was ready"),
        }
    }
}

impl<'a, K: StoreKey + ?Sized> Decide<'a, K> {
    #[inline(never)]
    fn come_for_both(
        &mut self,
        (engine, global): (&'a Arc<Engine>, &'a Arc<Engine>),
        key: &K,
        wanted: (u64, u64),
        context: &mut Context<'_>,
    ) -> Poll<Decision> {
        match both::ask(engine, global, key, wanted) {
            Begun::Waits(both) => {
                *self = Self::WaitsForBoth(both);
                Pin::new(self).poll(context)
            }
            Begun::Over(answered) => {
                *self = Self::Over;
                Poll::Ready(answered.told.decision)
            }
        }
    }
}

/// A caller in line. One who goes away takes nothing, and gives back what he was granted meanwhile.
#[must_use = "futures do nothing unless polled"]
pub(in crate::rate_limit) struct InLine {
    engine: Arc<Engine>,
    entry: Arc<Entry>,
    cost: u64,
    place: Option<usize>,
}

impl InLine {
    /// A caller who wants `cost` and stands at `place` in the line of `entry`.
    pub(super) fn new(engine: &Arc<Engine>, entry: &Arc<Entry>, cost: u64, place: usize) -> Self {
        Self {
            engine: Arc::clone(engine),
            entry: Arc::clone(entry),
            cost,
            place: Some(place),
        }
    }

    pub(in crate::rate_limit) const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(in crate::rate_limit) const fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Whether the caller waits until there is room, or did so.
    pub(super) fn waits(&self) -> bool {
        self.place
            .is_some_and(|place| self.entry.line().waits(place))
    }

    /// Whether the caller is being asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.place
            .is_some_and(|place| self.entry.line().is_asked(place))
    }

    /// What the caller is told, before that is counted.
    #[inline(always)]
    pub(super) fn poll_told(&mut self, context: &Context<'_>) -> Poll<Told> {
        let place = self.place.expect("polled after it was ready");
        let answer = self.entry.line().poll(place, context.waker());
        let Some(answer) = answer else {
            return Poll::Pending;
        };
        self.place = None;
        Poll::Ready(self.engine.answered(&self.entry, self.cost, answer))
    }
}

impl Future for InLine {
    type Output = Told;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Told> {
        let told = ready!(self.poll_told(context));
        Poll::Ready(self.engine.counted(self.cost, told))
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.engine.lane.leave(&self.entry, place);
        }
    }
}
