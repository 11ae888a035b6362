//! Durable runs: what a step costs, beside Restate doing the same kind of step on
//! this machine in the same run, and beside what the disk and bare wasmtime cost;
//! how that grows with the length of runs and their number; what runs cost that
//! wait.
//!
//! What must stay true: runs are started and watched over HTTP, as those of the
//! peer are; what is not the same work is labelled so.

mod copies;
mod floor;
pub(crate) mod host;
pub(crate) mod length;
pub(crate) mod parked;
pub(crate) mod replay;
mod restate;
pub(crate) mod steps;
pub(crate) mod stored;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::load::quantile;

/// One thread makes all requests, so that they cost the servers little.
fn client() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.context("the client's runtime")
}

/// The middle of some figures.
fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// Median and 99th percentile in words.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ms = |q| quantile(&times, q).as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms", ms(0.5), ms(0.99))
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
