//! Rates of rules: token buckets that all calls of a plugin share.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::grant::Rule;
use crate::limits::Rate;

/// One bucket for each rule that has a rate.
#[derive(Debug, Default)]
pub struct Rates {
    buckets: Mutex<Vec<(Rule, Bucket)>>,
}

/// Holds up to `rate.count` tokens, refilled evenly.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    /// Takes a token for a request under `rule`.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self, rule: &Rule, now: Instant) -> Result<(), Duration> {
        let Some(rate) = rule.rate else {
            return Ok(());
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let at = buckets
            .iter()
            .position(|(other, _)| other == rule)
            .unwrap_or_else(|| {
                buckets.push((
                    rule.clone(),
                    Bucket {
                        tokens: f64::from(rate.count),
                        at: now,
                    },
                ));
                buckets.len() - 1
            });
        buckets[at].1.take(rate, now)
    }
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let count = f64::from(rate.count);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = count.min(self.tokens + passed * count / rate.per.as_secs_f64());
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(rate.per.mul_f64((1.0 - self.tokens) / count))
    }
}
