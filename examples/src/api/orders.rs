use std::time::Duration;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Problem,
    body::{JsonObject, count, text},
    dishes, idempotency,
    path::Id,
};
use crate::{
    Service,
    clock::millis,
    settlement::Settled,
    store::{CancelReason, Key, Line, NewOrder, Order, Placed, Refusal, Status},
};

/// Places an order: takes its portions, then its payment.
pub(super) async fn place(
    State(service): State<Service>,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Response, Problem> {
    let key = idempotency::key_of(&headers)?;
    let basket = Basket::parse(&body)?;
    let _turn = match &key {
        Some(key) => Some(idempotency::turn(&service.keys, key).await?),
        None => None,
    };
    let request = idempotency::digest(body);
    let key = key.as_deref().map(|key| Key {
        key,
        request: &request,
    });
    let now = service.clock.now();
    let new = NewOrder {
        user_id: &basket.user_id,
        lines: &basket.lines,
        key,
        now,
        due_at: now.saturating_add(millis(service.payment.head_start)),
    };
    let settled = match service.store.place(&new).await? {
        Placed::New(order) => service.settle(order).await,
        Placed::Known(order) => Settled {
            order,
            refused: None,
        },
        Placed::Refused(refusal) => return Err(basket.refused(refusal)),
        Placed::KitchenFull(wait) => return Err(kitchen_is_full(wait)),
        Placed::KeyReused => {
            let detail = "this key was used for another order";
            let problem = Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                detail,
            );
            return Err(problem.field(idempotency::HEADER));
        }
    };
    answer(&service, &settled)
}

/// Nothing is taken that nobody would cook in time.
fn kitchen_is_full(wait: Duration) -> Problem {
    let detail = "more orders wait for the kitchen than it can cook; nothing is ordered";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "kitchen_full", detail).retry_after(wait)
}

/// An order, as whoever knows its id may see it.
pub(super) async fn one(State(service): State<Service>, Id(id): Id) -> Result<Response, Problem> {
    let Some(order) = service.store.order(&id).await? else {
        let detail = "there is no such order";
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_order", detail).field("id"));
    };
    let line = |line: Line| json!({ "dish_id": line.dish_id, "quantity": line.quantity });
    let items: Vec<_> = service
        .store
        .lines(&id)
        .await?
        .into_iter()
        .map(line)
        .collect();
    Ok(Json(json!({
        "order_id": order.id,
        "user_id": order.user_id,
        "status": order.status,
        "cancel_reason": order.cancel_reason,
        "total_cents": order.total_cents,
        "items": items,
        "created_at_ms": order.created_at,
        "cooked_at_ms": service.store.cooked_at(&id).await?,
    }))
    .into_response())
}

#[derive(Debug, Serialize)]
struct Receipt<'a> {
    order_id: &'a str,
    status: Status,
    total_cents: i64,
}

/// The answer to whoever placed the order, now or before.
fn answer(service: &Service, settled: &Settled) -> Result<Response, Problem> {
    let order = &settled.order;
    service.metrics.order(order.status);
    match order.status {
        Status::Paid => {
            let receipt = Receipt {
                order_id: &order.id,
                status: order.status,
                total_cents: order.total_cents,
            };
            Ok((StatusCode::CREATED, Json(receipt)).into_response())
        }
        Status::PendingPayment | Status::Cancelling => Err(unsettled(service, settled)),
        Status::Cancelled => Err(cancelled(order)),
    }
}

/// The order is kept, and its payment is tried again without the client.
fn unsettled(service: &Service, settled: &Settled) -> Problem {
    let order = &settled.order;
    let (reason, policy) = match &settled.refused {
        Some(refused) => (refused.reason().as_str(), Some(refused.policy())),
        None => ("payment_unavailable", None),
    };
    let detail = format!(
        "the payment provider does not answer; the order is kept and paid later: see /orders/{}",
        order.id
    );
    let wait = order.due_at.saturating_sub(service.clock.now()).max(1);
    let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(1));
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason, detail).retry_after(wait);
    let problem = match policy {
        Some(policy) => problem.with("policy", policy),
        None => problem,
    };
    of_order(problem, order)
}

