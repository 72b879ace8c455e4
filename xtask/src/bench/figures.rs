//! What the benchmarks wrote down.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Map, Value};

use crate::invocation::Failure;

/// In the folder of a run: a line of JSON for each row and each ratio.
pub(crate) const ROWS: &str = "rows.jsonl";

/// In the folder of a run: what Criterion found, by the name of the row.
pub(crate) const ESTIMATES: &str = "criterion";

/// All of one run.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// In the order in which they were measured.
    pub(crate) rows: Vec<Row>,
    /// What is no row: ratios that only their benchmark can take, by name.
    pub(crate) ratios: BTreeMap<String, f64>,
}

/// What one call costs, by the name `LAYER/WHO/THREADS`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) layer: String,
    /// `ours`, or the crate.
    pub(crate) who: String,
    pub(crate) threads: u32,
    pub(crate) ns: f64,
    pub(crate) allocs: f64,
    pub(crate) p99_ns: Option<f64>,
    pub(crate) p999_ns: Option<f64>,
    pub(crate) per_second: Option<f64>,
}

impl Figures {
    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        let rows = folder.join(ROWS);
        // The first group may have failed.
        let text = if rows.exists() {
            read(&rows)?
        } else {
            String::new()
        };
        let estimates = folder.join(ESTIMATES);
        Self::parse(&text, |row| {
            let path = format!("{}/{}_{}/new/estimates.json", row[0], row[1], row[2]);
            let estimates = json(&read(&estimates.join(path))?)?;
            number(&estimates["median"], "point_estimate")
        })
    }

    /// Where a row has no time of its own, `estimate` finds it by the parts of its name.
    fn parse(
        text: &str,
        estimate: impl Fn([&str; 3]) -> Result<f64, Failure>,
    ) -> Result<Self, Failure> {
        let mut figures = Self::default();
        for line in text.lines() {
            let line = json(line)?;
            if let Some(name) = line["ratio"].as_str() {
                let value = number(&line, "value")?;
                figures.ratios.insert(name.to_owned(), value);
            } else {
                figures.rows.push(Row::parse(&line, &estimate)?);
            }
        }
        Ok(figures)
    }

    pub(crate) fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.id() == id)
    }

    /// What one thread's calls cost, layer by layer, ours before its peers. What is done for others
    /// under load is no matter of one call, and growth has tables of its own.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Row> {
        let rows = |layer| self.rows.iter().filter(move |row| row.layer == layer);
        let calls = self.layers().into_iter().flat_map(rows);
        calls.filter(|row| row.threads == 1 && !row.is_load() && !row.is_growth())
    }

    /// How many times as long as ours `row` takes, where we have the same.
    pub(crate) fn times_ours(&self, row: &Row) -> Option<f64> {
        let ours = self.row(&format!("{}/ours/{}", row.layer, row.threads))?;
        Some(row.ns / ours.ns)
    }

    /// Each layer once, in order.
    fn layers(&self) -> Vec<&str> {
        let mut layers = Vec::new();
        for row in &self.rows {
            if !layers.contains(&row.layer.as_str()) {
                layers.push(row.layer.as_str());
            }
        }
        layers
    }
}

impl Row {
    pub(crate) fn id(&self) -> String {
        format!("{}/{}/{}", self.layer, self.who, self.threads)
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.who == "ours"
    }

    /// Whether it tells how a cost grows, by a number at the end of its layer's name.
    fn is_growth(&self) -> bool {
        self.layer.starts_with("growth_")
    }

    /// Whether somebody served others while it was measured.
    pub(crate) const fn is_load(&self) -> bool {
        self.per_second.is_some() || self.p99_ns.is_some()
    }

    /// As the report has it.
    pub(crate) fn json(&self) -> Value {
        let mut row = Map::new();
        row.insert("id".to_owned(), self.id().into());
        let figures = [
            ("ns", Some(self.ns)),
            ("allocs", Some(self.allocs)),
            ("p99_ns", self.p99_ns),
            ("p999_ns", self.p999_ns),
            ("per_second", self.per_second),
        ];
        for (name, figure) in figures {
            if let Some(figure) = figure {
                row.insert(name.to_owned(), figure.into());
            }
        }
        Value::Object(row)
    }

    fn parse(
        line: &Value,
        estimate: impl Fn([&str; 3]) -> Result<f64, Failure>,
    ) -> Result<Self, Failure> {
        let malformed = || Failure::new(format!("no row: {line}"));
        let id = line["id"].as_str().ok_or_else(malformed)?;
        let parts: Vec<_> = id.split('/').collect();
        let &[layer, who, threads] = parts.as_slice() else {
            return Err(malformed());
        };
        let ns = match line["ns"].as_f64() {
            Some(ns) => ns,
            None => estimate([layer, who, threads])?,
        };
        Ok(Self {
            layer: layer.to_owned(),
            who: who.to_owned(),
            threads: threads.parse().map_err(|_| malformed())?,
            ns,
            allocs: number(line, "allocs")?,
            p99_ns: line["p99_ns"].as_f64(),
            p999_ns: line["p999_ns"].as_f64(),
            per_second: line["per_second"].as_f64(),
        })
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn json(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::new(format!("{error} in {text}")))
}

fn number(value: &Value, name: &str) -> Result<f64, Failure> {
    let number = value[name].as_f64();
    number.ok_or_else(|| Failure::new(format!("no number `{name}` in {value}")))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Rows as benchmarks write them.
    pub(crate) fn figures(text: &str) -> Figures {
        Figures::parse(text, |_| Ok(42.0)).expect("well-formed rows")
    }

    #[test]
    fn a_row_without_a_time_of_its_own_gets_criterions() {
        let figures = figures(
            "{\"id\":\"bare/ours/1\",\"allocs\":0}\n\
             {\"id\":\"dish_page/ours/2\",\"ns\":7.5,\"allocs\":3,\"p99_ns\":9,\"p999_ns\":12,\
             \"per_second\":1000}\n\
             {\"ratio\":\"dish_page\",\"value\":0.97}\n",
        );
        assert_eq!(figures.row("bare/ours/1").map(|row| row.ns), Some(42.0));
        let page = figures.row("dish_page/ours/2").expect("it was given");
        assert_eq!(
            page.json().to_string(),
            "{\"allocs\":3.0,\"id\":\"dish_page/ours/2\",\"ns\":7.5,\"p999_ns\":12.0,\"p99_ns\":9.0,\
             \"per_second\":1000.0}"
        );
        assert_eq!(figures.ratios.get("dish_page"), Some(&0.97));
        assert_eq!(figures.layers(), ["bare", "dish_page"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for line in [
            "soup",
            r#"{"allocs":0,"id":"bare/ours"}"#,
            r#"{"allocs":0,"id":"bare/ours/one"}"#,
            r#"{"id":"bare/ours/1"}"#,
            r#"{"ratio":"dish_page"}"#,
        ] {
            let read = Figures::parse(line, |_| Ok(42.0));
            let failure = read.expect_err("not a row");
            assert!(
                failure.to_string().contains(line.trim_matches(['{', '}'])),
                "{failure}"
            );
        }
    }
}
