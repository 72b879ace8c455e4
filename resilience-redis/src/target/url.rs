//! The parts of a URL, and what they make of each kind of server.

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use super::{Kind, Target};
use crate::StoreError;

/// What stands behind the `://` of a URL.
pub(super) struct Parts<'a> {
    /// With its `@`, or empty.
    login: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn of(rest: &'a str) -> Result<Self, StoreError> {
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

    pub(super) fn single(&self, scheme: &str) -> Result<Target, StoreError> {
        self.knows(&["protocol"])?;
        if self.hosts.contains(',') {
            return Err(SEVERAL_HOSTS);
        }
        Target::of(Kind::Single, &self.urls(scheme, REDIS_PORT))
    }

    pub(super) fn local_socket(&self) -> Result<Target, StoreError> {
        self.knows(&["protocol", "user", "pass", "db"])?;
        let Self { path, query, .. } = self;
        // The client takes it for a blank there, as forms do, and nowhere else.
        let query = query.replace('+', "%2B");
        Target::of(Kind::Single, &[format!("unix://{path}?{query}")])
    }

    pub(super) fn cluster(&self, scheme: &str) -> Result<Target, StoreError> {
        self.knows(&["protocol"])?;
        let target = Target::of(Kind::Cluster, &self.urls(scheme, REDIS_PORT))?;
        if target.login.db() != 0 {
            return Err(StoreError::InvalidTarget("a cluster has database 0 alone"));
        }
        Ok(target)
    }

    pub(super) fn sentinel(&self, scheme: &str) -> Result<Target, StoreError> {
        self.knows(&["protocol", "service", "sentinel_user", "sentinel_password"])?;
        let service = self.value("service").map(decoded);
        let service = service.filter(|name| !name.is_empty());
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
            service,
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

    pub(super) fn protocol(&self) -> Result<ProtocolVersion, StoreError> {
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
pub(super) fn info(url: &str) -> Result<ConnectionInfo, StoreError> {
    url.into_connection_info().map_err(|_| {
        StoreError::InvalidTarget(
            "the URL must have a host, a port up to 65535 and a whole number as its database",
        )
    })
}

/// What `text` says with each `%XX` in it; what is none stays as it is.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, behind @ ..] = rest {
        let escaped = match behind {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        bytes.push(escaped.map_or(*first, |(high, low)| high << 4 | low));
        rest = escaped.map_or(behind, |_| &behind[2..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

const SEVERAL_HOSTS: StoreError =
    StoreError::InvalidTarget("several hosts need `redis-sentinel://` or `redis-cluster://`");
const FRAGMENT: StoreError =
    StoreError::InvalidTarget("the URL must have no `#`: write it as `%23`");
