//! `airlock tool`.

use std::io::{IsTerminal, Write as _, stderr};

use airlock_sandbox::Limits;
use anyhow::{Context, Result};
use serde_json::Value;

use super::described::first_line;
use super::plugins::list_of;
use super::{Session, read_input};
use crate::cli::Tool;
use crate::client::{Request, encode};
use crate::exit::{Failure, Misuse};
use crate::output::{Format, cell, json_text, one_line, print, print_error, table};

pub(super) fn run(session: &Session, command: Tool) -> Result<()> {
    match command {
        Tool::List { plugin, schemas } => list(session, plugin.as_deref(), schemas),
        Tool::Call {
            tool,
            input,
            idempotency_key,
            timeout,
            verbose,
            log,
            progress,
        } => {
            let (plugin, name) = tool.split_once('/').ok_or_else(|| {
                Misuse(format!(
                    "`{tool}` is not PLUGIN/TOOL; see airlock tool list"
                ))
            })?;
            let query = if log { "?log=true" } else { "" };
            let mut request = Request::bytes(
                "POST",
                format!("/v1/tools/{}/{}{query}", encode(plugin), encode(name)),
                "application/json",
                input_bytes(&input)?,
            );
            if let Some(key) = idempotency_key {
                request = request.header("idempotency-key", key);
            }
            if let Some(timeout) = timeout {
                request = request.header("airlock-timeout-ms", milliseconds(&timeout)?);
            }
            let reply = match progress || stderr().is_terminal() {
                true => followed(session, &request),
                false => session.api.value(&request),
            };
            if log && session.format == Format::Text {
                print_log(&reply);
            }
            let reply = reply.map_err(|error| advised(error, plugin))?;
            show(session, &reply, verbose)
        }
    }
}

fn milliseconds(timeout: &str) -> Result<String> {
    let time = humantime::parse_duration(timeout).map_err(|error| {
        Misuse(format!(
            "`{timeout}` is not a time ({error}); write e.g. `2s`"
        ))
    })?;
    Ok(time.as_millis().to_string())
}

/// What the tool wrote, a line for each record, whether or not it failed.
fn print_log(reply: &Result<Value>) {
    let log = match reply {
        Ok(reply) => reply.get("log"),
        Err(error) => error
            .downcast_ref::<Failure>()
            .and_then(|failure| failure.problem.get("log")),
    };
    for record in log.and_then(Value::as_array).into_iter().flatten() {
        print_error(&record_text(record));
    }
}

/// E.g. `stderr: reading a.csv`, without anything a terminal acts on.
fn record_text(record: &Value) -> String {
    let mut text = format!("{}: {}", cell(record, "level"), cell(record, "message"));
    for field in record["fields"].as_array().into_iter().flatten() {
        let part = |index: usize| field[index].as_str().unwrap_or_default();
        text.push_str(&format!(" {}={:?}", part(0), part(1)));
    }
    one_line(&text)
}

/// With what to do about a denial, a limit or a wrong name.
fn advised(mut error: anyhow::Error, plugin: &str) -> anyhow::Error {
    let Some(failure) = error.downcast_mut::<Failure>() else {
        return error;
    };
    // A denial may name its own remedy.
    let remedied = failure.problem["denial"]["rule"]
        .as_str()
        .is_some_and(|rule| rule.contains(": airlock "));
    let granted = failure.problem["granted"] == true;
    let capability = cell(&failure.problem["denial"], "capability");
    let limit = failure.problem["limit"].as_str().map(one_line);
    failure.hint = match (failure.code.as_str(), limit) {
        ("denied", _) if remedied => return error,
        ("denied", _) if granted => format!(
            "it is granted {}, but not for this; what it is granted: airlock grants {plugin}",
            one_line(&capability)
        ),
        ("denied", _) => {
            format!("what it asks for, and how to grant it: airlock plugin inspect {plugin}")
        }
        ("plugin-not-found", _) => "which tools there are: airlock tool list".to_owned(),
        ("tool-not-found", _) => format!("its tools: airlock tool list --plugin {plugin}"),
        ("limit", Some(limit)) if is_granted(&limit) => {
            format!("an administrator can raise it: airlock grant {plugin} --limit {limit}=…")
        }
        _ => return error,
    };
    error
}

