//! One timer for one deadline after the other.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project::pin_project;
use tokio::{
    task::yield_now,
    time::{Instant, Sleep, sleep_until},
};

/// Ends what takes too long, again and again.
///
/// Nearly nothing does, and to set a timer for each of them and to take it back costs more than to let
/// it ring now and then for what is over: so the timer is set for one deadline and, when that is
/// reached, for the one that counts by then.
#[pin_project]
#[derive(Debug, Default)]
pub(crate) struct Timer {
    #[pin]
    sleep: Option<Sleep>,
}

impl Timer {
    /// What comes of `request` within `deadline`.
    ///
    /// Where this process is late itself an answer may be there by then that nobody has read yet: all
    /// others have their turn before it counts as missing.
    ///
    /// # Panics
    ///
    /// Before anything is asked, outside of a runtime of Tokio's that has a time driver.
    pub(super) async fn within<T>(
        self: Pin<&mut Self>,
        deadline: Duration,
        mut request: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        let end = now() + deadline;
        let mut sleep = self.project().sleep;
        if sleep.is_none() {
            sleep.set(Some(sleep_until(end)));
        }
        let mut sleep = sleep.as_pin_mut().expect("just set");
        let in_time = poll_fn(|context| {
            if let Poll::Ready(answer) = request.as_mut().poll(context) {
                return Poll::Ready(Some(answer));
            }
            poll_until(sleep.as_mut(), end, context).map(|()| None)
        });
        if let Some(answer) = in_time.await {
            return Some(answer);
        }
        for _ in 0..TURNS {
            yield_now().await;
            let poll = poll_fn(|context| Poll::Ready(request.as_mut().poll(context)));
            if let Poll::Ready(answer) = poll.await {
                return Some(answer);
            }
        }
        None
    }
}

fn poll_until(mut sleep: Pin<&mut Sleep>, end: Instant, context: &mut Context<'_>) -> Poll<()> {
    if sleep.deadline() > end {
        sleep.as_mut().reset(end);
    }
    while sleep.deadline() < end {
        ready!(sleep.as_mut().poll(context));
        sleep.as_mut().reset(end);
    }
    sleep.poll(context)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the clock by which timers go, and none else"
)]
fn now() -> Instant {
    Instant::now()
}

/// One for whoever reads what the server said, and one for whom that wakes.
const TURNS: u32 = 2;

#[cfg(test)]
mod tests {
    use std::{future::pending, pin::pin};

    use tokio::{
        sync::oneshot,
        time::{advance, sleep, timeout},
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn each_deadline_is_kept_whatever_the_ones_before_were() {
        let mut timer = pin!(Timer::default());
        for patience in [10, 10, 3, 50, 1, 1, 20].map(Duration::from_millis) {
            let start = now();
            let never = pin!(pending::<()>());
            assert_eq!(timer.as_mut().within(patience, never).await, None);
            assert_eq!(now() - start, patience);
            // One that is answered in time leaves the timer as it is.
            let soon = pin!(sleep(Duration::from_millis(2)));
            let answer = timer.as_mut().within(DEADLINE, soon).await;
            assert_eq!(answer, Some(()));
            if patience == DEADLINE {
                advance(DEADLINE * 10).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_there_is_heard_by_whoever_comes_too_late_himself() {
        let (tell, told) = oneshot::channel();
        tokio::spawn(async {
            sleep(DEADLINE).await;
            // Others have their turn.
            yield_now().await;
            let _ = tell.send(());
        });
        let timer = pin!(Timer::default());
        assert_eq!(timer.within(DEADLINE, pin!(told)).await, Some(Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_heard_it_ends_by_the_deadline() {
        let (timer, never) = (pin!(Timer::default()), pin!(pending::<()>()));
        let ends = timeout(DEADLINE * 11 / 10, timer.within(DEADLINE, never));
        assert_eq!(ends.await, Ok(None));
    }
}
