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

    let sentinel =
        Target::parse("redis-sentinel://a?service=a%26b%2Fc%20%C3%A9+%zz").expect("valid");
    assert!(
        matches!(sentinel.kind, Kind::Sentinel { service, .. } if service == "a&b/c \u{e9}+%zz")
    );

    let local = Target::parse("unix:///run/redis.sock?db=1&pass=p").expect("valid");
    assert_eq!(local.addresses, [Address::Unix("/run/redis.sock".into())]);
    assert_eq!((local.login.db(), local.login.password()), (1, Some("p")));
    assert!(!local.is_readable_by_others());
    for url in ["unix:///redis.sock?pass=a+b%2B", "redis://:a+b%2B@host"] {
        let target = Target::parse(url).expect("valid");
        assert_eq!(target.login.password(), Some("a+b+"), "{url}");
    }
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

#[test]
fn whatever_a_url_is_made_of_it_is_a_target_or_an_error_that_does_not_repeat_it() {
    const PARTS: [&str; 30] = [
        "redis",
        "rediss",
        "unix",
        "redis-cluster",
        "redis-sentinel",
        "://",
        ":",
        "/",
        "//",
        "@",
        "?",
        "&",
        "=",
        ",",
        "#",
        "%",
        "%40",
        "%zz",
        "[",
        "]",
        "[::1]",
        "host",
        "0",
        "65536",
        "service",
        "protocol=resp2",
        "sentinel_password",
        "pass",
        "db",
        "\u{e9}",
    ];
    let mut random = fastrand::Rng::with_seed(1);
    let mut valid = 0;
    for _ in 0..100_000 {
        let scheme = PARTS[random.usize(..5)];
        let mut url = format!("{scheme}://:PLANTED@");
        for _ in 0..random.usize(..8) {
            url += PARTS[random.usize(..PARTS.len())];
        }
        let target = Target::parse(&url);
        valid += u32::from(target.is_ok());
        assert!(!format!("{target:?}").contains("PLANTED"), "{url}");
    }
    assert!(valid > 1000, "{valid}");
}
