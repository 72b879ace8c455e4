use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use tokio::{task::JoinHandle, time::sleep};

use super::{
    Policy,
    state::{Decision, State},
};
use crate::{
    Environment, Error, Event, InvalidPolicy,
    catch_panic::{CatchPanic, Place, escape},
};

/// Runs `task` in the background for ever, in the default [`Environment`]; see the
/// [module](super).
///
/// `task` makes one run after the other.
///
/// # Errors
///
/// A name that cannot stand in a header, or a setting that would make it spin.
///
/// # Panics
///
/// Outside of a Tokio runtime, as [`tokio::spawn`] does.
pub fn supervise<F, Fut, E>(policy: Policy, task: F) -> Result<Supervised, InvalidPolicy>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
{
    supervise_in(policy, &Environment::default(), task)
}

/// Runs `task` in the background for ever, in `environment`.
///
/// # Errors
///
/// As [`supervise`].
///
/// # Panics
///
/// As [`supervise`].
pub fn supervise_in<F, Fut, E>(
    policy: Policy,
    environment: &Environment,
    task: F,
) -> Result<Supervised, InvalidPolicy>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + Send + 'static,
{
    policy.check()?;
    let restarts = Arc::new(AtomicU32::new(0));
    let supervisor = Supervisor {
        policy,
        environment: environment.clone(),
        panics: CatchPanic::new_in(policy.name, environment)?,
        restarts: restarts.clone(),
    };
    Ok(Supervised {
        name: policy.name,
        running: tokio::spawn(supervisor.run(task)),
        restarts,
        ended: None,
    })
}

/// The door to a task that runs in the background. Dropped, the task runs on.
pub struct Supervised {
    name: &'static str,
    running: JoinHandle<()>,
    restarts: Arc<AtomicU32>,
    ended: Option<Ended>,
}

/// Why a task is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// It was stopped, or its runtime was.
    Stopped,
    /// It ended more often than its policy allows.
    GaveUp,
}

impl Supervised {
    /// Stops the task: its future is dropped at its next await, and no other follows.
    pub fn stop(&self) {
        self.running.abort();
    }

    /// Waits until the task is down.
    ///
    /// # Cancellation
    ///
    /// Dropped, it has done nothing; ask again.
    pub async fn ended(&mut self) -> Ended {
        if let Some(ended) = self.ended {
            return ended;
        }
        let ended = match (&mut self.running).await {
            Ok(()) => Ended::GaveUp,
            Err(_) => Ended::Stopped,
        };
        *self.ended.insert(ended)
    }

    /// Whether the task is up, or about to be.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.running.is_finished()
    }

    /// How often it was started again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts.load(Relaxed)
    }
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised")
            .field("name", &self.name)
            .field("is_running", &self.is_running())
            .field("restarts", &self.restarts())
            .finish_non_exhaustive()
    }
}

struct Supervisor {
    policy: Policy,
    environment: Environment,
    panics: CatchPanic,
    restarts: Arc<AtomicU32>,
}

impl Supervisor {
    async fn run<F, Fut, E>(self, mut task: F)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: fmt::Display,
    {
        let name = self.policy.name;
        let mut state = State::default();
        loop {
            let started = self.environment.now();
            let cause = self.run_once(&mut task).await;
            let ran = self.environment.now().saturating_since(started);
            match state.ended(&self.policy, ran, self.environment.draw()) {
                Decision::Restart { restarts, delay } => {
                    self.restarts.store(restarts, Relaxed);
                    self.environment.emit(&Event::Restarting {
                        task: name,
                        cause: &cause,
                        restarts,
                        delay,
                    });
                    sleep(delay).await;
                }
                Decision::GiveUp { restarts } => {
                    self.environment.emit(&Event::GaveUp {
                        task: name,
                        cause: &cause,
                        restarts,
                    });
                    return;
                }
            }
        }
    }

    /// Runs the task to its end and says what that was.
    async fn run_once<F, Fut, E>(&self, task: &mut F) -> String
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: fmt::Display,
    {
        match self.panics.call(task).await {
            Ok(()) => "it returned".to_owned(),
            Err(Error::Rejected(_)) => "it panicked".to_owned(),
            Err(Error::Inner(error)) => {
                // To show an error, and to drop it, is foreign code as well.
                let show = move || escape(&error.to_string());
                let shown = self.panics.catch(Place::Future, show);
                shown.unwrap_or_else(|_| "an error that cannot be shown".to_owned())
            }
        }
    }
}
