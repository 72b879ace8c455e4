//! The accept loop.
//!
//! `axum::serve` waits for the head of a request as long as the client likes, and takes as many
//! connections as come: a few hundred clients that send a byte a minute would hold all of its
//! memory. Here a connection that brings no whole request in time is closed, there are at most so
//! many connections, and a shutdown lets requests under way finish.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use resilience_core::key::PeerAddr;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tower::ServiceExt;

/// What a server takes on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at a time; more wait in the system's backlog. Default: 1024.
    pub connections: usize,
    /// For the head of a request, counted from the connection's start or the answer before.
    /// Default: 5 s.
    pub head: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head: Duration::from_secs(5),
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
    /// Serves `app` on `listener`; requests carry their peer as [`PeerAddr`].
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
                let connection = serve(stream, peer, app.clone(), limits.head, stop.clone());
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

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    head: Duration,
    mut stop: watch::Receiver<()>,
) {
    // Answers are written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let asked = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let asked = Arc::clone(&asked);
        move |mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(PeerAddr(peer));
            app.clone().oneshot(request)
        }
    });
    let builder = builder(head);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut silent = pin!(async {
        sleep(head).await;
        // hyper's own timer starts once it knows whether HTTP/1 or HTTP/2 is spoken, which a
        // client that sends nothing, or half of the HTTP/2 preface, never tells.
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    });
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error, "connection ended early");
                }
                return;
            }
            () = silent.as_mut() => return,
            _ = stop.changed(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder(head: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_concurrent_streams(STREAMS_PER_CONNECTION);
    builder
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

/// No head of ours is near it; with 1024 connections this is 32 MiB at most.
const HEAD_BYTES: usize = 32 * 1024;

/// A peer that vanished is noticed within this and hyper's 20 s for the answer to a ping.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// One HTTP/2 connection may not take all the places that 1024 HTTP/1 connections share.
const STREAMS_PER_CONNECTION: u32 = 100;
