use std::hash::Hash;

use super::{CircuitBreaker, CircuitBreakers, Phase, Snapshot, Totals};
use crate::{Instrument, InstrumentKind, Measured, Sample};

static CALLS: Instrument = Instrument {
    name: "resilience.circuit_breaker.calls",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Calls that were admitted, by what became of them.",
    label: Some("outcome"),
};

static REJECTED: Instrument = Instrument {
    name: "resilience.circuit_breaker.rejected",
    kind: InstrumentKind::Counter,
    unit: "{call}",
    description: "Calls that were refused.",
    label: None,
};

static TRANSITIONS: Instrument = Instrument {
    name: "resilience.circuit_breaker.transitions",
    kind: InstrumentKind::Counter,
    unit: "{transition}",
    description: "Phases that were entered.",
    label: None,
};

static STATE: Instrument = Instrument {
    name: "resilience.circuit_breaker.state",
    kind: InstrumentKind::Gauge,
    unit: "{circuit}",
    description: "Circuits in each phase.",
    label: Some("phase"),
};

static INSTRUMENTS: [&Instrument; 4] = [&CALLS, &REJECTED, &TRANSITIONS, &STATE];

/// The figures of one circuit, or of many together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    totals: Totals,
    rejected: u64,
    transitions: u64,
    circuits: [u64; Phase::ALL.len()],
}

impl Figures {
    /// Adds a circuit that stands.
    fn add(&mut self, snapshot: &Snapshot) {
        self.add_counters(snapshot);
        self.circuits[snapshot.phase as usize] += 1;
    }

    /// Adds what a circuit counted before it went.
    pub(super) fn add_counters(&mut self, snapshot: &Snapshot) {
        let (sum, totals) = (&mut self.totals, &snapshot.totals);
        sum.successes += totals.successes;
        sum.failures += totals.failures;
        sum.overloads += totals.overloads;
        sum.not_called += totals.not_called;
        sum.canceled += totals.canceled;
        sum.ignored += totals.ignored;
        self.rejected += snapshot.rejected;
        self.transitions += snapshot.transitions_total;
    }

    /// Adds a call that no circuit was asked about.
    pub(super) const fn add_rejected(&mut self) {
        self.rejected += 1;
    }

    fn record(&self, record: &mut dyn FnMut(Sample)) {
        for (outcome, calls) in [
            ("success", self.totals.successes),
            ("failure", self.totals.failures),
            ("overload", self.totals.overloads),
            ("not_called", self.totals.not_called),
            ("canceled", self.totals.canceled),
            ("ignored", self.totals.ignored),
        ] {
            record(CALLS.sample(Some(outcome), calls));
        }
        record(REJECTED.sample(None, self.rejected));
        record(TRANSITIONS.sample(None, self.transitions));
        for phase in Phase::ALL {
            let circuits = self.circuits[phase as usize];
            record(STATE.sample(Some(phase.as_str()), circuits));
        }
    }
}

impl Measured for CircuitBreaker {
    fn policy(&self) -> &'static str {
        self.shared.name()
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        &INSTRUMENTS
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        let mut figures = Figures::default();
        figures.add(&self.snapshot());
        figures.record(record);
    }
}

/// All circuits together; no key ever stands in a metric.
impl<K: Hash + Eq + Send> Measured for CircuitBreakers<K> {
    fn policy(&self) -> &'static str {
        self.name()
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        &INSTRUMENTS
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        // In this order: a circuit that is forgotten meanwhile is held here until it was counted,
        // and leaves its figures behind only then. A counter never falls.
        let kept = self.kept();
        let mut figures = self.besides();
        for breaker in &kept {
            figures.add(&breaker.snapshot());
        }
        figures.record(record);
    }
}
