use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use super::{arguments::Wanted, bars, chart, figures::Figures, machine::Machine, markdown, plot};
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

    /// Puts all of it in `folder`, in the place of what was there.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Failure> {
        for (name, text) in [
            ("report.json", self.json()),
            ("report.md", markdown::render(self)),
            ("bars.svg", chart::render(&self.figures)),
            ("growth.svg", plot::render(&self.figures)),
        ] {
            let path = folder.join(name);
            let failed = |error| Failure::new(format!("{}: {error}", path.display()));
            fs::write(&path, text).map_err(failed)?;
        }
        Ok(())
    }

    /// For programs: `machine`, `rows` and `ratios`.
    fn json(&self) -> String {
        let rows: Vec<_> = self.figures.rows.iter().map(|row| row.json()).collect();
        let ratios = bars::ratios(&self.figures);
        let ratios: Map<_, _> = ratios.map(|(name, it)| (name, Value::from(it))).collect();
        let report = json!({
            "machine": self.machine.json(),
            "rows": rows,
            "ratios": ratios,
        });
        format!("{report:#}\n")
    }
}
