use std::path::Path;

use serde_json::{Map, Value, json};

use super::{arguments::Wanted, bars, figures::Figures, machine::Machine};
use crate::invocation::Failure;

/// One run: what was found, and where.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) figures: Figures,
}

impl Report {
    pub(crate) fn collect(folder: &Path, wanted: &Wanted) -> Result<Self, Failure> {
        Ok(Self {
            machine: Machine::here(wanted.length()),
            figures: Figures::read(folder)?,
        })
    }

    /// For programs: `machine`, `rows` and `ratios`.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<_> = self.figures.rows.iter().map(|row| row.json()).collect();
        let ratios = bars::ratios(&self.figures).into_iter();
        let ratios: Map<_, _> = ratios.map(|(name, it)| (name, Value::from(it))).collect();
        let report = json!({
            "machine": self.machine.json(),
            "rows": rows,
            "ratios": ratios,
        });
        format!("{report:#}\n")
    }
}