fn cancelled(order: &Order) -> Problem {
    let reason = order.cancel_reason.unwrap_or(CancelReason::PaymentDeclined);
    let detail = match reason {
        CancelReason::PaymentDeclined => "the payment was declined; nothing is ordered",
        CancelReason::PaymentTimedOut => {
            "the payment could not be made in time; nothing is ordered"
        }
    };
    let problem = Problem::new(StatusCode::PAYMENT_REQUIRED, reason.as_str(), detail);
    of_order(problem, order)
}

fn of_order(problem: Problem, order: &Order) -> Problem {
    problem
        .with("order_id", order.id.as_str())
        .with("order_status", order.status.as_str())
}

/// An order as it was asked for.
#[derive(Debug)]
struct Basket {
    user_id: String,
    /// Each dish once.
    lines: Vec<Line>,
    /// Where in the request each of the lines was first named.
    positions: Vec<usize>,
}

impl Basket {
    fn parse(body: &Map<String, Value>) -> Result<Self, Problem> {
        let user_id = text(body, "user_id", USER_ID_LENGTH)?;
        let items = body
            .get("items")
            .and_then(Value::as_array)
            .filter(|items| (1..=MAX_ITEMS).contains(&items.len()))
            .ok_or_else(|| {
                Problem::invalid("items", format!("must be a list of 1 to {MAX_ITEMS} items"))
            })?;
        let mut order = Self {
            user_id,
            lines: Vec::with_capacity(items.len()),
            positions: Vec::with_capacity(items.len()),
        };
        for (position, item) in items.iter().enumerate() {
            order.add(position, item)?;
        }
        Ok(order)
    }

    /// Adds an item; a dish named before gets more portions.
    fn add(&mut self, position: usize, item: &Value) -> Result<(), Problem> {
        let path = format!("items[{position}]");
        let Some(item) = item.as_object() else {
            return Err(Problem::invalid(
                path,
                "must be an object with dish_id and quantity",
            ));
        };
        let dish_id = count(item, &path, "dish_id", i64::MAX)?;
        let quantity = count(item, &path, "quantity", MAX_QUANTITY)?;
        match self.lines.iter_mut().find(|line| line.dish_id == dish_id) {
            Some(line) if line.quantity + quantity > MAX_QUANTITY => {
                let detail = format!("more than {MAX_QUANTITY} portions of dish {dish_id} in all");
                return Err(Problem::invalid(format!("{path}.quantity"), detail));
            }
            Some(line) => line.quantity += quantity,
            None => {
                self.lines.push(Line { dish_id, quantity });
                self.positions.push(position);
            }
        }
        Ok(())
    }

    fn refused(&self, refusal: Refusal) -> Problem {
        match refusal {
            Refusal::UnknownDish { dish_id } => {
                dishes::unknown(dish_id).field(self.field(dish_id, "dish_id"))
            }
            Refusal::SoldOut { dish_id, available } => {
                let detail = "fewer portions are left than were ordered; nothing is ordered";
                Problem::new(StatusCode::CONFLICT, "sold_out", detail)
                    .field(self.field(dish_id, "quantity"))
                    .with("dish_id", dish_id)
                    .with("available", available)
            }
        }
    }

    fn field(&self, dish_id: i64, name: &str) -> String {
        let line = self.lines.iter().position(|line| line.dish_id == dish_id);
        match line.and_then(|line| self.positions.get(line)) {
            Some(position) => format!("items[{position}].{name}"),
            None => "items".to_owned(),
        }
    }
}

const USER_ID_LENGTH: usize = 128;
const MAX_ITEMS: usize = 50;
const MAX_QUANTITY: i64 = 100;
