//! Processes that end with the test, whatever becomes of it.

use std::{
    io::Write as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

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
        tell_reaper('+', child.id());
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
        tell_reaper('-', self.0.id());
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

/// The reaper reads who lives and who is gone, and kills the rest when nobody can write any more:
/// a test that is killed itself runs no `drop`.
fn tell_reaper(sign: char, id: u32) {
    static REAPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| {
        let reaper = Command::new("sh")
            .args(["-c", REAP])
            .stdin(Stdio::piped())
            .spawn();
        Mutex::new(reaper.expect("a shell").stdin.take().expect("its input"))
    });
    let mut reaper = reaper.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(reaper, "{sign} {id}").expect("the reaper reads");
}

/// An interrupt from the terminal goes to the reaper as well, and would end it before its work.
/// Who is killed by hand is gone twice, and the list without it would be the list twice.
const REAP: &str = r#"
trap '' INT TERM HUP
all=' '
while read -r sign id; do
  case $sign in
    +) all="$all$id " ;;
    -) case $all in *" $id "*) all="${all%% $id *} ${all#* $id }" ;; esac ;;
  esac
done
for id in $all; do kill -9 "$id" 2>/dev/null; done
"#;
