//! A kitchen behind a limit over HTTP, and what its answers say of the limit.

use std::convert::Infallible;

pub(super) type Request = http::Request<String>;

pub(super) fn request(body: &str) -> Request {
    http::Request::new(body.to_owned())
}

/// Whose a request is; nobody's where it is empty.
pub(super) fn user(request: &Request) -> Option<String> {
    Some(request.body().clone()).filter(|user| !user.is_empty())
}

/// Answers with what the user ordered; knows nothing of `nobody`.
pub(super) async fn kitchen(request: Request) -> Result<http::Response<String>, Infallible> {
    let mut answer = http::Response::new(request.into_body());
    if answer.body() == "nobody" {
        *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(answer)
}

/// The status of an answer and what its fields say of quotas.
pub(super) fn told<B>(answer: &http::Response<B>) -> (u16, Option<&str>, Option<&str>) {
    let field = |name| answer.headers().get(name)?.to_str().ok();
    let status = answer.status().as_u16();
    (status, field("ratelimit-policy"), field("ratelimit"))
}
