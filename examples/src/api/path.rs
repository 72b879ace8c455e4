use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use super::Problem;

/// The one parameter of a path, as text.
#[derive(Clone, Debug)]
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(Problem::invalid("id", "is no text")),
        }
    }
}
