//! One connection, from its first byte to its last.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, response::Response};
use hyper::{
    Request,
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use resilience_core::key::PeerAddr;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Sleep, sleep},
};
use tower::ServiceExt;

use super::Limits;

/// Serves `stream` until either side ends it.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    limits: Limits,
    mut stop: watch::Receiver<()>,
) {
    // Answers are written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::default());
    let stream = Stream {
        inner: TokioIo::new(stream),
        activity: activity.clone(),
        patience: limits.stall,
        stall: None,
    };
    let service = service_fn(|request| answer(app.clone(), activity.clone(), peer, request));
    let builder = builder(limits.head);
    let mut connection = pin!(builder.serve_connection(stream, service));
    // hyper's own timer is for HTTP/1, and starts once it knows that this is spoken: a client that
    // sends nothing, or half of the HTTP/2 preface, never tells.
    let mut silent = pin!(activity.silence(limits));
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error, "connection ended early");
                }
                return;
            }
            () = silent.as_mut(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = stop.changed(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            // hyper waits for the rest of a head that has begun: nobody is owed an answer there.
            () = activity.end(), if stopping => return,
        }
    }
}

async fn answer(
    app: Router,
    activity: Arc<Activity>,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let _under_way = UnderWay::begin(activity);
    request.extensions_mut().insert(PeerAddr(peer));
    app.oneshot(request).await
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

/// What goes on at a connection.
#[derive(Debug, Default)]
struct Activity {
    /// Requests that have come.
    asked: AtomicUsize,
    /// Requests without an answer.
    requests: AtomicUsize,
    /// The client has yet to take what is sent to it.
    sending: AtomicBool,
    /// How often it took something.
    taken: AtomicUsize,
}

impl Activity {
    /// Waits until nothing has come of the connection for as long as its limits allow.
    async fn silence(&self, limits: Limits) {
        sleep(limits.head).await;
        while self.asked.load(Ordering::Relaxed) > 0 {
            let before = self.progress();
            sleep(limits.head.max(limits.stall)).await;
            if !self.is_busy() && self.progress() == before {
                return;
            }
        }
    }

    fn progress(&self) -> (usize, usize) {
        let asked = self.asked.load(Ordering::Relaxed);
        (asked, self.taken.load(Ordering::Relaxed))
    }

    fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0 || self.sending.load(Ordering::Relaxed)
    }

    /// Waits until nothing goes on.
    async fn end(&self) {
        loop {
            sleep(LOOK_INTERVAL).await;
            if !self.is_busy() {
                return;
            }
        }
    }
}

/// A request without an answer.
struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn begin(activity: Arc<Activity>) -> Self {
        activity.asked.fetch_add(1, Ordering::Relaxed);
        activity.requests.fetch_add(1, Ordering::Relaxed);
        Self(activity)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that breaks when its peer takes nothing for too long.
struct Stream {
    inner: TokioIo<TcpStream>,
    activity: Arc<Activity>,
    patience: Duration,
    stall: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let sending = result.is_pending();
        self.activity.sending.store(sending, Ordering::Relaxed);
        if !sending {
            self.activity.taken.fetch_add(1, Ordering::Relaxed);
            self.stall = None;
            return result;
        }
        let patience = self.patience;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// No head of ours is near it; with 1024 connections this is 32 MiB at most.
const HEAD_BYTES: usize = 32 * 1024;

/// A peer that vanished is noticed within this and hyper's 20 s for the answer to a ping.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// One HTTP/2 connection may not take all the places that 1024 HTTP/1 connections share.
const STREAMS_PER_CONNECTION: u32 = 100;

/// Between two looks whether a connection may be closed; a head that is on its way arrives in it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
