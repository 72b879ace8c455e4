//! How a connection to a server is made.

use std::{error::Error, io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError, TlsCertificates,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::{runtime::Handle, time::timeout};

use crate::{Settings, StoreError, Target};

/// Where one server listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Address {
    Tcp { host: Arc<str>, port: u16 },
    Unix(PathBuf),
}

impl Address {
    pub(crate) fn tcp(host: &str, port: u16) -> Self {
        Self::Tcp {
            host: host.into(),
            port,
        }
    }

    pub(crate) fn of(address: &ConnectionAddr) -> Option<Self> {
        match address {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Self::tcp(host, *port))
            }
            ConnectionAddr::Unix(path) => Some(Self::Unix(path.clone())),
            _ => None,
        }
    }

    /// Whether what is sent there stays on this machine.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => {
                &**host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
            Self::Unix(_) => true,
        }
    }
}

/// Makes connections to any server of one kind: same login, same certificates.
#[derive(Clone)]
pub(super) struct Dialer {
    login: RedisConnectionInfo,
    tls: Option<TlsCertificates>,
    settings: Settings,
    /// That of the store, on which connections live: whoever calls may be on another, which ends or
    /// stands still before.
    runtime: Handle,
}

impl Dialer {
    /// Makes connections that live on the runtime of this call.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub(super) fn new(target: &Target, login: &RedisConnectionInfo, settings: &Settings) -> Self {
        Self {
            login: login.clone(),
            tls: target.tls.clone(),
            settings: settings.clone(),
            runtime: Handle::current(),
        }
    }

    /// A connection for everybody's commands; `on_lost` hears once that it is no more.
    pub(super) async fn share(
        &self,
        address: &Address,
        on_lost: impl Fn() + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, StoreError> {
        // No timers of the client's: every call has one deadline, and it is ours.
        let mut config = plain().set_pipeline_buffer_size(QUEUE);
        if matches!(self.login.protocol(), ProtocolVersion::RESP3) {
            config = config.set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    on_lost();
                }
                Ok::<_, ()>(())
            });
        }
        self.connect(self.info(address)?, &config).await
    }

    /// A connection for one user, who hears what the server says by itself.
    pub(super) async fn dedicate(
        &self,
        address: &Address,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, StoreError> {
        let info = self.info(address)?;
        let redis = info.redis_settings().clone();
        let info = info.set_redis_settings(redis.set_protocol(ProtocolVersion::RESP3));
        let config = plain().set_push_sender(move |push| {
            on_push(push);
            Ok::<_, ()>(())
        });
        self.connect(info, &config).await
    }

    /// A connection for a question or two.
    pub(super) async fn visit(
        &self,
        address: &Address,
    ) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(Some(self.settings.time_to_connect()));
        self.connect(self.info(address)?, &config).await
    }

    /// All that the client needs to know to connect.
    pub(super) fn info(&self, address: &Address) -> Result<ConnectionInfo, StoreError> {
        let redis = self.login.clone();
        let with = |address: ConnectionAddr| {
            let info = address.into_connection_info();
            Ok(info
                .map_err(|error| StoreError::from(&error))?
                .set_redis_settings(redis)
                .set_tcp_settings(tcp_settings(&self.settings)))
        };
        match (address, &self.tls) {
            (Address::Tcp { host, port }, None) => {
                with(ConnectionAddr::Tcp(host.to_string(), *port))
            }
            (Address::Tcp { host, port }, Some(certificates)) => {
                let info = with(ConnectionAddr::TcpTls {
                    host: host.to_string(),
                    port: *port,
                    insecure: false,
                    tls_params: None,
                })?;
                let client = Client::build_with_tls(info, certificates.clone()).map_err(|_| {
                    StoreError::InvalidTarget("a certificate or its key is not in PEM")
                })?;
                Ok(client.get_connection_info().clone())
            }
            (Address::Unix(path), _) => with(ConnectionAddr::Unix(path.clone())),
        }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    async fn connect(
        &self,
        info: ConnectionInfo,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, StoreError> {
        let client = Client::open(info).map_err(|error| StoreError::from(&error))?;
        let connecting = client.get_multiplexed_async_connection_with_config(config);
        match timeout(self.settings.time_to_connect(), connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) if is_distrust(&error) => Err(StoreError::Untrusted),
            Ok(Err(error)) => Err(StoreError::from(&error).as_seen_later()),
            Err(_) => Err(StoreError::Unavailable),
        }
    }
}

/// Chooses who does the arithmetic of TLS, where the process has not done so: with two to choose
/// from the client would panic.
pub(super) fn prepare_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // It fails where another thread was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Without the client's timers.
fn plain() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
}

fn tcp_settings(settings: &Settings) -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(settings.longest_silence());
    #[cfg(not(target_os = "linux"))]
    let _ = settings;
    tcp
}

/// Whether a handshake failed for want of trust, which is no matter of waiting.
fn is_distrust(error: &RedisError) -> bool {
    let source = error.source();
    let cause = source.and_then(|cause| cause.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    let io = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    let inner = io.and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Calls that wait to be written before the next one waits for room.
const QUEUE: usize = 2048;
/// Keeps firewalls from forgetting a connection that nobody uses.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
