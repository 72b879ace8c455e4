//! Where the figures come from: they mean nothing without it.

use std::{env, fs, thread};

use serde_json::{Value, json};

use super::arguments::Length;
use crate::invocation::Invocation;

#[derive(Debug)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    system: String,
    rustc: String,
    commit: String,
    run: &'static str,
}

impl Machine {
    pub(crate) fn here(length: Length) -> Self {
        Self {
            cpu: cpu().unwrap_or_else(|| env::consts::ARCH.to_owned()),
            cores: thread::available_parallelism().map_or(1, usize::from),
            system: said("uname", &["-sr"]),
            rustc: said("rustc", &["--version"]),
            commit: said("git", &["describe", "--always", "--dirty", "--exclude=*"]),
            run: match length {
                Length::Full => "full",
                Length::Quick => "quick",
            },
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "system": self.system,
            "rustc": self.rustc,
            "commit": self.commit,
            "run": self.run,
        })
    }

    /// In a sentence.
    pub(crate) fn text(&self) -> String {
        format!(
            "{} ({} cores), {}, {}, commit {}, {} run",
            self.cpu, self.cores, self.system, self.rustc, self.commit, self.run
        )
    }
}

/// Its name, where the system tells in Linux's way.
fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Invocation::new(program)
        .arguments(arguments.iter().copied())
        .output()
        .unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
