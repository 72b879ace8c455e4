//! The README's first command, as a newcomer runs it.

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Child,
    time::Duration,
};

use crate::{
    cargo::cargo,
    invocation::{Failure, Invocation},
    steps::Verdict,
    wait,
};

/// From the start until it answers, the first filling of its database included.
const START: Duration = Duration::from_secs(60);

/// From SIGTERM to its end.
const STOP: Duration = Duration::from_secs(30);

/// For one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Builds apart, so that the table tells the build from the run.
pub(crate) fn build() -> Result<Verdict, Failure> {
    cargo("build --release --package ordering").run()?;
    Ok(Verdict::Passed)
}

/// Starts the service, asks it for its health and its menu, and stops it as an init system would.
pub(crate) fn run() -> Result<Verdict, Failure> {
    if !cfg!(unix) {
        return Ok(Verdict::Skipped("there is no SIGTERM here".to_owned()));
    }
    let address = free_address()?;
    let folder = Folder::new()?;
    let child = cargo("run --release --package ordering")
        .environment("ORDERING_LISTEN", address.to_string())
        .environment("ORDERING_DATABASE_URL", folder.database())
        .spawn()?;
    let mut service = Service(child);
    let up = wait::until(START, || match service.0.try_wait() {
        Ok(Some(status)) => Some(Err(format!("ordering ended by itself with {status}"))),
        Ok(None) | Err(_) => get(address, "/health/live").ok().map(Ok),
    });
    match up {
        Some(Ok(_)) => {}
        Some(Err(problem)) => return Err(Failure::new(problem)),
        None => return Err(Failure::new(format!("no answer within {START:?}"))),
    }
    let menu = get(address, "/dishes").map_err(Failure::new)?;
    if !menu.contains("price_cents") {
        return Err(Failure::new(format!("GET /dishes is no menu: {menu}")));
    }
    service.stop()
}

struct Service(Child);

impl Service {
    /// `cargo run` becomes the program that it runs, so that its child is the service itself. The
    /// shell's own `kill` needs no package.
    fn stop(mut self) -> Result<Verdict, Failure> {
        let signal = format!("kill -TERM {}", self.0.id());
        Invocation::new("sh").arguments(["-c", &signal]).run()?;
        match wait::for_exit(&mut self.0, STOP) {
            Some(status) if status.success() => Ok(Verdict::Passed),
            Some(status) => Err(Failure::new(format!(
                "after SIGTERM it ended with {status}"
            ))),
            None => Err(Failure::new(format!("it did not stop within {STOP:?}"))),
        }
    }
}

/// No service outlives the run that started it.
impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder for the service's database, gone with the run.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = env::temp_dir().join(format!("ordering-smoke-{}", std::process::id()));
        fs::create_dir_all(&path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }

    fn database(&self) -> String {
        format!("sqlite://{}", self.0.join("ordering.db").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn free_address() -> Result<SocketAddr, Failure> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Failure::new(format!("no free port: {error}")))
}

/// The answer to a GET, if its status is 200.
fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let answer = exchange(address, path).map_err(|error| format!("GET {path}: {error}"))?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(answer);
    }
    let status = answer.lines().next().unwrap_or("no answer");
    Err(format!("GET {path}: {status}"))
}

fn exchange(address: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
