//! `airlock views`.

use anyhow::Result;
use serde_json::Value;

use super::Session;
use super::plugins::list_of;
use crate::cli::Views;
use crate::client::{Request, encode};
use crate::output::{cell, rows, table, time};

pub(super) fn run(session: &Session, command: Views) -> Result<()> {
    match command {
        Views::Usage { plugin } => {
            let query = plugin
                .map(|plugin| format!("?plugin={}", encode(&plugin)))
                .unwrap_or_default();
            let answer = session.api.get(&format!("/v1/usage{query}"))?;
            session.format.show(&answer, usage_text)
        }
        Views::Stats => {
            let answer = session.api.get("/v1/stats")?;
            session.format.show(&answer, stats_text)
        }
        Views::Calls { limit } => {
            let answer = session.api.get(&format!("/v1/calls?limit={limit}"))?;
            session.format.show(&answer, calls_text)
        }
        Views::Rebuild => {
            let answer: Value = session
                .api
                .value(&Request::new("POST", "/v1/views/rebuild"))?;
            session
                .format
                .show(&answer, |_| "rebuilt from the audit".to_owned())
        }
    }
}

/// Use of capabilities by rule, as `GET /v1/usage` answers it, in columns.
pub fn usage_text(answer: &Value) -> String {
    let header = [
        "PLUGIN",
        "CAPABILITY",
        "RULE",
        "ALLOWED",
        "DENIED",
        "BYTES IN",
        "BYTES OUT",
    ];
    let fields = [
        "plugin",
        "capability",
        "rule",
        "allowed",
        "denied",
        "bytes_in",
        "bytes_out",
    ];
    table(&header, &rows(&list_of(answer, "usage"), &fields))
}

fn stats_text(answer: &Value) -> String {
    let stats = list_of(answer, "stats");
    let fields = ["plugin", "tool", "calls", "failed", "wall_us", "cpu_us"];
    table(
        &["PLUGIN", "TOOL", "CALLS", "FAILED", "WALL µs", "CPU µs"],
        &rows(&stats, &fields),
    )
}

fn calls_text(answer: &Value) -> String {
    let calls = list_of(answer, "calls");
    let items = calls.as_array().into_iter().flatten();
    let lines: Vec<Vec<String>> = items
        .map(|call| {
            let at = call["at_ms"].as_u64().map(time).unwrap_or_default();
            let tool = format!("{}/{}", cell(call, "plugin"), cell(call, "tool"));
            vec![
                at,
                cell(call, "call_id"),
                tool,
                cell(call, "outcome"),
                cell(call, "wall_us"),
            ]
        })
        .collect();
    table(&["WHEN", "CALL", "TOOL", "OUTCOME", "WALL µs"], &lines)
}
