//! The accept loop.
//!
//! `axum::serve` waits for the head of a request as long as the client likes, and takes as many
//! connections as come: a few hundred clients that send a byte a minute would hold all of its
//! memory. Here a connection that brings no whole request in time is closed, and one whose client
//! takes no answer; there are at most so many connections, and a shutdown lets requests under way
//! finish.

mod connection;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

/// What a server takes on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at a time; more wait in the system's backlog. Default: 1024.
    pub connections: usize,
    /// For the head of a request, counted from the connection's start or the answer before.
    /// Default: 5 s.
    pub head: Duration,
    /// For a client to take a part of what is sent to it; over HTTP/2, which keeps a connection for
    /// requests to come, also for the next of them. Such a connection is closed after once to twice this
    /// time, or [`head`](Self::head) where that is longer; so is one whose answer pauses for as long.
    /// Default: 10 s.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head: Duration::from_secs(5),
            stall: Duration::from_secs(10),
        }
    }
}

/// A server that accepts connections. Dropped, it stops at once.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<()>,
    accepting: JoinHandle<JoinSet<()>>,
}

impl Server {
    /// Serves `app` on `listener`; requests carry their peer as [`PeerAddr`](resilience_core::key::PeerAddr).
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn start(listener: TcpListener, app: Router, limits: Limits) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(());
        let accepting = tokio::spawn(accept(listener, app, limits, stopped));
        Ok(Self {
            address,
            stop,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, lets requests under way finish for `patience`, then closes what is
    /// left. Answers how many connections that were.
    pub async fn shutdown(mut self, patience: Duration) -> usize {
        self.stop.send_replace(());
        let Ok(mut connections) = (&mut self.accepting).await else {
            return 0;
        };
        let all_done = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(patience, all_done).await;
        let left = connections.len();
        connections.shutdown().await;
        left
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts until told to stop; answers the connections that are open then.
async fn accept(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    mut stop: watch::Receiver<()>,
) -> JoinSet<()> {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.expect("nobody closes the semaphore");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            _ = stop.changed() => return connections,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection::serve(stream, peer, app.clone(), limits, stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors, as a rule: they come back as connections end.
                tracing::warn!(%error, "cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether the error is about the connection that was accepted and not about accepting.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
