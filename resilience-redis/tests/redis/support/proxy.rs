//! A network between a test and its server that breaks as it is told.

use std::{io, net::SocketAddr, time::Duration};

use redis::io::tcp::socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

use super::server::USER;

/// Hands connections on to a server, as well as it is told to.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

/// How the network is.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    requests: Fault,
    replies: Fault,
    /// How many times all connections that stood were lost.
    lost: u64,
    /// How many times all connections that stood were reset.
    reset: u64,
}

/// What becomes of what goes one way.
#[derive(Clone, Copy, Debug, Default)]
enum Fault {
    #[default]
    None,
    Delayed(Duration),
    /// As every other one is.
    SometimesDelayed(Duration),
    Swallowed,
}

impl Proxy {
    pub(crate) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
        let address = listener.local_addr().expect("a bound socket");
        let (weather, seen) = watch::channel(Weather::default());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A server that is away is away for those behind the proxy as well.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                    tokio::spawn(carry(client, server, seen.clone()));
                }
            }
        });
        Self {
            address,
            weather,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{USER}:{USER}@{}", self.address)
    }

    /// Carries nothing more over the connections that stand now, without closing them, as a
    /// firewall does that has forgotten a flow; new ones work.
    pub(crate) fn lose_connections(&self) {
        self.weather.send_modify(|weather| weather.lost += 1);
    }

    /// Resets the connections that stand now; new ones work.
    pub(crate) fn reset_connections(&self) {
        self.weather.send_modify(|weather| weather.reset += 1);
    }

    /// Swallows all replies, though the server does what it is asked.
    pub(crate) fn lose_replies(&self) {
        self.weather
            .send_modify(|weather| weather.replies = Fault::Swallowed);
    }

    /// Swallows everything: connections can be made, and nothing comes over them.
    pub(crate) fn lose_everything(&self) {
        self.weather.send_modify(|weather| {
            weather.requests = Fault::Swallowed;
            weather.replies = Fault::Swallowed;
        });
    }

    /// Holds each reply up by `delay`.
    pub(crate) fn delay_replies(&self, delay: Duration) {
        self.weather
            .send_modify(|weather| weather.replies = Fault::Delayed(delay));
    }

    /// Holds every other request up by `delay`.
    pub(crate) fn delay_every_other_request(&self, delay: Duration) {
        self.weather
            .send_modify(|weather| weather.requests = Fault::SometimesDelayed(delay));
    }

    /// Carries everything again over connections that have lost nothing. Of one that has, nothing
    /// more arrives: what comes over a connection has no gaps.
    pub(crate) fn heal(&self) {
        self.weather.send_modify(|weather| {
            weather.requests = Fault::None;
            weather.replies = Fault::None;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, weather: watch::Receiver<Weather>) {
    let start = *weather.borrow();
    let mut sky = weather.clone();
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            _ = async {
                tokio::join!(
                    pump(from_client, to_server, &weather, |now| now.requests),
                    pump(from_server, to_client, &weather, |now| now.replies),
                )
            } => return,
            now = sky.wait_for(|now| (now.lost, now.reset) != (start.lost, start.reset)) => {
                now.map(|now| *now)
            }
        }
    };
    match end {
        Ok(now) if now.reset != start.reset => {
            for stream in [client, server] {
                SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .expect("an open socket");
            }
        }
        // Both sockets stay open and nobody reads them, until the test is over.
        Ok(_) => std::future::pending().await,
        Err(_) => {}
    }
}

/// Carries what goes one way until it ends.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    weather: &watch::Receiver<Weather>,
    fault: impl Fn(&Weather) -> Fault,
) -> io::Result<()> {
    let mut bytes = [0; 4096];
    let (mut whole, mut late) = (true, false);
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let fault = fault(&weather.borrow());
        match fault {
            Fault::None => {}
            Fault::Delayed(delay) => sleep(delay).await,
            Fault::SometimesDelayed(delay) => {
                late = !late;
                if late {
                    sleep(delay).await;
                }
            }
            Fault::Swallowed => whole = false,
        }
        if whole {
            to.write_all(&bytes[..count]).await?;
        }
    }
}