/// Whether it is one of those that are granted; a tool may tell of limits of its own.
fn is_granted(limit: &str) -> bool {
    let limits = serde_json::to_value(Limits::default());
    limits.is_ok_and(|limits| limits.get(limit).is_some())
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
                vec![
                    format!("{}/{}", cell(tool, "plugin"), cell(tool, "name")),
                    match tool["sandboxed"] == false {
                        true => format!("{}, not sandboxed", cell(tool, "class")),
                        false => cell(tool, "class"),
                    },
                    first_line(&cell(tool, "description")),
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

/// Makes the call and shows its progress: on a terminal in one line that is
/// written over, else a line for each report.
fn followed(session: &Session, request: &Request) -> Result<Value> {
    let terminal = stderr().is_terminal();
    let mut shown = false;
    let reply = session.api.call(request, &mut |progress| {
        shown = true;
        match terminal {
            true => drop(write!(stderr(), "\r\x1b[2K{}", progress_text(progress))),
            false => print_error(&progress_text(progress)),
        }
    });
    if terminal && shown {
        print_error("");
    }
    reply
}

/// E.g. `3/12 reading a.csv`, without anything a terminal acts on.
fn progress_text(progress: &Value) -> String {
    let number = |name: &str| progress[name].as_f64();
    let done = number("done").unwrap_or_default();
    let total = number("total").map(|total| format!("/{total}"));
    let message = cell(progress, "message");
    let text = format!("{done}{} {message}", total.unwrap_or_default());
    one_line(&text)
}

fn show(session: &Session, reply: &Value, verbose: bool) -> Result<()> {
    if session.format == Format::Json {
        return print(&json_text(reply)?);
    }
    let output = reply.get("output").context("the reply has no output")?;
    print(&json_text(output)?)?;
    if verbose {
        for part in ["usage", "denials"] {
            if let Some(value) = reply.get(part).filter(|value| !value.is_null()) {
                print_error(&format!("{part}: {}", json_text(value)?));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_is_one_line() {
        let table = [
            (
                json!({ "at_us": 1, "level": "stdout", "message": "hello" }),
                "stdout: hello",
            ),
            (
                json!({ "level": "warn", "message": "\u{1b}[2J", "fields": [["file", "a b"]] }),
                "warn: \\u{1b}[2J file=\"a b\"",
            ),
        ];
        for (record, expect) in table {
            assert_eq!(record_text(&record), expect);
        }
    }

    fn hint(problem: Value) -> String {
        let failure = Failure {
            status: 403,
            code: cell(&problem, "code"),
            problem,
            hint: String::new(),
        };
        let error = advised(failure.into(), "p");
        let failure = error.downcast_ref::<Failure>();
        failure.expect("a failure").hint.clone()
    }

    #[test]
    fn a_hint_says_what_helps() {
        let denied = |granted: Value, rule: &str| {
            let denial = json!({ "capability": "http", "operation": "GET x", "rule": rule });
            json!({ "code": "denied", "denial": denial, "granted": granted })
        };
        let wanted = "what it asks for, and how to grant it: airlock plugin inspect p";
        let table = [
            (denied(json!(false), "no rule"), wanted),
            (denied(Value::Null, "no rule"), wanted),
            (
                denied(json!(true), "`allow_private = true` in the rule"),
                "it is granted http, but not for this; what it is granted: airlock grants p",
            ),
            (denied(json!(true), "mend it: airlock plugin accept p"), ""),
            (denied(json!(false), "mend it: airlock plugin accept p"), ""),
            (
                json!({ "code": "plugin-not-found" }),
                "which tools there are: airlock tool list",
            ),
            (
                json!({ "code": "tool-not-found" }),
                "its tools: airlock tool list --plugin p",
            ),
            (json!({ "code": "permanent" }), ""),
        ];
        for (problem, expect) in table {
            assert_eq!(hint(problem.clone()), expect, "{problem}");
        }
    }

    #[test]
    fn what_no_grant_raises_is_not_said_to_be_raised_by_one() {
        let table = [
            (
                "cpu",
                "an administrator can raise it: airlock grant p --limit cpu=…",
            ),
            (
                "host_memory",
                "an administrator can raise it: airlock grant p --limit host_memory=…",
            ),
            // Of a tool's own: there is no such limit.
            ("response", ""),
            ("stack", ""),
            ("", ""),
            ("cpu=1h --limit wall", ""),
        ];
        for (limit, expect) in table {
            let problem = json!({ "code": "limit", "limit": limit });
            assert_eq!(hint(problem), expect, "{limit}");
        }
    }

    #[test]
    fn progress_is_one_short_line() {
        let table = [
            (
                json!({ "done": 3.0, "total": 12.0, "message": "a.csv" }),
                "3/12 a.csv",
            ),
            (json!({ "done": 0.5, "message": "halfway" }), "0.5 halfway"),
            (
                json!({ "done": 1.0, "message": "\r\u{1b}[2J\u{202e}" }),
                "1 \\u{d}\\u{1b}[2J\\u{202e}",
            ),
            (
                json!({ "done": 1.0, "message": "a\nairlock: done" }),
                "1 a\\nairlock: done",
            ),
        ];
        for (progress, expect) in table {
            assert_eq!(progress_text(&progress), expect);
        }
    }
}
