//! Processes that end with the test, whatever becomes of it.

use std::process::{Child, Command, Stdio};

use super::reaper;

/// A process of ours, killed when dropped, and also when the tests themselves are killed.
pub(crate) struct Process(Child);

impl Process {
    /// Starts `command`, in silence.
    pub(crate) fn start(command: &mut Command) -> std::io::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        reaper::watch(&child);
        Ok(Self(child))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("our own child").is_some()
    }

    /// Kills it, if it still runs, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
        reaper::forget(&self.0);
    }

    /// Sends the signal of this name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.0.id())])
            .status();
        assert!(status.expect("a shell").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
