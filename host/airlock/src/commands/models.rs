//! `airlock models`.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use crate::cli::Models;
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::{cell, millionths, one_line, print_bytes, table};

/// Whether a file of models can be used.
pub(super) fn check(file: &Path) -> Result<()> {
    airlock_runtime::check_models_file(file).map_err(|error| Misuse(error.to_string()))?;
    print_bytes(format!("{} can be used\n", file.display()).as_bytes())
}

pub(super) fn run(session: &Session, command: Models) -> Result<()> {
    match command {
        Models::Usage { day } => {
            let query = day.map(|day| format!("?day={}", encode(&day)));
            let path = format!("/v1/models/usage{}", query.unwrap_or_default());
            session.format.show(&session.api.get(&path)?, usage_text)
        }
        Models::Reload => {
            let request = Request::new("POST", "/v1/models/reload");
            let answer: Value = session.api.value(&request)?;
            session.format.show(&answer, list_text)
        }
        Models::Try { role, text } => {
            let mut body = json!({ "role": role });
            if let Some(text) = text {
                body["text"] = text.into();
            }
            let request = Request::json("POST", "/v1/models/try", &body);
            let answer: Value = session.api.value(&request)?;
            session.format.show(&answer, trial_text)
        }
        Models::List | Models::Check { .. } => {
            let answer = session.api.get("/v1/models")?;
            session.format.show(&answer, list_text)
        }
    }
}

fn list_text(answer: &Value) -> String {
    let models = &answer["models"];
    let roles = answer["roles"].as_object().into_iter().flatten();
    let lines = roles.flat_map(|(role, view)| {
        let names = view["models"].as_array().into_iter().flatten();
        names
            .filter_map(Value::as_str)
            .enumerate()
            .map(move |(at, name)| {
                let model = &models[name];
                let key = match (model["key"].as_str(), model["key_is_set"].as_bool()) {
                    (None, _) => "none".to_owned(),
                    (Some(key), Some(true)) => key.to_owned(),
                    (Some(key), _) => format!("{key} (not set: airlock secret set {key})"),
                };
                let role = if at == 0 { role.clone() } else { String::new() };
                vec![
                    role,
                    name.to_owned(),
                    cell(model, "id"),
                    cell(model, "base_url"),
                    key,
                ]
            })
    });
    let lines: Vec<Vec<String>> = lines.collect();
    table(&["ROLE", "MODEL", "ID", "AT", "KEY"], &lines)
}

fn trial_text(answer: &Value) -> String {
    let failed = answer["failed"].as_array().into_iter().flatten();
    let mut lines: Vec<String> = failed
        .filter_map(Value::as_str)
        .map(|attempt| format!("failed: {}", one_line(attempt)))
        .collect();
    lines.push(match answer["dimensions"].as_u64() {
        Some(length) => format!("a vector of {length} numbers"),
        None => cell(answer, "text"),
    });
    let micros = answer["cost_micros"].as_u64().unwrap_or_default();
    lines.push(format!(
        "{} answered in {} ms: {} tokens, cost {}",
        cell(answer, "model"),
        cell(answer, "took_ms"),
        cell(answer, "tokens"),
        millionths(micros)
    ));
    lines.join("\n")
}

fn usage_text(answer: &Value) -> String {
    let currency = answer["currency"].as_str().unwrap_or_default();
    let header = format!("COST {currency}");
    let line = |what: String, of: String, used: &Value| {
        let micros = used["micros"].as_u64().unwrap_or_default();
        let (requests, tokens) = (cell(used, "requests"), cell(used, "tokens"));
        vec![what, of, requests, tokens, millionths(micros)]
    };
    let mut lines = vec![line("all".to_owned(), String::new(), &answer["all"])];
    let agents = answer["agents"].as_object().into_iter().flatten();
    lines.extend(agents.map(|(agent, used)| line(agent.clone(), String::new(), used)));
    let runs = answer["runs"].as_array().into_iter().flatten();
    lines.extend(runs.map(|run| line(cell(run, "agent"), cell(run, "run"), run)));
    let header = ["AGENT", "RUN", "REQUESTS", "TOKENS", header.trim_end()];
    format!("{}\n{}", cell(answer, "day"), table(&header, &lines))
}
