//! Which servers a store stands on, and how to get in.

#[cfg(test)]
mod tests;
mod url;

use std::{convert::Infallible, fmt, str::FromStr};

use redis::{
    ClientTlsConfig, ConnectionAddr, ProtocolVersion, RedisConnectionInfo, TlsCertificates,
};

use self::url::{Parts, info};
use crate::{StoreError, connection::Address};

/// Which servers a store stands on, and how to get in; made from a URL that says which kind.
///
/// | servers | URL |
/// | --- | --- |
/// | one | `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]` |
/// | one, by a local socket | `unix:///PATH[?user=USER&pass=PASSWORD&db=DATABASE]` |
/// | Sentinel | `redis-sentinel://[[USER]:PASSWORD@]HOST[:PORT],…[/DATABASE]?service=NAME` |
/// | Cluster | `redis-cluster://[[USER]:PASSWORD@]HOST[:PORT],…` |
///
/// `rediss`, `rediss-sentinel` and `rediss-cluster` are the same over TLS, to servers that prove
/// who they are by the system's root certificates or [`root_certificate`](Self::root_certificate).
/// User and password are those of the servers; where the sentinels ask for some as well, add
/// `&sentinel_user=…&sentinel_password=…`. Of a cluster or of sentinels a few are enough, should
/// one of them be away. Bytes that mean something in a URL are written as `%XX`. A server or a proxy
/// that has no RESP3 needs `?protocol=resp2`, and is then found dead only by a call.
///
/// Neither `Debug` nor an error shows a password.
#[derive(Clone)]
pub struct Target {
    pub(crate) kind: Kind,
    /// The server, or those to begin with: sentinels, or any members of a cluster.
    pub(crate) addresses: Vec<Address>,
    pub(crate) login: RedisConnectionInfo,
    /// How servers prove who they are, and we to them.
    pub(crate) tls: Option<TlsCertificates>,
}

#[derive(Clone)]
pub(crate) enum Kind {
    Single,
    Sentinel {
        service: String,
        login: RedisConnectionInfo,
    },
    Cluster,
}

impl Target {
    /// Understands `url`.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidTarget`], which says what to change and never repeats the URL.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = url.split_once("://").ok_or(NO_SCHEME)?;
        let parts = Parts::of(rest)?;
        let target = match scheme {
            "unix" => parts.local_socket(),
            "redis" => parts.single("redis"),
            "rediss" => parts.single("rediss"),
            "redis-sentinel" => parts.sentinel("redis"),
            "rediss-sentinel" => parts.sentinel("rediss"),
            "redis-cluster" => parts.cluster("redis"),
            "rediss-cluster" => parts.cluster("rediss"),
            _ => Err(NO_SCHEME),
        }?;
        Ok(target.speaking(parts.protocol()?))
    }

    /// Trusts servers by this certificate, or these, in PEM, instead of by the system's.
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        if let Some(tls) = &mut self.tls {
            tls.root_cert = Some(pem.into());
        }
        self
    }

    /// Proves to servers who we are by this certificate and its key, in PEM.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        if let Some(tls) = &mut self.tls {
            tls.client_tls = Some(ClientTlsConfig {
                client_cert: certificate.into(),
                client_key: key.into(),
            });
        }
        self
    }

    /// Whether what is sent to these servers, passwords too, can be read on its way.
    pub(crate) fn is_readable_by_others(&self) -> bool {
        self.tls.is_none() && !self.addresses.iter().all(Address::is_local)
    }

    /// One URL that the client understands for each server; they differ in host and port alone.
    fn of(kind: Kind, urls: &[String]) -> Result<Self, StoreError> {
        let infos: Vec<_> = urls.iter().map(|url| info(url)).collect::<Result<_, _>>()?;
        let (Some(first), Some(addresses)) = (
            infos.first(),
            infos.iter().map(|info| Address::of(info.addr())).collect(),
        ) else {
            return Err(NO_HOST);
        };
        let tls = matches!(first.addr(), ConnectionAddr::TcpTls { .. });
        Ok(Self {
            kind,
            addresses,
            login: first.redis_settings().clone(),
            tls: tls.then_some(TlsCertificates {
                client_tls: None,
                root_cert: None,
            }),
        })
    }

    fn speaking(mut self, protocol: ProtocolVersion) -> Self {
        self.login = self.login.set_protocol(protocol);
        if let Kind::Sentinel { login, .. } = &mut self.kind {
            *login = login.clone().set_protocol(protocol);
        }
        self
    }
}

impl FromStr for Target {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, StoreError> {
        Self::parse(url)
    }
}

impl TryFrom<&str> for Target {
    type Error = StoreError;

    fn try_from(url: &str) -> Result<Self, StoreError> {
        Self::parse(url)
    }
}

impl TryFrom<&String> for Target {
    type Error = StoreError;

    fn try_from(url: &String) -> Result<Self, StoreError> {
        Self::parse(url)
    }
}

impl TryFrom<String> for Target {
    type Error = StoreError;

    fn try_from(url: String) -> Result<Self, StoreError> {
        Self::parse(&url)
    }
}

impl From<Infallible> for StoreError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Single => "single",
            Kind::Sentinel { .. } => "sentinel",
            Kind::Cluster => "cluster",
        };
        f.debug_struct("Target")
            .field("kind", &kind)
            .field("servers", &self.addresses.len())
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

const NO_SCHEME: StoreError = StoreError::InvalidTarget(
    "the URL must begin with `redis://`, `redis-sentinel://`, `redis-cluster://`, one of these \
     with `rediss`, or `unix://`",
);
const NO_HOST: StoreError = StoreError::InvalidTarget("the URL must name a host");
