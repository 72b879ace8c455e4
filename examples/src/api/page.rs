use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
};

pub(super) async fn page() -> Response {
    let mut response = file(
        include_str!("../page/page.html"),
        "text/html; charset=utf-8",
    );
    let policy = HeaderValue::from_static(ONLY_OURS);
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, policy);
    response
}

pub(super) async fn style() -> Response {
    file(include_str!("../page/page.css"), "text/css; charset=utf-8")
}

pub(super) async fn script() -> Response {
    file(
        include_str!("../page/page.js"),
        "text/javascript; charset=utf-8",
    )
}

fn file(text: &'static str, kind: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The page runs our script and style and talks to us, and that is all.
const ONLY_OURS: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
