//! `airlock tool`.

use anyhow::{Context, Result};
use serde_json::Value;

use super::plugins::list_of;
use super::{Session, read_input};
use crate::cli::Tool;
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::{Format, cell, print, table};

pub(super) fn run(session: &Session, command: Tool) -> Result<()> {
    match command {
        Tool::List { plugin, schemas } => list(session, plugin.as_deref(), schemas),
        Tool::Call {
            tool,
            input,
            idempotency_key,
            timeout,
            verbose,
        } => {
            let (plugin, name) = tool.split_once('/').ok_or_else(|| {
                Misuse(format!(
                    "`{tool}` is not PLUGIN/TOOL; see airlock tool list"
                ))
            })?;
            let mut request = Request::bytes(
                "POST",
                format!("/v1/tools/{}/{}", encode(plugin), encode(name)),
                "application/json",
                input_bytes(&input)?,
            );
            if let Some(key) = idempotency_key {
                request = request.header("idempotency-key", key);
            }
            if let Some(timeout) = timeout {
                let time = humantime::parse_duration(&timeout);
                let time = time.map_err(|error| {
                    Misuse(format!(
                        "`{timeout}` is not a time ({error}); write e.g. `2s`"
                    ))
                })?;
                request = request.header("airlock-timeout-ms", time.as_millis().to_string());
            }
            call(session, &request, verbose)
        }
    }
}

fn input_bytes(input: &str) -> Result<Vec<u8>> {
    let bytes = if input == "-" {
        read_input(std::path::Path::new("-"))?
    } else {
        input.as_bytes().to_vec()
    };
    let parsed: Result<Value, _> = serde_json::from_slice(&bytes);
    parsed.map_err(|error| Misuse(format!("the input is not JSON: {error}")))?;
    Ok(bytes)
}

fn list(session: &Session, plugin: Option<&str>, schemas: bool) -> Result<()> {
    let mut answer = session.api.get("/v1/tools")?;
    if let (Some(plugin), Some(tools)) = (plugin, tools_mut(&mut answer)) {
        tools.retain(|tool| tool["plugin"] == plugin);
    }
    session.format.show(&answer, |answer| {
        let tools = list_of(answer, "tools");
        let tools = tools.as_array().cloned().unwrap_or_default();
        if schemas {
            let parts = tools.iter().map(|tool| {
                let schema =
                    serde_json::to_string_pretty(&tool["input_schema"]).unwrap_or_default();
                format!(
                    "{}/{}\n{}\n{schema}\n",
                    cell(tool, "plugin"),
                    cell(tool, "name"),
                    cell(tool, "description")
                )
            });
            return parts.collect::<Vec<_>>().join("\n");
        }
        let lines: Vec<Vec<String>> = tools
            .iter()
            .map(|tool| {
                let first = cell(tool, "description")
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                vec![
                    format!("{}/{}", cell(tool, "plugin"), cell(tool, "name")),
                    cell(tool, "class"),
                    first,
                ]
            })
            .collect();
        table(&["TOOL", "CLASS", "WHAT IT DOES"], &lines)
    })
}

fn tools_mut(answer: &mut Value) -> Option<&mut Vec<Value>> {
    match answer {
        Value::Array(tools) => Some(tools),
        other => other.get_mut("tools")?.as_array_mut(),
    }
}

fn call(session: &Session, request: &Request, verbose: bool) -> Result<()> {
    let reply: Value = session.api.value(request)?;
    if session.format == Format::Json {
        print(&serde_json::to_string_pretty(&reply)?);
        return Ok(());
    }
    print(&serde_json::to_string_pretty(
        reply.get("output").context("the reply has no output")?,
    )?);
    if verbose {
        for part in ["usage", "denials", "log"] {
            if let Some(value) = reply.get(part).filter(|value| !value.is_null()) {
                eprintln!("{part}: {}", serde_json::to_string_pretty(value)?);
            }
        }
    }
    Ok(())
}
