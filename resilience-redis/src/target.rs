//! Which servers a store stands on, and how to get in.

use std::{convert::Infallible, fmt, str::FromStr};

use redis::{
    ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, TlsCertificates,
};

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

/// What stands behind the `://` of a URL.
struct Parts<'a> {
    /// With its `@`, or empty.
    login: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, StoreError> {
        // The client would take `#insecure` for leave to trust anybody.
        if rest.contains('#') {
            return Err(FRAGMENT);
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (login, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        Ok(Self {
            login,
            hosts,
            path,
            query,
        })
    }

    fn single(&self, scheme: &str) -> Result<Target, StoreError> {
        self.knows(&["protocol"])?;
        if self.hosts.contains(',') {
            return Err(SEVERAL_HOSTS);
        }
        Target::of(Kind::Single, &self.urls(scheme, REDIS_PORT))
    }

    fn local_socket(&self) -> Result<Target, StoreError> {
        self.knows(&["protocol", "user", "pass", "db"])?;
        let Self { path, query, .. } = self;
        Target::of(Kind::Single, &[format!("unix://{path}?{query}")])
    }

    fn cluster(&self, scheme: &str) -> Result<Target, StoreError> {
        self.knows(&["protocol"])?;
        let target = Target::of(Kind::Cluster, &self.urls(scheme, REDIS_PORT))?;
        if target.login.db() != 0 {
            return Err(StoreError::InvalidTarget("a cluster has database 0 alone"));
        }
        Ok(target)
    }

    fn sentinel(&self, scheme: &str) -> Result<Target, StoreError> {
        self.knows(&["protocol", "service", "sentinel_user", "sentinel_password"])?;
        let service = self.value("service").filter(|name| !name.is_empty());
        let service = service.ok_or(StoreError::InvalidTarget(
            "a URL of sentinels needs `?service=` and the name that they watch a server by",
        ))?;
        let user = self.value("sentinel_user").unwrap_or_default();
        let password = self.value("sentinel_password").unwrap_or_default();
        // They stand in a URL below, where these would end them.
        let ends = |part: &str| part.contains(['/', '@', ':', '[']);
        if ends(user) || ends(password) {
            return Err(StoreError::InvalidTarget(
                "the login of the sentinels must have its special characters written as `%XX`",
            ));
        }
        let login = match (user, password) {
            ("", "") => String::new(),
            (user, password) => format!("{user}:{password}@"),
        };
        let kind = Kind::Sentinel {
            service: service.to_owned(),
            login: info(&format!("redis://{login}sentinel"))?
                .redis_settings()
                .clone(),
        };
        Target::of(kind, &self.urls(scheme, SENTINEL_PORT))
    }

    fn urls(&self, scheme: &str, port: u16) -> Vec<String> {
        let Self { login, path, .. } = self;
        let with_port = |host: &str| {
            // The colons of an IPv6 address stand in brackets.
            let name_end = host.rfind(']').unwrap_or(0);
            if host[name_end..].contains(':') {
                host.to_owned()
            } else {
                format!("{host}:{port}")
            }
        };
        let url = |host: &str| format!("{scheme}://{login}{}{path}", with_port(host));
        self.hosts.split(',').map(url).collect()
    }

    fn protocol(&self) -> Result<ProtocolVersion, StoreError> {
        match self.value("protocol") {
            // Over RESP3 the client says at once that a connection is lost.
            None | Some("3" | "resp3") => Ok(ProtocolVersion::RESP3),
            Some("2" | "resp2") => Ok(ProtocolVersion::RESP2),
            Some(_) => Err(StoreError::InvalidTarget(
                "the protocol must be `resp2` or `resp3`",
            )),
        }
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        let value = |pair: &'a str| pair.strip_prefix(key)?.strip_prefix('=');
        self.query.split('&').find_map(value)
    }

    fn knows(&self, keys: &[&str]) -> Result<(), StoreError> {
        let mut pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let known = |pair: &str| {
            pair.split_once('=')
                .is_some_and(|(key, _)| keys.contains(&key))
        };
        if pairs.all(known) {
            Ok(())
        } else {
            Err(StoreError::InvalidTarget(
                "behind the `?` of the URL stands a setting that this kind of server has not",
            ))
        }
    }
}

/// What the client makes of a URL with one host.
fn info(url: &str) -> Result<ConnectionInfo, StoreError> {
    url.into_connection_info().map_err(|_| {
        StoreError::InvalidTarget(
            "the URL must have a host, a port up to 65535 and a whole number as its database",
        )
    })
}

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

const NO_SCHEME: StoreError = StoreError::InvalidTarget(
    "the URL must begin with `redis://`, `redis-sentinel://`, `redis-cluster://`, one of these \
     with `rediss`, or `unix://`",
);
const SEVERAL_HOSTS: StoreError =
    StoreError::InvalidTarget("several hosts need `redis-sentinel://` or `redis-cluster://`");
const NO_HOST: StoreError = StoreError::InvalidTarget("the URL must name a host");
const FRAGMENT: StoreError =
    StoreError::InvalidTarget("the URL must have no `#`: write it as `%23`");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_which_servers() {
        let one = Target::parse("redis://me:p%40ss@db.example/3").expect("valid");
        assert!(matches!(one.kind, Kind::Single) && one.tls.is_none());
        assert_eq!(one.addresses, [Address::tcp("db.example", 6379)]);
        assert_eq!(
            (one.login.username(), one.login.password()),
            (Some("me"), Some("p@ss"))
        );
        assert_eq!(one.login.db(), 3);
        assert!(one.is_readable_by_others());

        let cluster = Target::parse("rediss-cluster://:p@[::1],[::2]:7001,c").expect("valid");
        assert!(matches!(cluster.kind, Kind::Cluster) && cluster.tls.is_some());
        assert_eq!(
            cluster.addresses,
            [
                Address::tcp("::1", 6379),
                Address::tcp("::2", 7001),
                Address::tcp("c", 6379)
            ]
        );
        assert_eq!(cluster.login.password(), Some("p"));

        let url = "redis-sentinel://u:p@a,b:1/2?service=dishes&sentinel_password=s%2F";
        let sentinel = Target::parse(url).expect("valid");
        assert_eq!(
            sentinel.addresses,
            [Address::tcp("a", 26379), Address::tcp("b", 1)]
        );
        assert_eq!(
            (sentinel.login.db(), sentinel.login.password()),
            (2, Some("p"))
        );
        assert!(matches!(&sentinel.kind, Kind::Sentinel { service, login }
            if service == "dishes" && login.password() == Some("s/") && login.db() == 0));

        let local = Target::parse("unix:///run/redis.sock?db=1&pass=p").expect("valid");
        assert_eq!(local.addresses, [Address::Unix("/run/redis.sock".into())]);
        assert_eq!((local.login.db(), local.login.password()), (1, Some("p")));
        assert!(!local.is_readable_by_others());
    }

    #[test]
    fn a_url_that_cannot_work_is_a_typed_error_without_the_url() {
        for url in [
            "",
            "PLANTED",
            "http://PLANTED",
            "redis://",
            "redis://:PLANTED@",
            "redis://:PLANTED@host:port",
            "redis://host/PLANTED",
            "rediss://:PLANTED@host/#insecure",
            "rediss-cluster://:PLANTED@host/#insecure",
            "redis-cluster://host/1?x=PLANTED",
            "redis-cluster://a,,PLANTED",
            "redis://a,PLANTED",
            "redis://a?PLANTED=1",
            "redis://a?protocol=PLANTED",
            "rediss+unix:///PLANTED",
            "unix://?PLANTED",
            "redis-sentinel://PLANTED",
            "redis-sentinel://host?service=",
            "redis-sentinel://host?service=a&PLANTED=b",
            "redis-sentinel://host?service=a&sentinel_password=PLANTED@evil",
            "redis-sentinel://host/PLANTED?service=a",
            "redisx://PLANTED",
            "rediss-x://PLANTED",
        ] {
            let error = Target::parse(url).expect_err(url);
            assert!(
                matches!(error, StoreError::InvalidTarget(_)),
                "{url}: {error:?}"
            );
            assert!(!format!("{error} {error:?}").contains("PLANTED"), "{url}");
        }
    }

    #[test]
    fn whatever_stands_in_a_url_it_is_understood_or_refused() {
        let pieces = [
            "redis",
            "rediss",
            "unix",
            "-sentinel",
            "-cluster",
            "://",
            ":",
            "@",
            "/",
            "?",
            "#",
            "%",
            "%2",
            "%00",
            ",",
            "[",
            "]",
            "::1",
            "host",
            "é",
            "\0",
            " ",
            "6379",
            "65536",
            "-1",
            "service=",
            "&",
            "sentinel_password=",
            "protocol=",
            "resp2",
            "db=",
            "=",
            "",
        ];
        let mut random = fastrand::Rng::with_seed(7);
        let mut understood = 0;
        for _ in 0..50_000 {
            let mut url = String::from(pieces[random.usize(..3)]);
            for _ in 0..random.usize(..12) {
                url.push_str(pieces[random.usize(..pieces.len())]);
            }
            match Target::parse(&url) {
                Ok(target) => {
                    assert!(!target.addresses.is_empty(), "{url}");
                    understood += 1;
                }
                Err(error) => assert!(matches!(error, StoreError::InvalidTarget(_)), "{url}"),
            }
        }
        assert!(understood > 50, "{understood}");
    }
}
