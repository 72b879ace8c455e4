//! Ends the processes of tests that are killed themselves, and run no `drop`.

use std::{
    io::Write as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

/// Has `child` killed when this process is gone.
pub(crate) fn watch(child: &Child) {
    tell('+', child);
}

/// `child` is gone.
pub(crate) fn forget(child: &Child) {
    tell('-', child);
}

/// The reaper reads who lives and who is gone, and kills the rest when nobody can write any more.
fn tell(sign: char, child: &Child) {
    static REAPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| {
        let reaper = Command::new("sh")
            .args(["-c", REAP])
            .stdin(Stdio::piped())
            .spawn();
        Mutex::new(reaper.expect("a shell").stdin.take().expect("its input"))
    });
    let mut reaper = reaper.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(reaper, "{sign} {}", child.id()).expect("the reaper reads");
}

/// An interrupt from the terminal goes to the reaper as well, and would end it before its work.
/// Who is killed by hand is gone twice, and the list without it would be the list twice. Told to
/// quit, a server ends those that it has started; who is frozen does not hear of it.
const REAP: &str = r#"
trap '' INT QUIT TERM HUP
all=' '
while read -r sign id; do
  case $sign in
    +) all="$all$id " ;;
    -) case $all in *" $id "*) all="${all%% $id *} ${all#* $id }" ;; esac ;;
  esac
done
for id in $all; do kill -QUIT "$id" 2>/dev/null; done
[ "$all" = ' ' ] || sleep 1
for id in $all; do kill -9 "$id" 2>/dev/null; done
"#;
