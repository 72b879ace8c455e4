use std::fmt;

use crate::invocation::Failure;

/// Instructions of a call, row by row, by one compiler.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) compiler: String,
    pub(crate) rows: Vec<(String, f64)>,
}

/// Where a count is not what was recorded.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    Grew(String, f64, f64),
    Shrank(String, f64, f64),
    /// Counted, and not recorded.
    New(String, f64),
    /// Recorded, and not counted.
    Gone(String),
}

impl Table {
    pub(crate) const fn new(compiler: String) -> Self {
        Self {
            compiler,
            rows: Vec::new(),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut table = Self::new(String::new());
        for line in text.lines() {
            if let Some(compiler) = line.strip_prefix(COMPILER) {
                compiler.clone_into(&mut table.compiler);
            } else if !line.starts_with('#') {
                let row = row(line);
                let row = row.ok_or_else(|| Failure::new(format!("no row: {line}")))?;
                table.rows.push(row);
            }
        }
        Ok(table)
    }

    /// Where `counted` differs by more than the share `tolerance`.
    pub(crate) fn changes(&self, counted: &Self, tolerance: f64) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, now) in &counted.rows {
            let before = self.count(name);
            changes.extend(match before {
                None => Some(Change::New(name.clone(), *now)),
                Some(before) if *now > before * (1.0 + tolerance) => {
                    Some(Change::Grew(name.clone(), before, *now))
                }
                Some(before) if *now < before * (1.0 - tolerance) => {
                    Some(Change::Shrank(name.clone(), before, *now))
                }
                Some(_) => None,
            });
        }
        let gone = self
            .rows
            .iter()
            .filter(|(name, _)| counted.count(name).is_none());
        changes.extend(gone.map(|(name, _)| Change::Gone(name.clone())));
        changes
    }

    fn count(&self, name: &str) -> Option<f64> {
        let row = self.rows.iter().find(|(row, _)| row == name);
        row.map(|(_, count)| *count)
    }
}

fn row(line: &str) -> Option<(String, f64)> {
    let (name, count) = line.split_once(' ')?;
    Some((name.to_owned(), count.trim().parse().ok()?))
}

/// As it is committed: a row on a line, in the order in which they are counted.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Instructions of one call on Linux on x86-64, counted by Valgrind and"
        )?;
        writeln!(f, "# written by `cargo xtask instructions --record`.")?;
        writeln!(f, "{COMPILER}{}", self.compiler)?;
        for (name, count) in &self.rows {
            writeln!(f, "{name:<24} {count:>8.1}")?;
        }
        Ok(())
    }
}

impl Change {
    /// Whether it needs no answer.
    pub(crate) const fn is_welcome(&self) -> bool {
        matches!(self, Self::Shrank(..))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |before, now| 100.0 * (now / before - 1.0);
        match self {
            Self::Grew(name, before, now) => {
                let percent: f64 = percent(before, now);
                write!(
                    f,
                    "{name} GREW from {before:.1} to {now:.1} instructions ({percent:+.1} %)"
                )
            }
            Self::Shrank(name, before, now) => {
                let percent: f64 = percent(before, now);
                write!(
                    f,
                    "{name} shrank from {before:.1} to {now:.1} instructions ({percent:+.1} %): \
                     record that, to keep it"
                )
            }
            Self::New(name, now) => write!(f, "{name} takes {now:.1} instructions: NOT RECORDED"),
            Self::Gone(name) => write!(f, "{name} is recorded and was NOT COUNTED"),
        }
    }
}

const COMPILER: &str = "# compiler: ";

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, f64)]) -> Table {
        let rows = rows.iter();
        Table {
            compiler: "rustc 1.95.0".to_owned(),
            rows: rows
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let written = table(&[("bare", 10.2), ("limiter_sliding_engine", 1957.1)]);
        let read = Table::parse(&written.to_string()).expect("well-formed");
        assert_eq!(read.compiler, written.compiler);
        assert_eq!(read.rows, written.rows);
        Table::parse("bare ten").expect_err("no number");
    }

    #[test]
    fn a_row_that_grew_is_named_and_one_that_shrank_is_welcome() {
        let recorded = table(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 100.0)]);
        let counted = table(&[("a", 104.9), ("b", 105.1), ("c", 94.0), ("e", 7.0)]);
        let changes = recorded.changes(&counted, 0.05);
        assert_eq!(
            changes,
            [
                Change::Grew("b".to_owned(), 100.0, 105.1),
                Change::Shrank("c".to_owned(), 100.0, 94.0),
                Change::New("e".to_owned(), 7.0),
                Change::Gone("d".to_owned()),
            ]
        );
        let welcome: Vec<_> = changes.iter().map(Change::is_welcome).collect();
        assert_eq!(welcome, [false, true, false, false]);
        assert_eq!(
            changes.first().map(ToString::to_string).as_deref(),
            Some("b GREW from 100.0 to 105.1 instructions (+5.1 %)")
        );
    }
}
