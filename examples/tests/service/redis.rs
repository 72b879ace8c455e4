//! A Redis server of a test's own.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{port::Port, reaper};

/// A server on a free port, which forgets everything when it is killed.
pub(crate) struct Redis {
    child: Child,
    port: Port,
    folder: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        // One that somebody else takes meanwhile is seen by `answers`, and another is tried.
        loop {
            let port = Port::free();
            let folder = tempfile::tempdir().unwrap();
            let mut redis = Self {
                child: serve(&port, &folder),
                port,
                folder,
            };
            if redis.answers().await {
                return redis;
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port.number())
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        reaper::forget(&self.child);
    }

    pub(crate) async fn start_again(&mut self) {
        self.child = serve(&self.port, &self.folder);
        assert!(self.answers().await);
    }

    /// Whether this very server is up, and not another on its port.
    async fn answers(&mut self) -> bool {
        let settings = resilience_redis::Settings::new();
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let url = self.url();
            if resilience_redis::RedisStore::connect(url, settings.clone())
                .await
                .is_ok()
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        reaper::forget(&self.child);
    }
}

fn serve(port: &Port, folder: &TempDir) -> Child {
    let child = Command::new("redis-server")
        .args(["--port", &port.number().to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server on the PATH (Debian: apt-get install redis-server)");
    reaper::watch(&child);
    child
}
