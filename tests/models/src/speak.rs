//! An answer in each protocol's words, whole and as a stream.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Seen;
use crate::http::Event;
use crate::script::{Raw, Reply};

/// An error in the shape of the path's protocol.
pub(crate) fn refused(path: &str, status: u16, why: &str) -> Raw {
    let body = match path.ends_with("/messages") {
        true => json!({ "type": "error", "error": { "type": kind(status), "message": why } }),
        false => {
            json!({ "error": { "message": why, "type": kind(status), "param": null, "code": null } })
        }
    };
    Raw {
        status,
        headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
        body: body.to_string(),
    }
}

fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        404 => "not_found_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// The body of an answer that is not streamed.
pub(crate) fn whole(seen: &Seen, reply: &Reply) -> Value {
    match seen.path.rsplit('/').next().unwrap_or_default() {
        "responses" => response(seen, reply, &reply.text),
        "messages" => message(seen, reply),
        "embeddings" => embeddings(seen, reply),
        _ => completion(seen, reply),
    }
}

/// The events of one that is.
pub(crate) fn events(seen: &Seen, reply: &Reply) -> Vec<Event> {
    match seen.path.rsplit('/').next().unwrap_or_default() {
        "responses" => response_events(seen, reply),
        "messages" => message_events(seen, reply),
        _ => completion_events(seen, reply),
    }
}

/// What is said when the provider gives up within a stream.
pub(crate) fn error_event(seen: &Seen) -> Event {
    let error = json!({ "type": "overloaded_error", "message": "Overloaded" });
    match seen.path.rsplit('/').next().unwrap_or_default() {
        "messages" => (
            Some("error"),
            json!({ "type": "error", "error": error }).to_string(),
        ),
        "responses" => {
            let error = json!({ "type": "error", "code": "server_error", "message": "Overloaded" });
            (Some("error"), error.to_string())
        }
        _ => (None, json!({ "error": error }).to_string()),
    }
}

fn pieces(text: &str, reply: &Reply) -> Vec<String> {
    let each = if reply.damage.piece_chars == 0 {
        5
    } else {
        reply.damage.piece_chars
    };
    let chars: Vec<char> = text.chars().collect();
    chars
        .chunks(each)
        .map(|piece| piece.iter().collect())
        .collect()
}

/// The reason to stop, by the names of one protocol.
fn finish(reply: &Reply, names: [&'static str; 5]) -> String {
    let ours = ["stop", "length", "tool-calls", "content-filter", "refusal"];
    let usual = if reply.calls.is_empty() {
        "stop"
    } else {
        "tool-calls"
    };
    let wanted = reply.finish.as_deref().unwrap_or(usual);
    let known = ours.iter().position(|name| *name == wanted);
    known.map_or(wanted, |at| names[at]).to_owned()
}

fn chat_finish(reply: &Reply) -> String {
    finish(
        reply,
        ["stop", "length", "tool_calls", "content_filter", "stop"],
    )
}

fn chat_usage(reply: &Reply) -> Value {
    reply.usage.map_or(Value::Null, |usage| {
        json!({
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
            "prompt_tokens_details": { "cached_tokens": usage.cached, "audio_tokens": 0 },
        })
    })
}

fn completion(seen: &Seen, reply: &Reply) -> Value {
    let calls: Vec<Value> = reply
        .calls
        .iter()
        .map(|call| {
            let function = json!({ "name": call.name, "arguments": call.arguments });
            json!({ "id": call.id, "type": "function", "function": function })
        })
        .collect();
    let mut said = json!({ "role": "assistant", "content": reply.text, "refusal": reply.refusal, "annotations": [] });
    if !calls.is_empty() {
        said["tool_calls"] = calls.into();
    }
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000,
        "model": seen.body["model"],
        "choices": [{ "index": 0, "message": said, "logprobs": null, "finish_reason": chat_finish(reply) }],
        "usage": chat_usage(reply),
        "system_fingerprint": "fp_1",
    })
}

