//! Webhooks: what another service sends starts a run, or gives one a signal.
//! Headers (`claim`, pure), deliveries (`deliver`), what administrators do
//! (`admin`).
//!
//! What must stay true: without the secret nothing is done and nothing is
//! learned, not even which names there are; a delivery has its effect once.

mod admin;
mod claim;
mod deliver;
mod error;
mod types;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use claim::HookHead;
pub use deliver::BODY_BYTES_MAX as HOOK_BODY_BYTES_MAX;
pub use error::HookError;
pub use types::{Delivered, GivenSecret, HookMade, HookRequest, HookView, RotateHook, Scheme};

/// The space of the webhooks, by name.
const SPACE: &str = "hooks";
/// Deliveries that were taken, and when each is forgotten.
const DELIVERIES: &str = "hook-deliveries";
const EXPIRY: &str = "hook-deliveries-expiry";

/// What this process shares about webhooks.
#[derive(Default)]
pub(crate) struct Hooks {
    /// One delivery, or one change, at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Tokens of each webhook, and when they were counted.
    rates: Mutex<HashMap<String, (f64, Instant)>>,
    decoy: OnceLock<Vec<u8>>,
}

impl Hooks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Takes one of the webhook's tokens.
    fn admit(&self, row: &types::Row, now: Instant) -> Result<(), HookError> {
        let most = f64::from(row.hook.rate_per_min);
        let per_s = most / 60.0;
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, at) = rates.entry(row.id.clone()).or_insert((most, now));
        let passed = now.saturating_duration_since(*at).as_secs_f64();
        *tokens = most.min(*tokens + passed * per_s);
        *at = now;
        if *tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - *tokens) / per_s);
            return Err(HookError::Rate { wait });
        }
        *tokens -= 1.0;
        Ok(())
    }
}
