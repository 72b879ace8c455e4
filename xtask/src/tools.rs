//! What the tests need besides Rust and a C compiler.

use std::{env, fs, path::PathBuf, time::Duration};

use crate::{
    cargo::cargo,
    invocation::{Failure, Invocation, target_folder},
    steps::Verdict,
};

/// A program, and the Debian package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        program: "redis-server",
        package: "redis-server",
    },
    Tool {
        program: "postgres",
        package: "postgresql",
    },
    #[cfg(target_os = "linux")]
    Tool {
        program: "valgrind",
        package: "valgrind",
    },
];

/// Of the 40 minutes that a run may take on two cores, what may go into building a tool.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Installs what is missing, or says what to install where that is not ours to do.
pub(crate) fn install() -> Result<Verdict, Failure> {
    components()?;
    let missing = || TOOLS.iter().filter(|tool| find(tool.program).is_none());
    let packages: Vec<_> = missing().map(|tool| tool.package).collect();
    if packages.is_empty() {
        return Ok(Verdict::Passed);
    }
    let list = packages.join(" ");
    if find("apt-get").is_none() {
        let problem = format!("install {list} (of any recent version), then run this again");
        return Err(Failure::new(problem));
    }
    let Some(apt_get) = apt_get() else {
        let problem = format!("as root: apt-get install {list}; then run this again");
        return Err(Failure::new(problem));
    };
    apt_get.clone().arguments(["update", "--quiet"]).run()?;
    apt_get
        .arguments(["install", "--quiet", "--yes", "--no-install-recommends"])
        .arguments(packages)
        .run()?;
    match missing().next() {
        None => Ok(Verdict::Passed),
        Some(tool) => Err(Failure::new(format!(
            "{} is installed, yet there is no `{}`",
            tool.package, tool.program
        ))),
    }
}

/// Where `program` is, if it is on the PATH or where Debian has the programs of PostgreSQL.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let file = format!("{program}{}", env::consts::EXE_SUFFIX);
    let path = env::var_os("PATH")?;
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let servers = versions.flatten().map(|version| version.path().join("bin"));
    env::split_paths(&path)
        .chain(servers)
        .map(|folder| folder.join(&file))
        .find(|candidate| candidate.is_file())
}

/// The program of a crate, of just this version, which is built into the target folder where it is
/// not there yet: without optimisation, since it runs for a second or two. Nothing, where that
/// takes too long.
pub(crate) fn built(name: &str, version: &str) -> Result<Option<String>, Failure> {
    let folder = target_folder()
        .join("tools")
        .join(format!("{name}-{version}"));
    let program = folder.join("bin").join(name);
    if !program.is_file() {
        let built = cargo("install --locked --debug --quiet")
            .arguments([name, "--version", version, "--root"])
            .arguments([folder.to_string_lossy()])
            .run_within(BUILD_LIMIT)?;
        if !built {
            return Ok(None);
        }
    }
    Ok(Some(program.to_string_lossy().into_owned()))
}

/// Rust's minimal profile leaves both out.
fn components() -> Result<(), Failure> {
    for (component, probe) in [("clippy", "clippy --version"), ("rustfmt", "fmt --version")] {
        if !cargo(probe).succeeds() {
            Invocation::new("rustup")
                .arguments(["component", "add", component])
                .run()?;
        }
    }
    Ok(())
}

/// `apt-get` with the rights to install, and no questions asked.
fn apt_get() -> Option<Invocation> {
    let quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    let user = Invocation::new("id").arguments(["-u"]).output().ok()?;
    if user.trim_ascii() == b"0" {
        let [env, rest @ ..] = quiet;
        return Some(Invocation::new(env).arguments(rest));
    }
    find("sudo")?;
    Some(Invocation::new("sudo").arguments(quiet))
}
