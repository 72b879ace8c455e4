//! The binary, as it is started and stopped from outside.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
};

use http::StatusCode;
use tempfile::TempDir;

use crate::{
    client::{database_in, eventually, get, one, post},
    reaper,
};

/// The binary, running; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Read while it runs: a service whose log nobody reads stands still once the pipe is full.
    log: Option<JoinHandle<String>>,
}

impl Process {
    fn start(folder: &TempDir) -> Self {
        Self::start_with(folder, &[])
    }

    /// `options` come last, as on the command line.
    pub(crate) fn start_with(folder: &TempDir, options: &[&str]) -> Self {
        let mut command = command("127.0.0.1:0", folder);
        let mut child = command.args(options).spawn().unwrap();
        reaper::watch(&child);
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut lines = String::new();
            stderr.read_to_string(&mut lines).unwrap();
            lines
        });
        let first = BufReader::new(child.stdout.take().unwrap()).lines().next();
        let first = first.unwrap().unwrap();
        let (_, address) = first.split_once("http://").unwrap();
        let address = address.parse().unwrap();
        Self {
            child,
            address,
            log: Some(log),
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        reaper::forget(&self.child);
    }
}

fn command(listen: &str, folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ordering"));
    command
        .args(["--listen", listen, "--database-url", &database_in(folder)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_survives_that_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&folder);
    let address = process.address;
    let hang = serde_json::json!({ "mode": "hang" });
    post(address, "/admin/payment-fault", &[], &hang).await;
    let key = [("idempotency-key", "k")];
    let waiting = tokio::spawn(async move { post(address, "/orders", &key, &one("ada", 1)).await });
    eventually(async || get(address, "/dishes/1").await.json()["stock"] == 49).await;
    drop(process);
    assert!(waiting.await.is_err());

    let process = Process::start(&folder);
    let address = process.address;
    eventually(async || {
        post(address, "/orders", &key, &one("ada", 1)).await.status == StatusCode::CREATED
    })
    .await;
    assert_eq!(get(address, "/dishes/1").await.json()["stock"], 49);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn signals_stop_the_process_cleanly_and_lines_carry_the_request_id() {
    for signal in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start(&folder);
        let id = [("x-request-id", "lunch-7")];
        post(process.address, "/orders", &id, &one("ada", 1)).await;
        let panic = post(process.address, "/admin/panic", &id, &serde_json::json!({})).await;
        assert_eq!(panic.status, StatusCode::INTERNAL_SERVER_ERROR);
        process.signal(signal);
        assert!(process.child.wait().unwrap().success(), "{signal}");
        let lines = process.log.take().unwrap().join().unwrap();
        for line in lines.lines() {
            let messages = line.matches("\"message\":").count();
            assert_eq!(messages, 1, "no field is twice: {line}");
        }
        let line = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .find(|line| line["request_id"] == "lunch-7")
            .unwrap();
        assert_eq!(line["status"], 201, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_one_line_on_stderr_and_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&folder);
    let other = tempfile::tempdir().unwrap();
    let output = command(&process.address.to_string(), &other)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.starts_with("error: cannot listen on 127.0.0.1:"),
        "{stderr}"
    );
}
