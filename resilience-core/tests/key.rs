//! Whose request it is, also when the request lies.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![cfg(feature = "http")]

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use resilience_core::{
    RateLimiter,
    key::{ClientIp, HeaderKey, KeyExtractor, PeerAddr},
    rate_limit::{Policy, Quota},
};

const XFF: &str = "x-forwarded-for";

fn request(peer: &str, lines: &[(&'static str, &[u8])]) -> Request<()> {
    let mut request = Request::new(());
    let peer: SocketAddr = format!("{peer}:4711")
        .parse()
        .or_else(|_| format!("[{peer}]:4711").parse())
        .unwrap();
    request.extensions_mut().insert(PeerAddr(peer));
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value).unwrap();
        request
            .headers_mut()
            .append(HeaderName::from_static(name), value);
    }
    request
}

fn proxied() -> ClientIp {
    ClientIp::new()
        .trust_proxies(["10.0.0.0/8", "fd00::/8"])
        .unwrap()
}

fn key(extractor: &ClientIp, peer: &str, lines: &[(&'static str, &[u8])]) -> String {
    let key = extractor.key(&request(peer, lines)).unwrap();
    key.to_string()
}

#[test]
fn headers_count_only_where_the_peer_is_a_trusted_proxy() {
    let lines: &[(&str, &[u8])] = &[(XFF, b"1.1.1.1")];
    assert_eq!(key(&ClientIp::new(), "192.0.2.7", lines), "192.0.2.7");
    assert_eq!(key(&proxied(), "192.0.2.7", lines), "192.0.2.7");
    assert_eq!(key(&proxied(), "10.1.2.3", lines), "1.1.1.1");
}

#[test]
fn the_first_address_from_the_right_that_is_no_proxy_is_the_client() {
    let forged: &[(&str, &[u8])] = &[(XFF, b"6.6.6.6, 1.1.1.1, 10.9.9.9")];
    assert_eq!(key(&proxied(), "10.1.2.3", forged), "1.1.1.1");
    let two_lines: &[(&str, &[u8])] = &[(XFF, b"6.6.6.6"), (XFF, b"1.1.1.1 , 10.9.9.9")];
    assert_eq!(key(&proxied(), "10.1.2.3", two_lines), "1.1.1.1");
    let proxies: &[(&str, &[u8])] = &[(XFF, b"10.4.4.4, 10.9.9.9")];
    assert_eq!(key(&proxied(), "10.1.2.3", proxies), "10.4.4.4");
}

#[test]
fn a_proxy_is_trusted_however_its_ipv4_address_is_written() {
    let forwarded: &[(&str, &[u8])] = &[(XFF, b"1.1.1.1")];
    for network in ["::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "10.0.0.7/8"] {
        let extractor = ClientIp::new().trust_proxies([network]).unwrap();
        for peer in ["10.0.0.1", "::ffff:10.0.0.1"] {
            assert_eq!(key(&extractor, peer, forwarded), "1.1.1.1", "{network}");
        }
        let stranger = key(&extractor, "192.0.2.7", forwarded);
        assert_eq!(stranger, "192.0.2.7", "{network}");
    }
    let all = ClientIp::new().trust_proxies(["::/0"]).unwrap();
    assert_eq!(key(&all, "2001:db8::1", forwarded), "1.1.1.1");
    assert_eq!(key(&all, "192.0.2.7", forwarded), "192.0.2.7");
}

#[test]
fn where_an_element_cannot_be_read_the_proxy_that_passed_it_on_is_the_client() {
    for garbage in [
        &b"unknown"[..],
        b"_hidden",
        b"not an address",
        b"999.1.1.1",
        b"1.1.1.1.",
        b"\xff\xfe",
        b"\"",
    ] {
        let lines: &[(&str, &[u8])] = &[(XFF, b"1.1.1.1"), (XFF, garbage), (XFF, b"10.9.9.9")];
        assert_eq!(key(&proxied(), "10.1.2.3", lines), "10.9.9.9");
    }
    let commas = [b','; 8192];
    assert_eq!(key(&proxied(), "10.1.2.3", &[(XFF, &commas)]), "10.1.2.3");
    assert_eq!(key(&proxied(), "10.1.2.3", &[]), "10.1.2.3");
}

#[test]
fn bytes_that_are_no_text_cannot_hide_what_the_proxy_wrote_beside_them() {
    let lines: &[(&str, &[u8])] = &[(XFF, b"\xff\xfe, 1.1.1.1")];
    assert_eq!(key(&proxied(), "10.1.2.3", lines), "1.1.1.1");
    let lines: &[(&str, &[u8])] = &[("forwarded", b"for=\xff, by=\xff;for=1.1.1.1")];
    assert_eq!(key(&proxied().forwarded(), "10.1.2.3", lines), "1.1.1.1");
}

#[test]
fn addresses_are_read_with_and_without_ports_and_brackets() {
    for (text, address) in [
        (&b"1.2.3.4:80"[..], "1.2.3.4"),
        (b"[2001:db8:1:2::1]:80", "2001:db8:1:2::"),
        (b"[2001:db8:1:2::1]", "2001:db8:1:2::"),
        (b"2001:db8:1:2::1", "2001:db8:1:2::"),
        (b"::ffff:1.2.3.4", "1.2.3.4"),
        (b",, 1.2.3.4 ,,", "1.2.3.4"),
    ] {
        assert_eq!(key(&proxied(), "10.1.2.3", &[(XFF, text)]), address);
    }
}

#[test]
fn ipv6_clients_count_as_one_by_their_64_and_mapped_ipv4_ones_do_not() {
    let direct = ClientIp::new();
    let first = key(&direct, "2001:db8:1:2::1", &[]);
    for host in 0..=u16::MAX {
        assert_eq!(
            key(&direct, &format!("2001:db8:1:2:{host:x}::9"), &[]),
            first
        );
    }
    assert_ne!(key(&direct, "2001:db8:1:3::1", &[]), first);
    assert_eq!(key(&direct, "::ffff:192.0.2.1", &[]), "192.0.2.1");
    assert_eq!(key(&direct, "::ffff:192.0.2.2", &[]), "192.0.2.2");
    assert_eq!(key(&direct, "64:ff9b::c000:201", &[]), "192.0.2.1");
    let wide = ClientIp::new().ipv6_prefix(48).unwrap();
    assert_eq!(key(&wide, "2001:db8:1:2::1", &[]), "2001:db8:1::");
    assert!(ClientIp::new().ipv6_prefix(0).is_err());
    assert!(ClientIp::new().ipv6_prefix(129).is_err());
    let whole = ClientIp::new().ipv6_prefix(128).unwrap();
    assert_eq!(key(&whole, "2001:db8:1:2::1", &[]), "2001:db8:1:2::1");
}

#[test]
fn hops_count_from_the_right_and_a_short_field_names_the_peer() {
    let two = ClientIp::new().trust_hops(2);
    let full: &[(&str, &[u8])] = &[(XFF, b"6.6.6.6, 1.1.1.1, 172.16.0.1")];
    assert_eq!(key(&two, "192.0.2.7", full), "1.1.1.1");
    assert_eq!(key(&two, "192.0.2.7", &[(XFF, b"6.6.6.6")]), "192.0.2.7");
    assert_eq!(
        key(&ClientIp::new().trust_hops(0), "192.0.2.7", full),
        "192.0.2.7"
    );
}

#[test]
fn forwarded_is_read_with_quotes_and_parameters() {
    let forwarded = proxied().forwarded();
    for (text, address) in [
        (&b"for=1.1.1.1;proto=https"[..], "1.1.1.1"),
        (
            b"proto=https; For=\"[2001:db8:1:2::1]:4711\"",
            "2001:db8:1:2::",
        ),
        (
            b"for=6.6.6.6, for=1.1.1.1;by=\"a,b;for=7.7.7.7\"",
            "1.1.1.1",
        ),
        (b"for=6.6.6.6, for=unknown", "10.1.2.3"),
        (b"for=\", for=1.1.1.1", "1.1.1.1"),
        (b"for=6.6.6.6, proto=https", "10.1.2.3"),
    ] {
        assert_eq!(key(&forwarded, "10.1.2.3", &[("forwarded", text)]), address);
        assert_eq!(
            key(&proxied(), "10.1.2.3", &[("forwarded", text)]),
            "10.1.2.3"
        );
    }
}

#[test]
fn a_network_that_is_none_is_an_error_that_says_what_to_write() {
    let error = ClientIp::new().trust_proxies(["10.0.0.0/99"]).unwrap_err();
    assert_eq!(error.field(), "trust_proxies");
}

#[test]
fn without_the_extension_there_is_no_key() {
    assert_eq!(ClientIp::new().key(&Request::new(())), None);
    let other = ClientIp::from_extension(|peer: &IpAddr| *peer);
    let mut request = Request::new(());
    assert_eq!(other.key(&request), None);
    request
        .extensions_mut()
        .insert(IpAddr::from([192, 0, 2, 1]));
    assert_eq!(other.key(&request), Some(IpAddr::from([192, 0, 2, 1])));
}

#[test]
fn an_absent_an_empty_and_an_oversized_header_is_no_key() {
    let tenant = HeaderKey::new(HeaderName::from_static("x-tenant"));
    let of = |value: &[u8]| tenant.key(&request("192.0.2.1", &[("x-tenant", value)]));
    assert_eq!(tenant.key(&request("192.0.2.1", &[])), None);
    assert_eq!(of(b""), None);
    assert_eq!(of(&[b'x'; 257]), None);
    assert_eq!(of(&[b'x'; 256]).unwrap().as_bytes().len(), 256);
    assert_eq!(of(b"caf\xe9").unwrap().as_bytes(), b"caf\xe9");
}

#[test]
fn a_key_that_is_kept_lets_go_of_the_buffer_that_its_request_was_read_into() {
    let name = HeaderName::from_static("x-tenant");
    let buffer = Bytes::from(vec![b'a'; 1 << 16]);
    let value = HeaderValue::from_maybe_shared(buffer.slice(..8)).unwrap();
    let mut request = Request::new(());
    request.headers_mut().insert(name.clone(), value);
    let limiter = RateLimiter::new(Policy::new("tenant", Quota::per_second(2))).unwrap();
    let key = HeaderKey::new(name).key(&request).unwrap();
    limiter.try_take(&key).unwrap();
    drop((key, request));
    assert_eq!(limiter.len(), 1);
    assert!(buffer.is_unique());
}
