use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use resilience_core::cache::Origin;
use serde::Serialize;

use super::{Problem, path::Id};
use crate::{Service, stack};

pub(super) async fn all(State(service): State<Service>) -> Result<Response, Problem> {
    let store = service.store.clone();
    let make = async move || page(&store.dishes().await?);
    let page = stack::menu(make, &service.pages).await?;
    Ok(answer(page))
}

pub(super) async fn one(State(service): State<Service>, Id(id): Id) -> Result<Response, Problem> {
    let id = id
        .parse()
        .map_err(|_| Problem::invalid("id", "a dish has a whole number"))?;
    let store = service.store.clone();
    let make = async move || store.dish(id).await?.as_ref().map(page).transpose();
    let page = stack::dish(id, make, &service.pages).await?;
    page.map(answer).ok_or_else(|| unknown(id).field("id"))
}

pub(super) fn unknown(id: i64) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_dish",
        "the menu has no such dish",
    )
    .with("dish_id", id)
}

/// A page as it is sent, and cached.
fn page(content: &impl Serialize) -> sqlx::Result<Bytes> {
    let page = serde_json::to_vec(content);
    let page = page.map_err(|error| sqlx::Error::Encode(error.into()))?;
    Ok(page.into())
}

/// The page, and in `Cache-Status` (RFC 9211) whether it was there.
fn answer((page, origin): (Bytes, Origin)) -> Response {
    let mut response = page.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    let status = format!("\"pages\"; {}", origin.cache_status());
    if let Ok(status) = HeaderValue::from_str(&status) {
        response.headers_mut().insert("cache-status", status);
    }
    response
}
