//! The README's table of costs.

use std::fs;

use super::{figures::Figures, markdown::short, report::Report};
use crate::invocation::{Failure, root};

/// Replaces what stands between the markers by the figures of `report`.
pub(crate) fn update(report: &Report) -> Result<(), Failure> {
    let path = root().join("README.md");
    let failed = |error| Failure::new(format!("{}: {error}", path.display()));
    let readme = fs::read_to_string(&path).map_err(failed)?;
    let table = format!("{}\n{}.\n", table(&report.figures), report.machine.text());
    fs::write(&path, replaced(&readme, &table)?).map_err(failed)?;
    println!("{} has the figures of this run", path.display());
    Ok(())
}

fn replaced(readme: &str, table: &str) -> Result<String, Failure> {
    let missing = || {
        Failure::new(format!(
            "the README has no `{BEGIN}` with `{END}` behind it"
        ))
    };
    let (head, rest) = readme.split_once(BEGIN).ok_or_else(missing)?;
    let (_, tail) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{head}{BEGIN}\n\n{table}\n{END}{tail}"))
}

fn table(figures: &Figures) -> String {
    let mut text = "| call | ours | allocations | peers |\n| --- | --- | --- | --- |\n".to_owned();
    for (what, layer) in CALLS {
        let ours = format!("{layer}/ours");
        let Some(row) = figures.row(&format!("{ours}/1")) else {
            continue;
        };
        let mut peers = Vec::new();
        for peer in &figures.rows {
            if peer.layer == *layer && !peer.is_ours() && peer.threads == 1 {
                let who = format!("{}/{}", peer.layer, peer.who);
                let name = peer.who.replace('_', "-");
                peers.push(format!("{name} {}", both(figures, &who)));
            }
        }
        let cells = [
            (*what).to_owned(),
            both(figures, &ours),
            short(row.allocs),
            peers.join(" · "),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// Alone, and with another thread.
fn both(figures: &Figures, who: &str) -> String {
    let ns = |threads| {
        let row = figures.row(&format!("{who}/{threads}"));
        row.map_or_else(|| "–".to_owned(), |row| short(row.ns))
    };
    format!("{} / {}", ns(1), ns(2))
}

const BEGIN: &str = "<!-- costs: written by `cargo xtask bench` -->";
const END: &str = "<!-- /costs -->";

const CALLS: &[(&str, &str)] = &[
    ("no layer", "bare"),
    ("one reading of the clock", "clock"),
    ("breaker closed, window of 100 calls", "breaker_count"),
    (
        "breaker closed, window of 10 s with 100 000 calls",
        "breaker_time",
    ),
    ("breaker open", "breaker_open"),
    ("rate limit, sliding window", "limiter_sliding"),
    (
        "rate limit, sliding window, without a layer",
        "limiter_sliding_engine",
    ),
    ("rate limit, GCRA", "limiter_gcra"),
    ("rate limit, GCRA, without a layer", "limiter_gcra_engine"),
    ("rate limit, every call remembered", "limiter_log"),
    ("rate limit, 10 000 keys", "limiter_keyed"),
    ("rate limit, 10 000 names", "limiter_keyed_string"),
    ("rate limit spent", "limiter_denied"),
    ("bulkhead", "bulkhead"),
    ("bulkhead full", "bulkhead_full"),
    ("cache hit", "cache_hit"),
    ("guard, key is known", "guard_hit"),
    ("guard, key is unknown", "guard_miss"),
    ("panic recovery", "catch_panic"),
    ("five layers together", "stack5"),
    ("HTTP request through `Respond` and five layers", "respond"),
];

#[cfg(test)]
mod tests {
    use super::{super::figures::tests::figures, *};

    #[test]
    fn a_row_has_ours_and_each_peer_alone_and_shared() {
        let figures = figures(
            "{\"id\":\"bulkhead/ours/1\",\"ns\":59,\"allocs\":0}\n\
             {\"id\":\"bulkhead/ours/2\",\"ns\":433,\"allocs\":0}\n\
             {\"id\":\"bulkhead/tower_resilience/1\",\"ns\":277.4,\"allocs\":3}\n\
             {\"id\":\"bulkhead/tower_resilience/2\",\"ns\":1820,\"allocs\":3}\n",
        );
        assert_eq!(
            table(&figures),
            "| call | ours | allocations | peers |\n| --- | --- | --- | --- |\n\
             | bulkhead | 59 / 433 | 0 | tower-resilience 277 / 1 820 |\n"
        );
    }

    #[test]
    fn what_stands_between_the_markers_is_replaced() {
        let readme = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = replaced(&readme, "new\n").expect("both markers");
        assert_eq!(new, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        replaced("no markers", "new").expect_err("nowhere to put it");
    }

    #[test]
    fn the_readme_has_the_markers() {
        let readme = fs::read_to_string(root().join("README.md")).expect("it is there");
        replaced(&readme, "").expect("both markers");
    }
}
