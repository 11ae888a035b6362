//! What a real provider refuses is refused.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Seen;

type Checked = Result<(), (u16, String)>;

/// Members that the protocols have, as far as anybody here sends them.
const CHAT: &[&str] = &[
    "model",
    "messages",
    "tools",
    "tool_choice",
    "response_format",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "stop",
    "seed",
    "stream",
    "stream_options",
];
const RESPONSES: &[&str] = &[
    "model",
    "input",
    "tools",
    "tool_choice",
    "text",
    "max_output_tokens",
    "temperature",
    "store",
    "stream",
];
const MESSAGES: &[&str] = &[
    "model",
    "max_tokens",
    "system",
    "messages",
    "tools",
    "tool_choice",
    "output_config",
    "temperature",
    "stop_sequences",
    "stream",
];
const EMBEDDINGS: &[&str] = &["model", "input", "encoding_format", "dimensions"];

pub(crate) fn check(seen: &Seen, key: Option<&str>) -> Checked {
    let anthropic = seen.path.ends_with("/messages");
    if let Some(key) = key {
        let bearer = format!("Bearer {key}");
        let known = match anthropic {
            true => seen.header("x-api-key") == Some(key),
            false => seen.header("authorization") == Some(bearer.as_str()),
        };
        if !known {
            let said = seen.header("authorization").or(seen.header("x-api-key"));
            let said = said.unwrap_or_default();
            // As some providers do: the key stands in the message.
            return Err((401, format!("Incorrect API key provided: {said}")));
        }
    }
    let Value::Object(body) = &seen.body else {
        return wrong("the body is no JSON object");
    };
    let (members, checked) = match seen.path.rsplit('/').next().unwrap_or_default() {
        "completions" => (CHAT, chat(&seen.body)),
        "responses" => (RESPONSES, responses(&seen.body)),
        "messages" => (MESSAGES, messages(seen)),
        "embeddings" => (EMBEDDINGS, Ok(())),
        _ => return Err((404, format!("there is nothing at {}", seen.path))),
    };
    if let Some(name) = body.keys().find(|name| !members.contains(&name.as_str())) {
        return wrong(&format!("unknown parameter: {name}"));
    }
    if !body.get("model").is_some_and(Value::is_string) {
        return wrong("model is missing");
    }
    checked?;
    tools(&seen.body)
}

fn wrong(why: &str) -> Checked {
    Err((400, why.to_owned()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn tools(body: &Value) -> Checked {
    let mut names = BTreeSet::new();
    for tool in list(&body["tools"]) {
        let function = tool.get("function").unwrap_or(tool);
        let name = text(&function["name"]);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return wrong(&format!("tools: `{name}` is no name"));
        }
        if !names.insert(name) {
            return wrong(&format!("tools: `{name}` is there twice"));
        }
        let schema = function.get("parameters").or(function.get("input_schema"));
        if !schema.is_some_and(Value::is_object) {
            return wrong("tools: a schema is missing");
        }
    }
    Ok(())
}

fn chat(body: &Value) -> Checked {
    let mut open = BTreeSet::new();
    for message in list(&body["messages"]) {
        match text(&message["role"]) {
            "tool" => {
                if !open.remove(text(&message["tool_call_id"])) {
                    return wrong("messages: a tool result without its call");
                }
            }
            _ if !open.is_empty() => return wrong("messages: a call without its result"),
            "assistant" => {
                for call in list(&message["tool_calls"]) {
                    if !call["function"]["arguments"].is_string() {
                        return wrong("messages: arguments are a text");
                    }
                    open.insert(text(&call["id"]));
                }
            }
            "system" | "user" => {}
            role => return wrong(&format!("messages: no role `{role}`")),
        }
    }
    match list(&body["messages"]).is_empty() || !open.is_empty() {
        true => wrong("messages: there is none, or a call without its result"),
        false => Ok(()),
    }
}

fn responses(body: &Value) -> Checked {
    let mut calls = BTreeSet::new();
    for item in list(&body["input"]) {
        match text(&item["type"]) {
            "message" => {}
            "function_call" => drop(calls.insert(text(&item["call_id"]))),
            "function_call_output" => {
                if !calls.remove(text(&item["call_id"])) {
                    return wrong("input: an output without its call");
                }
            }
            kind => return wrong(&format!("input: no item `{kind}`")),
        }
    }
    match list(&body["input"]).is_empty() || !calls.is_empty() {
        true => wrong("input: there is none, or a call without its output"),
        false => Ok(()),
    }
}

fn messages(seen: &Seen) -> Checked {
    let body = &seen.body;
    if seen.header("anthropic-version").is_none() {
        return wrong("anthropic-version: header is required");
    }
    if body["max_tokens"].as_u64().is_none_or(|most| most == 0) {
        return wrong("max_tokens: field required");
    }
    let mut expected = "user";
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for message in list(&body["messages"]) {
        if text(&message["role"]) != expected {
            return wrong("messages: roles must alternate, user first");
        }
        expected = if expected == "user" {
            "assistant"
        } else {
            "user"
        };
        let content = list(&message["content"]);
        for block in content {
            match text(&block["type"]) {
                "text" if text(&block["text"]).is_empty() => {
                    return wrong("messages: text content blocks must be non-empty");
                }
                "tool_use" => drop(open.insert(text(&block["id"]))),
                "tool_result" if !open.remove(text(&block["tool_use_id"])) => {
                    return wrong("messages: a tool_result without its tool_use");
                }
                _ => {}
            }
        }
        if expected == "assistant" && !open.is_empty() {
            return wrong("messages: a tool_use without its tool_result");
        }
    }
    match list(&body["messages"]).is_empty() {
        true => wrong("messages: at least one"),
        false => Ok(()),
    }
}
