//! Addresses as proxies write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

/// Reads one address: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`. `unknown` and obfuscated names (RFC 7239, 6.2 and 6.3) are none.
pub(super) fn parse(bytes: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(bytes).ok()?.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
        .or_else(|| bracketed().map(IpAddr::V6))
}

/// The one form of `address`: an IPv4 address that travels inside an IPv6 one, mapped
/// (`::ffff:0:0/96`) or translated (`64:ff9b::/96`, RFC 6052), is that IPv4 address. Without
/// this, all of them would be neighbours in one prefix.
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => address,
    }
}

/// Of a network of IPv4 addresses that are mapped into IPv6, the one that they are in as [`canonical`] ones.
pub(super) fn canonical_network(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V4(_) => None,
        IpNet::V6(v6) => v6
            .addr()
            .to_ipv4_mapped()
            .zip(v6.prefix_len().checked_sub(96)),
    };
    let canonical = mapped.and_then(|(v4, prefix)| Ipv4Net::new(v4, prefix).ok());
    canonical.map_or(network, IpNet::V4)
}

/// The network of an IPv6 address: its first `prefix` bits. IPv4 addresses stay whole.
pub(super) fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128_u32.saturating_sub(u32::from(prefix)))
                .unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// The `for` of one element of a `Forwarded` field (RFC 7239, 4), unquoted.
pub(super) fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    unquoted_rsplit(element, b';').find_map(|pair| {
        let (name, value) = str::from_utf8(pair).ok()?.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("for") {
            return None;
        }
        parse(value.trim().trim_matches('"').as_bytes())
    })
}

/// The elements of one line of a list field, from the right.
///
/// From the right, because that end was written by the nearest proxy: whatever a client wrote
/// further left, an open quote or bytes that are no text, cannot change how it is read.
pub(super) fn rsplit(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    unquoted_rsplit(line, b',')
}

/// Splits at `separator`, but not inside of quotes, from the right.
fn unquoted_rsplit(line: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    line.rsplit(move |byte| {
        quoted ^= *byte == b'"';
        *byte == separator && !quoted
    })
}
