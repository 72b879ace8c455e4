//! One `redis-server`.

use std::{env, fs, io::ErrorKind, process::Command, time::Duration};

use redis::{FromRedisValue, aio::MultiplexedConnection};
use resilience_redis::{
    RedisStore,
    rate_limit::{Policy, Quota, RateLimiter},
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{Certificates, PATIENCE, POLL, Port, Process, eventually, patient};

/// A server on a free port of the loopback, without persistence, killed when dropped.
pub(crate) struct RedisServer {
    process: Process,
    port: Port,
    arguments: Vec<String>,
    directory: TempDir,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// `arguments` come last, as on the command line.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let user = format!("user {USER} on >{USER} {}", documented_permissions());
        Self::start_as(&format!("save \"\"\nappendonly no\n{user}\n"), arguments).await
    }

    /// `configuration` is what stands in the file that the server reads, and may write.
    pub(crate) async fn start_as(configuration: &str, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        for _ in 0..PORTS_TO_TRY {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let port = Port::free();
            let file = directory.path().join(CONFIGURATION);
            let text = format!("port {}\nbind 127.0.0.1\n{configuration}", port.number());
            fs::write(file, text).expect("our own directory");
            let mut server = Self {
                process: spawn(&arguments, &directory),
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

    /// A server that speaks TLS on `port` by `certificates`, or `None` where the binary that the
    /// environment names cannot.
    pub(crate) async fn start_with_tls(
        certificates: &Certificates,
        port: &Port,
        arguments: &[&str],
    ) -> Option<Self> {
        if env::var_os(PROGRAM).is_some() && !knows_tls() {
            eprintln!("not tested: this server was built without TLS");
            return None;
        }
        let port = port.number().to_string();
        let mut options = certificates.options();
        options.extend(["--tls-port", &port]);
        options.extend(arguments);
        Some(Self::start_with(&options).await)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// The way in for the library, as a user who may do what its documentation asks for and
    /// nothing else: whatever passes the tests passes them under these permissions.
    pub(crate) fn url(&self) -> String {
        format!("redis://{USER}:{USER}@127.0.0.1:{}", self.port())
    }

    /// The way in for a test itself, which may do everything.
    pub(crate) fn open_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// A store with time enough for a loaded machine; only tests of deadlines use less.
    pub(crate) async fn store(&self) -> RedisStore {
        // Nor is its silence taken for the end of a connection.
        let settings = patient().dead_after(PATIENCE);
        let store = RedisStore::connect(&self.url(), settings).await;
        store.expect("the server is up")
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
        let client = redis::Client::open(self.open_url()).expect("a valid URL");
        // Not for long, but where it changes its role the server resets whoever connects.
        eventually(async || client.get_multiplexed_async_connection().await.ok()).await
    }

    /// What the server answers to `command`, whose words stand between spaces.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = redis::Cmd::new();
        words.arg(command.split_whitespace().collect::<Vec<_>>());
        eventually(
            async || match words.query_async(&mut self.raw().await).await {
                // As above.
                Err(error) if error.is_io_error() => None,
                answer => Some(answer.unwrap_or_else(|error| panic!("{command}: {error}"))),
            },
        )
        .await
    }

    /// Whether it is Redis 7 or newer, or a Valkey: since then it says how many messages of a stream a
    /// group was not given yet.
    pub(crate) async fn knows_lag(&self) -> bool {
        let info: String = self.ask("INFO server").await;
        let version = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"));
        let major = version.and_then(|version| version.split('.').next());
        let major: u64 = major.expect("a version").parse().expect("a number");
        major >= 7
    }

    /// Whether it takes itself for a primary.
    pub(crate) async fn is_primary(&self) -> bool {
        let role: Vec<redis::Value> = self.ask("ROLE").await;
        let role: String = redis::from_redis_value(role[0].clone()).expect("a word");
        role == "master"
    }

    /// Waits until this one has what `primary` has now.
    pub(crate) async fn catches_up_with(&self, primary: &Self) {
        let offset = async |server: &Self, name: &str| {
            let info: String = server.ask("INFO replication").await;
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.map(|offset| offset.parse::<u64>().expect("a number"))
        };
        let written = offset(primary, "master_repl_offset:").await;
        eventually(async || {
            let read = offset(self, "slave_repl_offset:").await;
            (read >= written).then_some(())
        })
        .await;
    }

    /// How many connections were ever made to it, this call's included.
    pub(crate) async fn connections(&self) -> u64 {
        let info: String = self.ask("INFO stats").await;
        let made = info
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        made.expect("a figure").parse().expect("a number")
    }

    /// Has the server do `command`.
    pub(crate) async fn tell(&self, command: &str) {
        let _: redis::Value = self.ask(command).await;
    }

    /// The URL of a new user who may do what `rules` say, on the library's keys alone.
    pub(crate) async fn user(&self, rules: &str) -> String {
        self.tell(&format!("ACL SETUSER user on >secret ~res:* {rules}"))
            .await;
        format!("redis://user:secret@127.0.0.1:{}", self.port())
    }

    /// Kills the server and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the server again, empty, on the same port.
    pub(crate) async fn start_again(&mut self) {
        self.process = spawn(&self.arguments, &self.directory);
        assert!(self.is_ready().await, "the port is taken");
    }

    /// Stops the process where it stands: its sockets stay open and nobody answers.
    pub(crate) fn freeze(&self) {
        self.process.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// Waits until this very process answers on the port; `false` where it ended instead.
    async fn is_ready(&mut self) -> bool {
        let ours = format!("process_id:{}\r\n", self.process.id());
        let client = redis::Client::open(self.open_url()).expect("a valid URL");
        let poll = async {
            while !self.process.has_ended() {
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

/// The permissions that the README grants, as an ACL has them, with the keys of other prefixes that
/// tests use.
fn documented_permissions() -> String {
    let rules = permissions(include_str!("../../../../README.md"));
    format!("~p:* {}", rules.join(" "))
}

/// What the documentation asks for, for a store of which `part` alone is used.
pub(crate) fn permissions_for(part: &str) -> String {
    let text = include_str!("../../../src/lib.rs");
    let item = |start: &str| {
        let (_, rest) = text.split_once(start).expect("documented");
        let (item, _) = rest.split_once("//! - ").expect("another behind it");
        permissions(item).join(" ")
    };
    format!(
        "{} {}",
        item("//! - For any store"),
        item(&format!("//! - For [`{part}`]"))
    )
}

/// The rules of an ACL in `text`: in its section of permissions, where it has one.
pub(crate) fn permissions(text: &str) -> Vec<&str> {
    let section = text
        .split_once("<!-- permissions")
        .map(|(_, section)| section);
    let section = section.and_then(|section| section.split_once("<!-- /permissions"));
    let text = section.map_or(text, |(section, _)| section);
    text.split(|mark: char| mark.is_whitespace() || mark == '`')
        .filter(|word| word.starts_with(['+', '~', '&']) || *word == "resetchannels")
        .collect()
}

fn program() -> Command {
    Command::new(env::var_os(PROGRAM).unwrap_or_else(|| "redis-server".into()))
}

/// Either way it ends at once: for want of a certificate, or of knowing what that is.
fn knows_tls() -> bool {
    let port = Port::free();
    let output = program()
        .args(["--port", "0", "--tls-port", &port.number().to_string()])
        .output()
        .expect("redis-server starts");
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).contains("tls-cert-file")
}

fn spawn(arguments: &[String], directory: &TempDir) -> Process {
    let mut command = program();
    command
        .arg(CONFIGURATION)
        .args(arguments)
        .current_dir(directory.path());
    match Process::start(&mut command) {
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "these tests need `redis-server` on the PATH (Debian: apt-get install redis-server), \
             or {PROGRAM} to name another binary of a server"
        ),
        process => process.expect("redis-server starts"),
    }
}

/// Names the binary of the server, where it is not the `redis-server` on the PATH.
const PROGRAM: &str = "REDIS_SERVER";
/// The name and the password of the user that the library logs in as.
pub(super) const USER: &str = "library";
const CONFIGURATION: &str = "redis.conf";
const PORTS_TO_TRY: usize = 10;
