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
use crate::{Rejected, Timestamp, sync::Arc};

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
    pub(super) const fn new(shared: Arc<Shared>, place: Place) -> Self {
        let place = Some(place);
        Self {
            ticket: Ticket { shared, place },
            timer: None,
        }
    }
}

impl Future for Waiting {
    type Output = Result<Permit, Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let until = match this.ticket.poll(cx.waker()) {
                ControlFlow::Continue(until) => until,
                ControlFlow::Break(result) => return Poll::Ready(result),
            };
            if this.timer.is_none() {
                // Made late: most waits end before anybody asks twice.
                this.timer.set(timer(this.ticket.left(until)));
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

/// A place that is given up when dropped.
#[derive(Debug)]
struct Ticket {
    shared: Arc<Shared>,
    place: Option<Place>,
}

impl Ticket {
    /// Until when to wait, or what came of it.
    fn poll(&mut self, waker: &Waker) -> ControlFlow<Result<Permit, Rejected>, Timestamp> {
        let place = self.place.expect("polled after it was ready");
        let result = match self.shared.poll(place, waker) {
            Standing::Wait { until } => return ControlFlow::Continue(until),
            Standing::Run => Ok(Permit::new(self.shared.clone())),
            Standing::Refuse(reason) => Err(self.shared.common.refuse(reason)),
        };
        self.place = None;
        ControlFlow::Break(result)
    }

    fn left(&self, until: Timestamp) -> Duration {
        until.saturating_since(self.shared.common.environment.now())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let abandoned = &self.shared.common.tally.abandoned;
            abandoned.fetch_add(1, Relaxed);
            self.shared.abandon(place);
        }
    }
}
