//! The ordering service as a process of its own.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Child,
    time::Duration,
};

use super::client::Connection;
use crate::{
    invocation::{Failure, Invocation},
    wait,
};

/// From the start until it answers, the first filling of its database included.
const START: Duration = Duration::from_secs(60);

/// From SIGTERM to its end.
const STOP: Duration = Duration::from_secs(30);

/// A service on a free port, with a database of its own.
pub(super) struct Service {
    process: Process,
    address: SocketAddr,
    _folder: Folder,
}

impl Service {
    /// Starts it by `command`, and waits until it answers.
    pub(super) fn start(command: Invocation) -> Result<Self, Failure> {
        let address = free_address()?;
        let folder = Folder::new()?;
        let command = command
            .environment("ORDERING_LISTEN", address.to_string())
            .environment("ORDERING_DATABASE_URL", folder.database());
        let mut service = Self {
            process: Process(command.spawn()?),
            address,
            _folder: folder,
        };
        let up = wait::until(START, || match service.process.0.try_wait() {
            Ok(Some(status)) => Some(Err(format!("ordering ended by itself with {status}"))),
            Ok(None) | Err(_) => service.get("/health/live").ok().map(Ok),
        });
        match up {
            Some(Ok(_)) => Ok(service),
            Some(Err(problem)) => Err(Failure::new(problem)),
            None => Err(Failure::new(format!("no answer within {START:?}"))),
        }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The body of the answer to a GET, if its status is 200.
    pub(super) fn get(&self, path: &str) -> Result<String, Failure> {
        let answer = Connection::open(self.address).and_then(|mut connection| {
            connection.ask([path])?;
            connection.answer()
        });
        let answer = answer.map_err(|error| Failure::new(format!("GET {path}: {error}")))?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(Failure::new(format!("GET {path}: {}", answer.status)))
        }
    }

    /// Stops it as an init system would. `cargo run` becomes the program that it runs, so that its
    /// child is the service itself. The shell's own `kill` needs no package.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let child = &mut self.process.0;
        let signal = format!("kill -TERM {}", child.id());
        Invocation::new("sh").arguments(["-c", &signal]).run()?;
        match wait::for_exit(child, STOP) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure::new(format!(
                "after SIGTERM it ended with {status}"
            ))),
            None => Err(Failure::new(format!("it did not stop within {STOP:?}"))),
        }
    }
}

/// No process outlives the run that started it.
struct Process(Child);

impl Drop for Process {
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
