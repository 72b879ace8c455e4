//! The fuzz targets without a fuzzer: each runs its committed corpus, and some thousand inputs
//! that are random and always the same.
#![cfg(feature = "http")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[path = "../../fuzz/src/lib.rs"]
#[allow(missing_docs, unreachable_pub, reason = "a crate of its own elsewhere")]
mod fuzz;

#[test]
fn no_input_of_the_corpora_breaks_a_target() {
    for (name, run) in fuzz::TARGETS {
        let corpus = names(&folder("corpus").join(name));
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for file in corpus {
            let input = fs::read(folder("corpus").join(name).join(&file)).unwrap();
            let _told = TellOnPanic(name, &input);
            run(&input);
        }
    }
}

#[test]
fn no_random_input_breaks_a_target() {
    for (name, run) in fuzz::TARGETS {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..3000 {
            let length = random.usize(..300);
            // Few different values make more of the inputs mean something.
            let highest = *random.choice(&[3, 63, 255]).unwrap();
            let input: Vec<u8> = (0..length).map(|_| random.u8(..=highest)).collect();
            let _told = TellOnPanic(name, &input);
            run(&input);
        }
    }
}

#[test]
fn every_target_has_a_file_and_a_corpus() {
    let listed: BTreeSet<_> = fuzz::TARGETS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(names(&folder("corpus")), listed);
    let files = names(&folder("fuzz_targets"));
    let stems: BTreeSet<_> = files.iter().map(|file| file.replace(".rs", "")).collect();
    assert_eq!(stems, listed);
}

/// Prints the input that broke a target, as bytes that can become a file of its corpus.
struct TellOnPanic<'a>(&'static str, &'a [u8]);

impl Drop for TellOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}: b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz")
        .join(name)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("the folder is committed");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("it can be read").file_name();
    entries
        .map(|entry| name(entry).into_string().expect("names are plain"))
        .collect()
}
