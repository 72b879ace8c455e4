//! Starts real `redis-server` processes, each for one test.

mod history;
mod proxy;

use std::{
    io::ErrorKind,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use resilience_redis::{
    RedisStore, Settings,
    rate_limit::{Policy, Quota, RateLimiter},
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

pub(crate) use self::{
    history::{History, Sequential},
    proxy::Proxy,
};

/// A server on a free port of the loopback, without persistence, killed when dropped.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// `arguments` come last, as on the command line.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        for _ in 0..PORTS_TO_TRY {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let port = free_port();
            let mut server = Self {
                child: spawn(port, &arguments, &directory),
                port,
                arguments: arguments.clone(),
                directory,
            };
            // Else somebody took the port between our look and the server's bind.
            if server.is_ready().await {
                return server;
            }
        }
        panic!("redis-server did not come up on any of {PORTS_TO_TRY} free ports");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A store with time enough for a loaded machine; only tests of deadlines use less.
    pub(crate) async fn store(&self) -> RedisStore {
        RedisStore::connect(&self.url(), patient())
            .await
            .expect("the server is up")
    }

    pub(crate) async fn limiter(&self, limit: u64, per: Duration) -> RateLimiter {
        let policy = Policy::new("test", Quota::new(limit, per));
        self.store()
            .await
            .rate_limiter(&policy)
            .expect("a valid policy")
    }

    /// A connection past the library, to look behind its back.
    pub(crate) async fn raw(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a valid URL");
        client
            .get_multiplexed_async_connection()
            .await
            .expect("the server is up")
    }

    /// The URL of a new user who may do what `rules` say, on the library's keys alone.
    pub(crate) async fn user(&self, rules: &str) -> String {
        let mut user = redis::cmd("ACL");
        user.arg(&["SETUSER", "user", "on", ">secret", "~resilience:*"]);
        user.arg(rules.split_whitespace().collect::<Vec<_>>());
        let made: String = user
            .query_async(&mut self.raw().await)
            .await
            .expect("a user");
        assert_eq!(made, "OK");
        format!("redis://user:secret@127.0.0.1:{}", self.port)
    }

    /// Kills the server and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the server again, empty, on the same port.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(self.port, &self.arguments, &self.directory);
        assert!(self.is_ready().await, "the port is taken");
    }

    /// Stops the process where it stands: its sockets stay open and nobody answers.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status();
        assert!(status.expect("a shell").success());
    }

    /// Waits until this very process answers on the port; `false` where it ended instead.
    async fn is_ready(&mut self) -> bool {
        let ours = format!("process_id:{}\r\n", self.child.id());
        let client = redis::Client::open(self.url()).expect("a valid URL");
        let poll = async {
            while self.child.try_wait().expect("our own child").is_none() {
                if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                    let info = redis::cmd("INFO").arg("server").to_owned();
                    match info.query_async::<String>(&mut connection).await {
                        Ok(info) => return info.contains(&ours),
                        // A server with a password is up as well, and nobody else's has ours.
                        Err(error) if error.code() == Some("NOAUTH") => return true,
                        Err(_) => {}
                    }
                }
                sleep(POLL).await;
            }
            false
        };
        timeout(PATIENCE, poll).await.unwrap_or(false)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn patient() -> Settings {
    Settings::new()
        .decision_timeout(PATIENCE)
        .connect_timeout(PATIENCE)
}

/// Asks again until the answer is `Some`.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(POLL).await;
        }
    };
    timeout(PATIENCE, asking).await.expect("it never happened")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback interface");
    listener.local_addr().expect("a bound socket").port()
}

fn spawn(port: u16, arguments: &[String], directory: &TempDir) -> Child {
    let port = port.to_string();
    let spawned = Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .args(arguments)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match spawned {
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "these tests need `redis-server` on the PATH (Debian: apt-get install redis-server)"
        ),
        spawned => spawned.expect("redis-server starts"),
    }
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);
const PORTS_TO_TRY: usize = 10;
