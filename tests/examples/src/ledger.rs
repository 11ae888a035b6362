//! A payments service on loopback, as `plugins/payments` expects one: it keeps the
//! books that crashes of the server can't touch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The books.
#[derive(Clone, Default)]
pub struct Ledger {
    books: Arc<Mutex<Books>>,
    /// Time before and after a refund is booked, for crashes to fall into.
    pause: Duration,
    /// Whether answers about refunds are held back once they are booked.
    held: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct Books {
    orders: BTreeMap<String, Value>,
    /// What was answered, by idempotency key.
    replies: BTreeMap<String, Value>,
    /// What was booked, in order.
    refunds: Vec<Value>,
    /// Requests for a refund, those that were answered from `replies` too.
    asked: usize,
}

impl Ledger {
    /// Books without orders.
    pub fn new(pause: Duration) -> Self {
        Self {
            pause,
            ..Self::default()
        }
    }

    /// Books, but does not answer, until told otherwise.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An order that was paid `days` days ago; amounts in minor units.
    pub fn order(&self, id: &str, customer: &str, paid: u64, days: u64) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map(|now| now.as_secs()).unwrap_or_default();
        let order = json!({
            "id": id, "customer": customer, "currency": "EUR", "paid": paid, "refunded": 0,
            "paid_at": now - days * 86_400,
        });
        self.lock().orders.insert(id.to_owned(), order);
    }

    /// The refunds of an order that were booked.
    pub fn refunds(&self, order: &str) -> Vec<Value> {
        let books = self.lock();
        let of_it = books
            .refunds
            .iter()
            .filter(|refund| refund["order"] == order);
        of_it.cloned().collect()
    }

    /// How many refunds were booked.
    pub fn booked(&self) -> usize {
        self.lock().refunds.len()
    }

    /// How often a refund was asked for, attempts counted.
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    /// Its routes, `/v1/orders/{id}` and `/v1/refunds`, for whoever has the key.
    pub fn router(&self, key: &'static str) -> Router {
        let authorized = move |headers: &HeaderMap| {
            let bearer = format!("Bearer {key}");
            headers
                .get("authorization")
                .is_some_and(|given| *given == *bearer)
        };
        let order = move |State(ledger): State<Self>,
                          Path(id): Path<String>,
                          headers: HeaderMap| async move {
            if !authorized(&headers) {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            let order = ledger.lock().orders.get(&id).cloned();
            order.map_or(StatusCode::NOT_FOUND.into_response(), |order| {
                Json(order).into_response()
            })
        };
        let refund = move |State(ledger): State<Self>,
                           headers: HeaderMap,
                           Json(asked): Json<Value>| async move {
            let key = headers
                .get("idempotency-key")
                .and_then(|key| key.to_str().ok());
            match key {
                _ if !authorized(&headers) => StatusCode::UNAUTHORIZED.into_response(),
                None => (StatusCode::BAD_REQUEST, "no idempotency key").into_response(),
                Some(key) => ledger.refund(key, &asked).await,
            }
        };
        Router::new()
            .route("/v1/orders/{id}", get(order))
            .route("/v1/refunds", post(refund))
            .with_state(self.clone())
    }

    async fn refund(&self, key: &str, asked: &Value) -> Response {
        tokio::time::sleep(self.pause).await;
        let booked = self.lock().book(key, asked);
        tokio::time::sleep(self.pause).await;
        let mut held = self.held.subscribe();
        // The sender lives as long as these books.
        let _ = held.wait_for(|held| !held).await;
        match booked {
            Ok(refund) => Json(refund).into_response(),
            Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, why).into_response(),
        }
    }
}

impl Books {
    /// Books a refund once a key.
    fn book(&mut self, key: &str, asked: &Value) -> Result<Value, &'static str> {
        self.asked += 1;
        if let Some(reply) = self.replies.get(key) {
            return Ok(reply.clone());
        }
        let id = asked["order"].as_str().unwrap_or_default();
        let order = self.orders.get_mut(id).ok_or("no such order")?;
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let refunded = number(&order["refunded"]) + number(&asked["amount"]);
        if refunded > number(&order["paid"]) {
            return Err("more than was paid");
        }
        order["refunded"] = json!(refunded);
        let refund = json!({
            "id": format!("R-{}", self.refunds.len() + 1), "order": id,
            "amount": asked["amount"], "currency": asked["currency"],
        });
        self.refunds.push(refund.clone());
        self.replies.insert(key.to_owned(), refund.clone());
        Ok(refund)
    }
}
