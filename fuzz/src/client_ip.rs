//! Whatever a client writes into a forwarding header, the proxy's word decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{HeaderValue, Request, header::HeaderName};
use resilience_core::{
    KeyExtractor,
    key::{ClientIp, PeerAddr},
};

use super::bytes::Bytes;

/// The trusted proxy, and a client that it saw.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: &str = "203.0.113.9";

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let (choice, prefix, hops) = (bytes.u8(), bytes.u8(), bytes.u8());
    let peer = match choice & 1 {
        0 => IpAddr::from(Ipv4Addr::from(bytes.array())),
        _ => IpAddr::from(Ipv6Addr::from(bytes.array())),
    };
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        lines.extend(HeaderValue::from_bytes(bytes.until(b'\n')));
    }
    for field in [Field::XForwardedFor, Field::Forwarded] {
        let extractor = field.choose(ClientIp::new());
        let Ok(extractor) = extractor.ipv6_prefix(prefix) else {
            assert!(prefix == 0 || prefix > 128);
            return;
        };
        strangers_are_not_believed(&extractor, field, peer, &lines);
        let hops = extractor.clone().trust_hops(usize::from(hops));
        assert!(key(&hops, field, peer, &lines).is_some());
        the_proxys_word_decides(&extractor, field, &lines);
    }
}

/// Without trust, and from a peer outside of it, headers change nothing.
fn strangers_are_not_believed(
    extractor: &ClientIp,
    field: Field,
    peer: IpAddr,
    lines: &[HeaderValue],
) {
    let proven = key(extractor, field, peer, &[]);
    assert!(proven.is_some());
    assert_eq!(key(extractor, field, peer, lines), proven);
    let trusting = trusting(extractor);
    let mapped = |v6: Ipv6Addr| v6.to_ipv4_mapped().is_some() || v6.segments()[0] == 0x64;
    let outside = match peer {
        IpAddr::V4(v4) => v4.octets()[0] != 10,
        IpAddr::V6(v6) => !mapped(v6),
    };
    if outside {
        assert_eq!(key(&trusting, field, peer, lines), proven);
    }
}

/// The proxy puts the client's address at the right end: of the last line, or on a line below.
fn the_proxys_word_decides(extractor: &ClientIp, field: Field, lines: &[HeaderValue]) {
    let word = field.element(CLIENT);
    let client = CLIENT.parse().ok();
    let extractors = [trusting(extractor), extractor.clone().trust_hops(1)];
    let mut below = lines.to_vec();
    below.extend(HeaderValue::from_str(&word));
    let mut beside = lines.to_vec();
    if let Some(last) = beside.last_mut() {
        let line = [last.as_bytes(), b", ", word.as_bytes()].concat();
        *last = HeaderValue::from_bytes(&line).expect("both parts are values");
    } else {
        beside.clone_from(&below);
    }
    for extractor in &extractors {
        assert_eq!(key(extractor, field, PROXY, &below), client, "{below:?}");
        assert_eq!(key(extractor, field, PROXY, &beside), client, "{beside:?}");
    }
}

fn trusting(extractor: &ClientIp) -> ClientIp {
    let trusting = extractor.clone().trust_proxies(["10.0.0.0/8"]);
    trusting.expect("it is a network")
}

fn key(extractor: &ClientIp, field: Field, peer: IpAddr, lines: &[HeaderValue]) -> Option<IpAddr> {
    let mut request = Request::new(());
    let peer = PeerAddr(SocketAddr::new(peer, 443));
    request.extensions_mut().insert(peer);
    for line in lines {
        request.headers_mut().append(field.name(), line.clone());
    }
    extractor.key(&request)
}

#[derive(Clone, Copy, Debug)]
enum Field {
    XForwardedFor,
    Forwarded,
}

impl Field {
    fn choose(self, extractor: ClientIp) -> ClientIp {
        match self {
            Self::XForwardedFor => extractor,
            Self::Forwarded => extractor.forwarded(),
        }
    }

    fn name(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        })
    }

    fn element(self, address: &str) -> String {
        match self {
            Self::XForwardedFor => address.to_owned(),
            Self::Forwarded => format!("for={address};proto=https"),
        }
    }
}
