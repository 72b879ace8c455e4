//! What is said to the log.

use std::{
    fmt::Debug,
    sync::{Arc, LazyLock, Mutex},
};

use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::{self, DefaultGuard},
};

/// One more subscriber, who wants nothing. With a single one in the process `tracing` asks the
/// thread that says a line first whether anybody there wants it, and keeps the answer for all
/// threads; where that is another test's, the line would be lost to whoever listens.
static NOBODY: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Log::of(|_| false)));

/// Keeps what is said to the log, each line as its fields.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    keeps: fn(&Metadata<'_>) -> bool,
}

impl Log {
    /// Of those lines that `keeps` says, what this thread says until the guard goes.
    pub(crate) fn listen(keeps: fn(&Metadata<'_>) -> bool) -> (Self, DefaultGuard) {
        LazyLock::force(&NOBODY);
        let log = Self::of(keeps);
        (log.clone(), subscriber::set_default(log))
    }

    fn of(keeps: fn(&Metadata<'_>) -> bool) -> Self {
        let lines = Arc::default();
        Self { lines, keeps }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panicked").clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        (self.keeps)(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.lines.lock().expect("nobody panicked").push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

#[test]
fn a_line_is_heard_that_another_thread_said_before() {
    let say = || tracing::warn!("heard");
    let (log, _listening) = Log::listen(|it| it.target().ends_with("support::log"));
    std::thread::spawn(say).join().expect("it only speaks");
    assert_eq!(log.lines(), [""; 0]);
    say();
    assert_eq!(log.lines(), ["message=heard "]);
}