fn completion_events(seen: &Seen, reply: &Reply) -> Vec<Event> {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": seen.body["model"], "choices": choices, "usage": usage,
        });
        (None, chunk.to_string())
    };
    let delta = |delta: Value| {
        chunk(
            json!([{ "index": 0, "delta": delta, "finish_reason": null }]),
            Value::Null,
        )
    };
    let mut events = vec![delta(json!({ "role": "assistant", "content": "" }))];
    events.extend(
        pieces(&reply.text, reply)
            .iter()
            .map(|piece| delta(json!({ "content": piece }))),
    );
    for piece in reply.refusal.iter().flat_map(|text| pieces(text, reply)) {
        events.push(delta(json!({ "refusal": piece })));
    }
    for (index, call) in reply.calls.iter().enumerate() {
        let begins = json!({ "index": index, "id": call.id, "type": "function", "function": { "name": call.name, "arguments": "" } });
        events.push(delta(json!({ "tool_calls": [begins] })));
        for piece in pieces(&call.arguments, reply) {
            let more = json!({ "index": index, "function": { "arguments": piece } });
            events.push(delta(json!({ "tool_calls": [more] })));
        }
    }
    events.push(chunk(
        json!([{ "index": 0, "delta": {}, "finish_reason": chat_finish(reply) }]),
        Value::Null,
    ));
    if reply.usage.is_some() {
        events.push(chunk(json!([]), chat_usage(reply)));
    }
    events.push((None, "[DONE]".to_owned()));
    events
}

fn response(seen: &Seen, reply: &Reply, text: &str) -> Value {
    let reason = finish(
        reply,
        [
            "completed",
            "max_output_tokens",
            "completed",
            "content_filter",
            "completed",
        ],
    );
    let (status, details) = match reason.as_str() {
        "completed" => ("completed", Value::Null),
        reason => ("incomplete", json!({ "reason": reason })),
    };
    let mut output = vec![json!({ "type": "reasoning", "id": "rs_1", "summary": [] })];
    let mut content = Vec::new();
    if !text.is_empty() {
        content.push(json!({ "type": "output_text", "text": text, "annotations": [] }));
    }
    if let Some(refusal) = &reply.refusal {
        content.push(json!({ "type": "refusal", "refusal": refusal }));
    }
    if !content.is_empty() {
        output.push(json!({ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content }));
    }
    for call in &reply.calls {
        output.push(json!({ "type": "function_call", "id": "fc_1", "call_id": call.id, "name": call.name, "arguments": call.arguments, "status": "completed" }));
    }
    let usage = reply.usage.map_or(Value::Null, |usage| {
        json!({
            "input_tokens": usage.input, "output_tokens": usage.output,
            "input_tokens_details": { "cached_tokens": usage.cached },
            "output_tokens_details": { "reasoning_tokens": 0 },
        })
    });
    json!({
        "id": "resp_1", "object": "response", "status": status, "incomplete_details": details,
        "error": null, "model": seen.body["model"], "output": output, "usage": usage,
    })
}

fn response_events(seen: &Seen, reply: &Reply) -> Vec<Event> {
    let event = |name: &'static str, mut data: Value| {
        data["type"] = name.into();
        (Some(name), data.to_string())
    };
    let begun = json!({ "id": "resp_1", "status": "in_progress", "output": [] });
    let mut events = vec![event("response.created", json!({ "response": begun }))];
    for piece in pieces(&reply.text, reply) {
        events.push(event(
            "response.output_text.delta",
            json!({ "output_index": 1, "content_index": 0, "delta": piece }),
        ));
    }
    for piece in reply.refusal.iter().flat_map(|text| pieces(text, reply)) {
        events.push(event(
            "response.refusal.delta",
            json!({ "output_index": 1, "content_index": 0, "delta": piece }),
        ));
    }
    for (at, call) in reply.calls.iter().enumerate() {
        let index = at + 2;
        let item = json!({ "type": "function_call", "id": "fc_1", "call_id": call.id, "name": call.name, "arguments": "" });
        events.push(event(
            "response.output_item.added",
            json!({ "output_index": index, "item": item }),
        ));
        for piece in pieces(&call.arguments, reply) {
            events.push(event(
                "response.function_call_arguments.delta",
                json!({ "output_index": index, "delta": piece }),
            ));
        }
        events.push(event(
            "response.function_call_arguments.done",
            json!({ "output_index": index, "arguments": call.arguments }),
        ));
    }
    let text = reply.damage.other_text.as_ref().unwrap_or(&reply.text);
    let whole = response(seen, reply, text);
    let name = match whole["status"].as_str() {
        Some("completed") => "response.completed",
        _ => "response.incomplete",
    };
    events.push(event(name, json!({ "response": whole })));
    events
}

