//! The README's table of costs.

use std::fs;

use super::{digits::short, figures::Figures, report::Report};
use crate::invocation::{Failure, root};

/// Replaces what stands between the markers by the figures of `report`.
pub(crate) fn update(report: &Report) -> Result<(), Failure> {
    let path = root().join("README.md");
    let failed = |error| Failure::new(format!("{}: {error}", path.display()));
    let readme = fs::read_to_string(&path).map_err(failed)?;
    let (table, pages) = (table(&report.figures), pages(&report.figures));
    let table = format!("{table}\n{pages}{}.\n", report.machine.text());
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

/// What the layers are to a whole service, which they spare its work: said with what they cost
/// where there is none.
fn pages(figures: &Figures) -> String {
    let per_second = |row: &str| figures.row(row)?.per_second.map(short);
    let rows = [
        "dish_page/ours/1",
        "dish_page/axum/1",
        "dish_page_in_memory/axum/1",
    ];
    let [Some(layers), Some(none), Some(memory)] = rows.map(per_second) else {
        return String::new();
    };
    format!(
        "The ordering service's dish page over HTTP, requests a second that one thread answers: \
         {layers} with all layers, one of which keeps the page; {none} with none, the page read \
         from the database each time; {memory} with none, for a page that is not even read.\n\n"
    )
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
    ("breaker closed, runs of failures", "breaker_consecutive"),
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
    fn a_page_with_all_layers_stands_beside_the_same_without_any() {
        let dish_page = "{\"id\":\"dish_page/ours/1\",\"ns\":1,\"allocs\":0,\"per_second\":76627}\n\
             {\"id\":\"dish_page/axum/1\",\"ns\":1,\"allocs\":0,\"per_second\":32027}\n";
        assert_eq!(pages(&figures(dish_page)), "");
        let memory = "{\"id\":\"dish_page_in_memory/axum/1\",\"ns\":1,\"allocs\":0,\
             \"per_second\":144933}\n";
        let pages = pages(&figures(&format!("{dish_page}{memory}")));
        assert!(pages.contains("76 627 with all layers"), "{pages}");
        assert!(pages.contains("32 027 with none"), "{pages}");
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
