use super::{CircuitBreaker, Phase};
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

impl Measured for CircuitBreaker {
    fn policy(&self) -> &'static str {
        self.shared.name()
    }

    fn instruments(&self) -> &'static [&'static Instrument] {
        &INSTRUMENTS
    }

    fn measure(&self, record: &mut dyn FnMut(Sample)) {
        let snapshot = self.snapshot();
        let totals = snapshot.totals;
        let mut sample = |instrument, label, value| {
            record(Sample {
                instrument,
                label,
                value,
            });
        };
        for (outcome, calls) in [
            ("success", totals.successes),
            ("failure", totals.failures),
            ("overload", totals.overloads),
            ("not_called", totals.not_called),
            ("canceled", totals.canceled),
            ("ignored", totals.ignored),
        ] {
            sample(&CALLS, Some(outcome), calls);
        }
        sample(&REJECTED, None, snapshot.rejected);
        sample(&TRANSITIONS, None, snapshot.transitions_total);
        for phase in Phase::ALL {
            let here = u64::from(phase == snapshot.phase);
            sample(&STATE, Some(phase.as_str()), here);
        }
    }
}