fn message_stop(reply: &Reply) -> String {
    finish(
        reply,
        ["end_turn", "max_tokens", "tool_use", "refusal", "refusal"],
    )
}

fn input(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_else(|_| Value::String(arguments.to_owned()))
}

fn message_usage(reply: &Reply) -> Value {
    reply.usage.map_or(Value::Null, |usage| {
        json!({
            "input_tokens": usage.input - usage.cached, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": usage.cached, "output_tokens": usage.output,
            "service_tier": "standard",
        })
    })
}

fn message(seen: &Seen, reply: &Reply) -> Value {
    let mut content = vec![json!({ "type": "thinking", "thinking": "…", "signature": "s" })];
    if !reply.text.is_empty() {
        content.push(json!({ "type": "text", "text": reply.text }));
    }
    for call in &reply.calls {
        content.push(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input(&call.arguments) }));
    }
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": seen.body["model"],
        "content": content, "stop_reason": message_stop(reply), "stop_sequence": null,
        "usage": message_usage(reply),
    })
}

fn message_events(seen: &Seen, reply: &Reply) -> Vec<Event> {
    let event = |name: &'static str, mut data: Value| {
        data["type"] = name.into();
        (Some(name), data.to_string())
    };
    let mut usage = message_usage(reply);
    if usage.is_object() {
        usage["output_tokens"] = 1.into();
    }
    let begun = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": seen.body["model"], "content": [], "stop_reason": null, "usage": usage });
    let mut events = vec![event("message_start", json!({ "message": begun }))];
    let mut index = 0;
    let mut block = |block: Value, deltas: Vec<Value>| {
        events.push(event(
            "content_block_start",
            json!({ "index": index, "content_block": block }),
        ));
        events.extend(deltas.into_iter().map(|delta| {
            event(
                "content_block_delta",
                json!({ "index": index, "delta": delta }),
            )
        }));
        events.push(event("content_block_stop", json!({ "index": index })));
        index += 1;
    };
    block(
        json!({ "type": "thinking", "thinking": "" }),
        vec![json!({ "type": "thinking_delta", "thinking": "…" })],
    );
    if !reply.text.is_empty() {
        let deltas = pieces(&reply.text, reply);
        let deltas = deltas
            .iter()
            .map(|piece| json!({ "type": "text_delta", "text": piece }));
        block(json!({ "type": "text", "text": "" }), deltas.collect());
    }
    for call in &reply.calls {
        let deltas = pieces(&call.arguments, reply);
        let deltas = deltas
            .iter()
            .map(|piece| json!({ "type": "input_json_delta", "partial_json": piece }));
        block(
            json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": {} }),
            deltas.collect(),
        );
    }
    let output = reply.usage.map_or(
        Value::Null,
        |usage| json!({ "output_tokens": usage.output }),
    );
    events.push(event("message_delta", json!({ "delta": { "stop_reason": message_stop(reply), "stop_sequence": null }, "usage": output })));
    events.push(event("message_stop", json!({})));
    events
}

/// Vectors that depend on their text alone.
fn embeddings(seen: &Seen, reply: &Reply) -> Value {
    let texts = seen.body["input"].as_array().cloned().unwrap_or_default();
    let length = seen.body["dimensions"]
        .as_u64()
        .map_or(reply.dimensions, |length| length as usize);
    let vector = |text: &Value| -> Vec<f64> {
        let text = text.as_str().unwrap_or_default();
        let sum: u32 = text.bytes().map(u32::from).sum();
        (0..length)
            .map(|at| f64::from((sum + at as u32) % 100) / 100.0)
            .collect()
    };
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        // Out of order, as the protocol allows.
        .rev()
        .map(|(index, text)| json!({ "object": "embedding", "index": index, "embedding": vector(text) }))
        .collect();
    let usage = reply.usage.map_or(
        Value::Null,
        |usage| json!({ "prompt_tokens": usage.input, "total_tokens": usage.input }),
    );
    json!({ "object": "list", "model": seen.body["model"], "data": data, "usage": usage })
}
