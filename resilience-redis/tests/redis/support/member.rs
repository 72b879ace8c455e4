//! Processes of a fleet, each of which does what the test says.

use std::{env, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines, stdin},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// A process of its own; killed when dropped.
pub(crate) struct Member {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Member {
    /// Starts a process that runs nothing but the test `named`, which calls [`obey`]; `role` says
    /// what it is.
    pub(crate) fn start(named: &str, role: &str) -> Self {
        let process = Command::new(env::current_exe().expect("this test"))
            .args([named, "--exact", "--nocapture"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut process = process.expect("a process");
        Self {
            orders: process.stdin.take().expect("piped"),
            answers: BufReader::new(process.stdout.take().expect("piped")).lines(),
            _process: process,
        }
    }

    /// Has the process do `order`, and returns what it answers.
    pub(crate) async fn tell(&mut self, order: &str) -> String {
        let line = format!("{order}\n");
        let told = self.orders.write_all(line.as_bytes()).await;
        told.expect("the process lives");
        loop {
            let line = self.answers.next_line().await.expect("text");
            let line = line.unwrap_or_else(|| panic!("the process ended at `{order}`"));
            if let Some(answer) = line.strip_prefix(ANSWER) {
                return answer.to_owned();
            }
        }
    }

    /// The same, for a number.
    pub(crate) async fn count(&mut self, order: &str) -> u64 {
        self.tell(order).await.parse().expect("a number")
    }
}

/// What this process was started as; `None` in the process of the tests themselves.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Does with `act` what the test says, until it says no more.
pub(crate) async fn obey(mut act: impl AsyncFnMut(&[&str]) -> String) {
    let mut orders = BufReader::new(stdin()).lines();
    while let Some(order) = orders.next_line().await.expect("text") {
        let words: Vec<&str> = order.split(' ').collect();
        println!("{ANSWER}{}", act(&words).await);
    }
}

const ROLE: &str = "RESILIENCE_TEST_MEMBER";
const ANSWER: &str = "answer ";
