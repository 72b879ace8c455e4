//! A command that can be run, and shown so that a reader can run it again.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{self, Child, ExitStatus, Output, Stdio},
    time::Duration,
};

use crate::wait;

/// Why a step ended the run.
#[derive(Debug)]
pub(crate) struct Failure {
    problem: String,
    repeat: Option<String>,
}

impl Failure {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            repeat: None,
        }
    }

    fn of(invocation: &Invocation, problem: impl fmt::Display) -> Self {
        Self {
            problem: format!("`{}` {problem}", invocation.program),
            repeat: Some(invocation.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed: {}", self.problem)?;
        if let Some(repeat) = &self.repeat {
            write!(f, "\nto repeat it: {repeat}")?;
        }
        Ok(())
    }
}

/// A command, run at the root of the workspace with nothing on its standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Invocation {
    pub(crate) fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn arguments<A: Into<String>>(
        mut self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub(crate) fn environment(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Runs to the end; anything but success is a failure.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let status = self.spawn()?.wait();
        self.check(status.map_err(|error| Failure::of(self, error))?)
    }

    /// Runs to the end, or kills it once `limit` has passed: `false` says so.
    pub(crate) fn run_within(&self, limit: Duration) -> Result<bool, Failure> {
        let mut child = self.spawn()?;
        let Some(status) = wait::for_exit(&mut child, limit) else {
            // A child that is gone already needs no killing.
            let _ = child.kill();
            let _ = child.wait();
            return Ok(false);
        };
        self.check(status).map(|()| true)
    }

    /// Whether it runs and succeeds; what it prints is dropped.
    pub(crate) fn succeeds(&self) -> bool {
        self.capture().is_ok_and(|output| output.status.success())
    }

    /// What it prints, when it succeeds.
    pub(crate) fn output(&self) -> Result<Vec<u8>, Failure> {
        let output = self.capture()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::of(self, said));
        }
        Ok(output.stdout)
    }

    pub(crate) fn spawn(&self) -> Result<Child, Failure> {
        println!("$ {self}");
        self.command()
            .spawn()
            .map_err(|error| Failure::of(self, format_args!("did not start: {error}")))
    }

    fn capture(&self) -> Result<Output, Failure> {
        self.command()
            .output()
            .map_err(|error| Failure::of(self, format_args!("did not start: {error}")))
    }

    fn check(&self, status: ExitStatus) -> Result<(), Failure> {
        if status.success() {
            return Ok(());
        }
        Err(Failure::of(self, format_args!("ended with {status}")))
    }

    fn command(&self) -> process::Command {
        let mut command = process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(root())
            .stdin(Stdio::null());
        command
    }
}

/// As a shell takes it.
impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(&quoted(&self.program))?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(argument))?;
        }
        Ok(())
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// Where builds go.
pub(crate) fn target_folder() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_pasted_into_a_shell() {
        let shown = Invocation::new("cargo")
            .arguments(["doc", "--all-features", "it's"])
            .environment("RUSTDOCFLAGS", "-D warnings")
            .to_string();
        assert_eq!(
            shown,
            r"RUSTDOCFLAGS='-D warnings' cargo doc --all-features 'it'\''s'"
        );
    }
}
