use std::{future::Future, net::SocketAddr, sync::mpsc, thread};

use allocation_counter::{measure, opt_out};
use tokio::{
    runtime::Builder,
    sync::{mpsc as requests, oneshot},
};

use super::{Problem, client::SOME};

/// A server with a thread of its own, for as long as the program runs.
pub(crate) struct Serving {
    address: SocketAddr,
    counts: requests::UnboundedSender<Count>,
}

/// Asks for the allocations until it is told to stop.
struct Count {
    stop: oneshot::Receiver<()>,
    allocations: mpsc::Sender<u64>,
}

impl Serving {
    /// Serves by `start`, which answers the address and whatever must not be dropped meanwhile.
    pub(crate) fn start<F, T>(start: F) -> Result<Self, Problem>
    where
        F: Future<Output = Result<(SocketAddr, T), Problem>> + Send + 'static,
    {
        let (tell, told) = mpsc::channel();
        let (counts, mut asked) = requests::unbounded_channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            let (address, _server) = match runtime.block_on(start) {
                Ok((address, server)) => (Ok(address), Some(server)),
                Err(problem) => (Err(problem), None),
            };
            let _ = tell.send(address);
            loop {
                let mut next: Option<Count> = None;
                // Whoever allocates must not pay for being counted.
                opt_out(|| next = runtime.block_on(asked.recv()));
                let Some(Count { stop, allocations }) = next else {
                    return;
                };
                let serve = || drop(runtime.block_on(stop));
                let _ = allocations.send(measure(serve).count_total);
            }
        });
        let address = told.recv()??;
        Ok(Self { address, counts })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Of each of [`SOME`] requests, which `send` sends.
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(crate) fn allocations(
        &self,
        send: impl FnOnce() -> Result<(), Problem>,
    ) -> Result<f64, Problem> {
        let (stop, stopped) = oneshot::channel();
        let (allocations, counted) = mpsc::channel();
        let count = Count {
            stop: stopped,
            allocations,
        };
        self.counts.send(count).map_err(|_| "the server is gone")?;
        send()?;
        drop(stop);
        Ok(counted.recv()? as f64 / f64::from(SOME))
    }
}
