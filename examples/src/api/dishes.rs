use axum::{Json, extract::State};
use http::StatusCode;

use super::{Problem, path::Id};
use crate::{Service, store::Dish};

pub(super) async fn all(State(service): State<Service>) -> Result<Json<Vec<Dish>>, Problem> {
    Ok(Json(service.store.dishes().await?))
}

pub(super) async fn one(State(service): State<Service>, Id(id): Id) -> Result<Json<Dish>, Problem> {
    let id = id
        .parse()
        .map_err(|_| Problem::invalid("id", "a dish has a whole number"))?;
    let dish = service.store.dish(id).await?;
    dish.map(Json).ok_or_else(|| unknown(id).field("id"))
}

pub(super) fn unknown(id: i64) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_dish",
        "the menu has no such dish",
    )
    .with("dish_id", id)
}
