use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderMap, Request};
use ipnet::IpNet;

use super::{KeyExtractor, address};
use crate::InvalidPolicy;

/// The other end of the connection, which whoever accepted it puts into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Takes the client's address for the key.
///
/// The key is the address of the other end of the connection. Headers count only where that end
/// is a proxy that you named as trusted: then the field is read from its right end, where the
/// nearest proxy wrote, and the first address that is no trusted proxy is the client. What stands
/// further left was written by whoever sent the request and is never believed; where an element
/// cannot be read, the proxy that passed it on is the client.
///
/// IPv6 clients own at least a /64 and count as one by it ([`ipv6_prefix`](Self::ipv6_prefix)); an
/// IPv4 address inside an IPv6 one counts as that IPv4 address.
///
/// ```
/// # fn main() -> Result<(), resilience_core::InvalidPolicy> {
/// use resilience_core::key::ClientIp;
///
/// // axum, served with `into_make_service_with_connect_info::<SocketAddr>()`:
/// # use std::net::SocketAddr;
/// use axum::extract::ConnectInfo;
/// let direct = ClientIp::from_extension(|peer: &ConnectInfo<SocketAddr>| peer.0.ip());
/// // the same behind proxies in a private network:
/// let proxied = direct.trust_proxies(["10.0.0.0/8", "fd00::/8"])?;
/// # let _ = proxied;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClientIp<P = fn(&Extensions) -> Option<IpAddr>> {
    peer: P,
    trust: Trust,
    field: Field,
    ipv6_prefix: u8,
}

/// Which addresses of a forwarding field are proxies.
#[derive(Clone, Debug)]
enum Trust {
    Nobody,
    Networks(Box<[IpNet]>),
    Hops(usize),
}

#[derive(Clone, Copy, Debug)]
enum Field {
    XForwardedFor,
    Forwarded,
}

impl ClientIp {
    /// Reads [`PeerAddr`] and trusts no proxy.
    #[must_use]
    pub fn new() -> Self {
        Self::with_peer(|extensions| {
            let peer = extensions.get::<PeerAddr>()?;
            Some(peer.0.ip())
        })
    }
}

impl Default for ClientIp {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientIp {
    /// Reads the peer's address from an extension of another kind, and trusts no proxy.
    #[must_use]
    pub fn from_extension<T, F>(
        address: F,
    ) -> ClientIp<impl Fn(&Extensions) -> Option<IpAddr> + Clone>
    where
        T: Send + Sync + 'static,
        F: Fn(&T) -> IpAddr + Clone,
    {
        ClientIp::with_peer(move |extensions: &Extensions| extensions.get().map(&address))
    }
}

impl<P> ClientIp<P> {
    const fn with_peer(peer: P) -> Self {
        Self {
            peer,
            trust: Trust::Nobody,
            field: Field::XForwardedFor,
            ipv6_prefix: 64,
        }
    }

    /// Trusts the proxies in these networks, written as `10.0.0.0/8` or as one address.
    ///
    /// # Errors
    ///
    /// An entry that is neither.
    pub fn trust_proxies<'a>(
        mut self,
        networks: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidPolicy> {
        let parse = |text: &str| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            let network = text.parse().or_else(|_| address());
            network.map(address::canonical_network).map_err(|_| {
                InvalidPolicy::new("trust_proxies", "takes networks such as `10.0.0.0/8`")
            })
        };
        let networks = networks.into_iter().map(parse).collect::<Result<_, _>>()?;
        self.trust = Trust::Networks(networks);
        Ok(self)
    }

    /// Trusts this many proxies in a row, whatever their addresses: the client is the element
    /// that the outermost of them wrote, this many from the right. A field with fewer elements
    /// did not come through them all, and the peer is the client; so it is for 0.
    #[must_use]
    pub fn trust_hops(mut self, hops: usize) -> Self {
        self.trust = Trust::Hops(hops);
        self
    }

    /// Reads `Forwarded` (RFC 7239) instead of `X-Forwarded-For`.
    #[must_use]
    pub const fn forwarded(mut self) -> Self {
        self.field = Field::Forwarded;
        self
    }

    /// Sets how many leading bits of an IPv6 address tell one client from another; default 64.
    ///
    /// # Errors
    ///
    /// More than 128, or 0.
    pub fn ipv6_prefix(mut self, bits: u8) -> Result<Self, InvalidPolicy> {
        if !(1..=128).contains(&bits) {
            return Err(InvalidPolicy::new("ipv6_prefix", "must be 1 to 128 bits"));
        }
        self.ipv6_prefix = bits;
        Ok(self)
    }

    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = address::canonical(peer);
        match &self.trust {
            Trust::Nobody => peer,
            Trust::Networks(networks) => {
                let trusted = |address| networks.iter().any(|net| net.contains(&address));
                if trusted(peer) {
                    self.first_untrusted(peer, headers, trusted)
                } else {
                    peer
                }
            }
            Trust::Hops(hops) => hops
                .checked_sub(1)
                .and_then(|index| self.elements(headers).nth(index))
                .flatten()
                .unwrap_or(peer),
        }
    }

    /// The first address from the right that is no trusted proxy; where an element cannot be
    /// read, or all are trusted, the last proxy before.
    fn first_untrusted(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        trusted: impl Fn(IpAddr) -> bool,
    ) -> IpAddr {
        let mut proxy = peer;
        for element in self.elements(headers) {
            match element {
                Some(address) if trusted(address) => proxy = address,
                Some(client) => return client,
                None => return proxy,
            }
        }
        proxy
    }

    /// The elements of all lines of the field from the right; `None` for one that is no address.
    fn elements<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + 'a {
        let field = self.field;
        let lines = headers.get_all(field.name()).into_iter().rev();
        lines
            .flat_map(|line| address::rsplit(line.as_bytes()))
            .filter(|element| !element.trim_ascii().is_empty())
            .map(move |element| field.address(element).map(address::canonical))
    }
}

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    fn address(self, element: &[u8]) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => address::parse(element),
            Self::Forwarded => address::forwarded_for(element),
        }
    }
}

impl<P, B> KeyExtractor<Request<B>> for ClientIp<P>
where
    P: Fn(&Extensions) -> Option<IpAddr>,
{
    type Key = IpAddr;

    fn key(&self, request: &Request<B>) -> Option<IpAddr> {
        let peer = (self.peer)(request.extensions())?;
        let client = self.client(peer, request.headers());
        Some(address::network(client, self.ipv6_prefix))
    }
}
