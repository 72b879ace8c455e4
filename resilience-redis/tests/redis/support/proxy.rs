//! A network between a test and its server that can swallow packets.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Hands connections on to a server.
///
/// Once told so it carries nothing more over those that stand, without closing them, as a
/// firewall does that has forgotten a flow; new connections work.
pub(crate) struct Proxy {
    address: SocketAddr,
    lost: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
        let address = listener.local_addr().expect("a bound socket");
        let (lost, flows) = watch::channel(0);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await;
                tokio::spawn(carry(client, server.expect("server"), flows.clone()));
            }
        });
        Self {
            address,
            lost,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Carries nothing more over the connections that stand now.
    pub(crate) fn lose_connections(&self) {
        self.lost.send_modify(|times| *times += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, mut lost: watch::Receiver<u64>) {
    lost.mark_unchanged();
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = lost.changed() => {}
    }
    // Both sockets stay open and nobody reads them, until the test is over.
    std::future::pending::<()>().await;
}
