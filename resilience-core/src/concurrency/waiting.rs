use std::{
    future::Future,
    ops::ControlFlow,
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use pin_project::pin_project;
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

use super::{
    Permit,
    shared::Shared,
    state::{Place, Standing},
};
use crate::{Rejected, engine::Hold};

/// A place in the queue, which ends in a permit or a refusal.
///
/// The place is taken from the start, polled or not. Dropped, it is free again; a permit that was
/// on its way goes to the next in the queue.
///
/// Whether the wait is over is decided by the engine's clock at each poll. Where a Tokio runtime
/// is at hand, its timer sees to it that there is a poll in time; elsewhere the caller must.
///
/// # Panics
///
/// When polled in a Tokio runtime whose timers are not enabled.
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Waiting {
    ticket: Ticket,
    #[pin]
    timer: Option<Sleep>,
}

impl Waiting {
    pub(super) const fn new(shared: Hold<Shared>, place: Place) -> Self {
        Self {
            ticket: Ticket(Some((shared, place))),
            timer: None,
        }
    }
}

impl Future for Waiting {
    type Output = Result<Permit, Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let left = match this.ticket.poll(cx.waker()) {
                ControlFlow::Continue(left) => left,
                ControlFlow::Break(result) => return Poll::Ready(result),
            };
            if this.timer.is_none() {
                // Made late: most waits end before anybody asks twice.
                this.timer.set(timer(left));
            }
            let Some(timer) = this.timer.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            ready!(timer.poll(cx));
            // The timer's clock is not ours: ask again, and wait for what is left.
            this.timer.set(None);
        }
    }
}

fn timer(left: Duration) -> Option<Sleep> {
    Handle::try_current().is_ok().then(|| sleep(left))
}

/// A place that is given up when dropped; none when it is over.
#[derive(Debug)]
struct Ticket(Option<(Hold<Shared>, Place)>);

impl Ticket {
    /// How long to wait, or what came of it.
    fn poll(&mut self, waker: &Waker) -> ControlFlow<Result<Permit, Rejected>, Duration> {
        let (shared, place) = self.0.as_ref().expect("polled after it was ready");
        let result = match shared.poll(*place, waker) {
            Standing::Wait { until } => {
                let now = shared.common.environment.now();
                return ControlFlow::Continue(until.saturating_since(now));
            }
            Standing::Run => {
                shared.common.tally.count_admitted(1);
                Ok(())
            }
            Standing::Refuse(reason) => Err(shared.common.refuse(reason)),
        };
        let (shared, _) = self.0.take().expect("just looked at");
        ControlFlow::Break(result.map(|()| Permit::new(shared)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some((shared, place)) = &self.0 {
            shared.common.tally.abandoned.fetch_add(1, Relaxed);
            shared.abandon(*place);
        }
    }
}
