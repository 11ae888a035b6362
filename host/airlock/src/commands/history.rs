//! `airlock runs list`, `stats`, `prune` and `export`: many runs, or a whole one.

use std::io::IsTerminal;

use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use super::plugins::list_of;
use crate::cli::RunsList;
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::{EscapedParts, cell, print_to_reader, table, time};

/// Most runs of one page of the API.
const PAGE: usize = 1_000;

pub(super) fn list(session: &Session, args: &RunsList) -> Result<()> {
    let mut query = String::new();
    let filters = [
        ("agent", &args.agent),
        ("status", &args.status),
        ("by", &args.by),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    let (mut runs, mut before) = (Vec::new(), args.before.clone());
    loop {
        let limit = (args.limit - runs.len()).clamp(1, PAGE);
        let cursor = before.map(|id| format!("&before={}", encode(&id)));
        let cursor = cursor.unwrap_or_default();
        let page = session
            .api
            .get(&format!("/v1/runs?limit={limit}{query}{cursor}"))?;
        runs.extend(page["runs"].as_array().cloned().unwrap_or_default());
        before = page["next_before"].as_str().map(str::to_owned);
        if before.is_none() || runs.len() >= args.limit {
            break;
        }
    }
    let answer = match before {
        Some(before) => json!({ "runs": runs, "next_before": before }),
        None => json!({ "runs": runs }),
    };
    session.format.show(&answer, list_text)
}

fn list_text(answer: &Value) -> String {
    let runs = list_of(answer, "runs");
    let items = runs.as_array().into_iter().flatten();
    let lines: Vec<Vec<String>> = items
        .map(|run| {
            vec![
                cell(run, "id"),
                cell(run, "agent"),
                cell(run, "status"),
                cell(run, "by"),
                run["started_ms"].as_u64().map(time).unwrap_or_default(),
                cell(run, "goal"),
            ]
        })
        .collect();
    let mut text = table(&["RUN", "AGENT", "STATUS", "BY", "STARTED", "GOAL"], &lines);
    if answer.get("next_before").is_some() {
        text.push_str(&format!("\nmore: --before {}", cell(answer, "next_before")));
    }
    text
}

pub(super) fn stats(session: &Session) -> Result<()> {
    let answer = session.api.get("/v1/runs/stats")?;
    session.format.show(&answer, stats_text)
}

fn stats_text(answer: &Value) -> String {
    let agents = list_of(answer, "agents");
    let items = agents.as_array().into_iter().flatten();
    let lines: Vec<Vec<String>> = items
        .map(|stats| {
            let ended = stats["ended"].as_object().into_iter().flatten();
            let ended: Vec<String> = ended.map(|(end, count)| format!("{count} {end}")).collect();
            let took = |name: &str| {
                let ms = stats["took"][name].as_u64();
                ms.map_or_else(|| "-".to_owned(), duration)
            };
            vec![
                cell(stats, "agent"),
                cell(stats, "started"),
                cell(stats, "open"),
                ended.join(", "),
                took("mean_ms"),
                took("p50_ms"),
                took("p90_ms"),
                took("p99_ms"),
            ]
        })
        .collect();
    table(
        &[
            "AGENT", "STARTED", "OPEN", "ENDED", "MEAN", "P50", "P90", "P99",
        ],
        &lines,
    )
}

/// A time as it is typed.
pub(super) fn seconds(text: &str) -> Result<u64> {
    let time = humantime::parse_duration(text).map_err(|error| {
        Misuse(format!(
            "`{text}` is not a time ({error}); write e.g. `30d`"
        ))
    })?;
    Ok(time.as_secs())
}

pub(super) fn prune(session: &Session, body: &Value) -> Result<()> {
    let request = Request::json("POST", "/v1/runs/prune", body);
    let pruned: Value = session.api.value(&request)?;
    session.format.show(&pruned, |pruned| {
        let done = match pruned["dry_run"] == true {
            true => "would be removed",
            false => "removed",
        };
        let (runs, records) = (cell(pruned, "runs"), cell(pruned, "records"));
        format!("{runs} runs with {records} records {done}")
    })
}

/// As it came, so that its hashes can be checked; on a terminal, what could steer
/// it is escaped.
pub(super) fn export(session: &Session, id: &str) -> Result<()> {
    let path = format!("/v1/runs/{}/export", encode(id));
    let terminal = std::io::stdout().is_terminal();
    let mut escaped = EscapedParts::default();
    let mut show = |part: &[u8]| match terminal {
        true => print_to_reader(escaped.push(part)?.as_bytes()),
        false => print_to_reader(part),
    };
    session.api.download(Request::new("GET", path), &mut show)
}

/// Two units say enough.
fn duration(ms: u64) -> String {
    let whole = match ms {
        0..10_000 => ms,
        _ => ms / 1_000 * 1_000,
    };
    let text = humantime::format_duration(std::time::Duration::from_millis(whole)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
