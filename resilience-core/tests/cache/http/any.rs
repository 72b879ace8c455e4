//! Whatever requests and answers say in their fields.

use super::*;

/// Values that mean something, and such as only look like it.
fn value() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let known = prop::sample::select(vec![
        "no-store",
        "private",
        "public",
        "max-age=60",
        "s-maxage=9",
        "max-age",
        "=",
        ",,",
        "\"",
        "*",
        "W/\"1\"",
        "\"1\"",
        "accept-language",
        "cookie",
        "0",
        "-1",
        "99999999999999999999",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "stale-if-error=9",
        "only-if-cached",
        "no-cache=\"a, b\"",
    ]);
    let known = known.prop_map(str::to_owned);
    prop_oneof![
        prop::collection::vec(known, 1..4).prop_map(|all| all.join(", ")),
        "[ -~]{0,24}",
    ]
}

fn fields(
    names: &'static [HeaderName],
) -> impl proptest::strategy::Strategy<Value = Vec<(HeaderName, String)>> {
    use proptest::prelude::*;
    let name = prop::sample::select(names.to_vec());
    prop::collection::vec((name, value()), 0..4)
}

const ASKED: [HeaderName; 6] = [
    CACHE_CONTROL,
    IF_NONE_MATCH,
    AUTHORIZATION,
    COOKIE,
    ACCEPT_LANGUAGE,
    ::http::header::PRAGMA,
];

const ANSWERED: [HeaderName; 8] = [
    CACHE_CONTROL,
    VARY,
    AGE,
    ETAG,
    SET_COOKIE,
    ::http::header::EXPIRES,
    ::http::header::DATE,
    ::http::header::CONNECTION,
];

proptest::proptest! {
    #[test]
    fn no_field_breaks_it_or_lets_one_with_credentials_share(
        asked in fields(&ASKED),
        answered in fields(&ANSWERED),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let site = Site::new(policy());
        let secret = asked.iter().any(|(name, _)| *name == AUTHORIZATION || *name == COOKIE);
        let own = answered.iter().any(|(name, _)| *name == SET_COOKIE);
        for _ in 0..2 {
            let mut request = get("/menu");
            for (name, value) in &asked {
                if let Ok(value) = value.parse() {
                    request.headers_mut().append(name.clone(), value);
                }
            }
            let answered = answered.clone();
            let answer = move |_, number: u64| {
                let mut response = ok(&[], number);
                for (name, value) in answered {
                    if let Ok(value) = value.parse() {
                        response.headers_mut().append(name, value);
                    }
                }
                response
            };
            runtime.block_on(site.send_to(request, answer));
        }
        proptest::prop_assert!(!(secret || own) || site.pages.snapshot().hits == 0);
    }
}
