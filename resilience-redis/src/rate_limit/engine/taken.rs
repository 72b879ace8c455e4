//! What engines admitted a call for, until somebody has it for good.

use std::sync::Arc;

use super::{Engine, told::Told};
use crate::rate_limit::{
    decision::{Decision, Source},
    fallback::Parts,
    line::Entry,
};

/// What a caller is told, and what he took of his key and of all keys where he was admitted.
pub(in crate::rate_limit) struct Answered {
    pub(in crate::rate_limit) told: Told,
    pub(in crate::rate_limit) taken: Option<Box<[Taken; 2]>>,
}

/// What an engine admitted, and what it takes to take that back.
pub(in crate::rate_limit) struct Taken {
    pub(super) engine: Arc<Engine>,
    entry: Arc<Entry>,
    pub(super) told: Told,
}

/// What an engine gave, if one did, which goes back unless somebody takes it.
pub(super) struct Held(Option<Taken>);

impl Answered {
    pub(super) const fn of_nothing(told: Told) -> Self {
        Self { told, taken: None }
    }
}

impl Held {
    pub(super) const fn of(taken: Taken) -> Self {
        Self(Some(taken))
    }

    pub(super) const fn nothing() -> Self {
        Self(None)
    }

    pub(super) const fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn keep(mut self) -> Option<Taken> {
        self.0.take()
    }

    /// Whether `engine` gave it.
    pub(super) fn is_of(&self, engine: &Arc<Engine>) -> bool {
        let taken = self.0.as_ref();
        taken.is_some_and(|taken| Arc::ptr_eq(&taken.engine, engine))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(taken) = self.0.take() {
            taken.give_back();
        }
    }
}

impl Taken {
    pub(in crate::rate_limit) fn new(engine: &Arc<Engine>, entry: &Arc<Entry>, told: Told) -> Self {
        Self {
            engine: Arc::clone(engine),
            entry: Arc::clone(entry),
            told,
        }
    }

    /// Takes it back.
    pub(in crate::rate_limit) fn give_back(self) {
        let Told { receipt, parts, .. } = self.told;
        if let Some(receipt) = receipt {
            self.engine.give_back(&self.entry, receipt);
        }
        self.engine.stake.give_back(self.entry.name(), parts);
    }

    /// What a caller is told whom his key admitted, and `all` keys.
    pub(super) fn conclude(self, cost: u64, all: Self) -> Answered {
        let (key, of_all) = (&self.told.decision, &all.told.decision);
        let error = key.error.clone().or_else(|| of_all.error.clone());
        let left = |decision: &Decision| decision.outcome.as_ref().map_or(0, |it| it.remaining);
        let tightest = if left(of_all) < left(key) {
            &all.told
        } else {
            &self.told
        };
        let told = Told {
            decision: Decision {
                outcome: tightest.decision.outcome.clone(),
                source: source(key.source, of_all.source),
                time: key.time.max(of_all.time),
                error,
            },
            standing: tightest.standing,
            receipt: None,
            parts: Parts::default(),
        };
        Answered {
            told: self.engine.counted(cost, told),
            taken: Some(Box::new([self, all])),
        }
    }
}

/// Who decided, where two admitted: the one that knows the least.
fn source(one: Source, other: Source) -> Source {
    let mut all = [Source::Degraded, Source::Redis].into_iter();
    let least = all.find(|source| *source == one || *source == other);
    least.unwrap_or(Source::Lease)
}
