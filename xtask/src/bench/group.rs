use std::path::Path;

use super::{
    arguments::{Length, Wanted},
    figures::{ESTIMATES, ROWS},
};
use crate::{
    cargo::cargo,
    invocation::{Failure, Invocation},
};

/// What is measured in one process.
#[derive(Debug)]
pub(crate) struct Group {
    name: &'static str,
    /// The target in `benches/`.
    target: &'static str,
    /// A feature of its own, for what must be built apart.
    feature: Option<&'static str>,
    time: Time,
}

/// Who decides how long to measure.
#[derive(Clone, Copy, Debug)]
enum Time {
    /// Criterion, for the figures whose names match, up to the number of threads.
    Criterion(&'static str),
    /// The program itself.
    Own,
}

/// All of them; a group that needs a server comes last.
pub(crate) const ALL: &[Group] = &[
    layers("floor", "bare|bare_http|clock"),
    layers("breaker", "breaker_[a-z]+"),
    layers("limiter", "limiter_[a-z_]+"),
    layers("bulkhead", "bulkhead[a-z_]*"),
    layers("cache", "cache_[a-z_]+"),
    layers("guard", "guard_[a-z_]+"),
    layers("panics", "catch_panic[a-z_]*"),
    layers("stack", "stack5|respond"),
    Group {
        name: "growth",
        target: "growth",
        feature: None,
        time: Time::Criterion("growth_[a-z0-9_]+"),
    },
    Group {
        name: "metered",
        target: "metered",
        feature: Some("metered"),
        time: Time::Criterion("[a-z_]+"),
    },
    Group {
        name: "load",
        target: "load",
        feature: Some("load"),
        time: Time::Own,
    },
    Group {
        name: "redis",
        target: "redis",
        feature: Some("redis"),
        time: Time::Own,
    },
];

/// Whatever a filter of the user's picks.
pub(crate) static LAYERS: Group = layers("layers", "[a-z0-9_]+");

const fn layers(name: &'static str, layers: &'static str) -> Group {
    Group {
        name,
        target: "layers",
        feature: None,
        time: Time::Criterion(layers),
    }
}

pub(crate) fn named(name: &str) -> Result<&'static Group, Failure> {
    ALL.iter().find(|group| group.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|group| group.name).collect();
        let names = names.join(", ");
        Failure::new(format!("there is no group `{name}`; groups are {names}"))
    })
}

impl Group {
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether some of its figures can be measured without the others.
    pub(crate) const fn takes_a_filter(&self) -> bool {
        matches!(self.time, Time::Criterion(_))
    }

    /// Builds it; many groups are parts of one program.
    pub(crate) fn build(&self) -> Invocation {
        self.cargo().arguments(["--no-run"])
    }

    pub(crate) fn run(&self, wanted: &Wanted, folder: &Path) -> Result<(), Failure> {
        println!("\n=== {}", self.name);
        self.cargo()
            .arguments(["--"])
            .arguments(self.arguments(wanted))
            .environment("BENCH_ROWS", folder.join(ROWS).to_string_lossy())
            .environment("CRITERION_HOME", folder.join(ESTIMATES).to_string_lossy())
            .run()
    }

    fn cargo(&self) -> Invocation {
        let features = self.feature.map(|feature| ["--features", feature]);
        cargo("bench --quiet --package benches --bench")
            .arguments([self.target])
            .arguments(features.into_iter().flatten())
            // Code that was built by parts is inlined less, and is slower.
            .environment("CARGO_INCREMENTAL", "0")
    }

    fn arguments(&self, wanted: &Wanted) -> Vec<String> {
        let quick = wanted.length() == Length::Quick;
        let Time::Criterion(layers) = self.time else {
            return quick.then(|| "--quick".to_owned()).into_iter().collect();
        };
        // More threads than cores are a note for those who have the time.
        let threads = if quick { "[12]" } else { "[1248]" };
        let own = || format!("^({layers})/[a-z_]+/{threads}$");
        let filter = wanted.filter().map_or_else(own, str::to_owned);
        let seconds = if quick { QUICK } else { FULL };
        let options = format!("--noplot {seconds}");
        let mut arguments: Vec<_> = options.split_whitespace().map(str::to_owned).collect();
        arguments.push(filter);
        arguments
    }
}

/// About half a second and two seconds for each figure: medians, since a machine has other work.
const QUICK: &str = "--warm-up-time 0.1 --measurement-time 0.3 --sample-size 10 --nresamples 1000";
const FULL: &str = "--warm-up-time 0.5 --measurement-time 1.5 --sample-size 50 --nresamples 1000";
