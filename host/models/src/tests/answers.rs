//! Whole answers, as providers send them.

use serde_json::json;

use super::called;
use crate::answer::{EmbedRequest, Finish, Usage};
use crate::config::Kind;
use crate::error::{Fate, Why};
use crate::protocol::{Parsed, answer, embeddings};

fn usage(input_tokens: u64, cached_tokens: u64, output_tokens: u64) -> Option<Usage> {
    Some(Usage {
        input_tokens,
        cached_tokens,
        output_tokens,
        estimated: false,
    })
}

fn parsed(text: &str, finish: Finish) -> Parsed {
    Parsed {
        text: text.to_owned(),
        finish: Some(finish),
        ..Parsed::default()
    }
}

const CHAT_TEXT: &str = r#"{
  "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1741569952,
  "model": "gpt-4.1-2025-04-14",
  "choices": [{ "index": 0, "message": { "role": "assistant", "content": "Hello! How can I assist you today?", "refusal": null, "annotations": [] }, "logprobs": null, "finish_reason": "stop" }],
  "usage": { "prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29, "prompt_tokens_details": { "cached_tokens": 4, "audio_tokens": 0 }, "completion_tokens_details": { "reasoning_tokens": 0 } },
  "service_tier": "default", "a_new_member": { "deep": [1] }
}"#;

const CHAT_CALLS: &str = r#"{
  "choices": [{ "index": 0, "message": { "role": "assistant", "content": null, "tool_calls": [
    { "id": "call_a", "type": "function", "function": { "name": "get_weather", "arguments": "{\n\"location\": \"Paris\"\n}" } },
    { "id": "call_b", "type": "function", "function": { "name": "get_weather", "arguments": "{\"location\": \"Rome\"" } } ] },
    "finish_reason": "tool_calls" }],
  "usage": { "prompt_tokens": 82, "completion_tokens": 17, "total_tokens": 99 }
}"#;

#[test]
fn chat_completions_are_read() {
    let text = answer(Kind::OpenaiChat, CHAT_TEXT.as_bytes()).expect("an answer");
    let expected = parsed("Hello! How can I assist you today?", Finish::Stop);
    assert_eq!(
        text,
        Parsed {
            usage: usage(19, 4, 10),
            ..expected
        }
    );

    let calls = answer(Kind::OpenaiChat, CHAT_CALLS.as_bytes()).expect("an answer");
    let expected = vec![
        called("call_a", "get_weather", "{\n\"location\": \"Paris\"\n}"),
        called("call_b", "get_weather", "{\"location\": \"Rome\""),
    ];
    assert_eq!(
        calls.calls, expected,
        "what is no JSON is kept for the agent to see"
    );
    assert_eq!(calls.finish, Some(Finish::ToolCalls));
}

#[test]
fn chat_completions_of_all_kinds() {
    let choice = |message: serde_json::Value, finish: &str| {
        json!({ "choices": [{ "message": message, "finish_reason": finish }] }).to_string()
    };
    let call = json!({ "function": { "name": "a", "arguments": { "x": 1 } } });
    let no_arguments = json!({ "id": "i", "function": { "name": "a" } });
    let cases = [
        (choice(json!({ "content": "x" }), "length"), parsed("x", Finish::Length)),
        (choice(json!({ "content": "x" }), "content_filter"), parsed("x", Finish::ContentFilter)),
        (choice(json!({ "content": "x" }), "a_new_reason"), parsed("x", Finish::Other)),
        (choice(json!({ "content": "" }), "stop"), parsed("", Finish::Stop)),
        (choice(json!({ "content": null, "refusal": "I'm sorry" }), "stop"), Parsed { refusal: Some("I'm sorry".to_owned()), ..parsed("", Finish::Refusal) }),
        (choice(json!({ "content": "x", "refusal": "" }), "stop"), parsed("x", Finish::Stop)),
        // Servers that speak alike: no id, the object itself, another reason to stop.
        (choice(json!({ "tool_calls": [call] }), "stop"), Parsed { calls: vec![called("call_0", "a", r#"{"x":1}"#)], ..parsed("", Finish::ToolCalls) }),
        (choice(json!({ "tool_calls": [no_arguments] }), "tool_calls"), Parsed { calls: vec![called("i", "a", "{}")], ..parsed("", Finish::ToolCalls) }),
        (choice(json!({ "content": "x", "tool_calls": null }), "stop"), parsed("x", Finish::Stop)),
        (r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":"many"}}"#.to_owned(), parsed("x", Finish::Stop)),
        (r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5}}"#.to_owned(), parsed("x", Finish::Stop)),
        (r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":9}}}"#.to_owned(), Parsed { usage: usage(5, 5, 1), ..parsed("x", Finish::Stop) }),
    ];
    for (body, expected) in cases {
        assert_eq!(
            answer(Kind::OpenaiCompatible, body.as_bytes()),
            Ok(expected),
            "{body}"
        );
    }
}

const RESPONSE: &str = r#"{
  "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b", "object": "response", "created_at": 1741476542, "status": "completed", "error": null, "incomplete_details": null, "model": "gpt-4.1",
  "output": [
    { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": null },
    { "type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [ { "type": "output_text", "text": "In a ", "annotations": [] }, { "type": "output_text", "text": "grove", "annotations": [] }, { "type": "a_new_part" } ] },
    { "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "get_weather", "arguments": "{\"location\":\"Paris\"}", "status": "completed" },
    { "type": "web_search_call", "id": "ws_1" } ],
  "usage": { "input_tokens": 36, "input_tokens_details": { "cached_tokens": 6 }, "output_tokens": 87, "output_tokens_details": { "reasoning_tokens": 80 }, "total_tokens": 123 }
}"#;

#[test]
fn responses_are_read() {
    let whole = answer(Kind::OpenaiResponses, RESPONSE.as_bytes()).expect("an answer");
    let expected = Parsed {
        calls: vec![called("call_1", "get_weather", r#"{"location":"Paris"}"#)],
        usage: usage(36, 6, 87),
        ..parsed("In a grove", Finish::ToolCalls)
    };
    assert_eq!(whole, expected);
    let cases = [
        (
            r#"{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}"#,
            Finish::Length,
        ),
        (
            r#"{"status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[]}"#,
            Finish::ContentFilter,
        ),
        (r#"{"status":"incomplete","output":null}"#, Finish::Other),
        (
            r#"{"status":"completed","output":[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}]}"#,
            Finish::Refusal,
        ),
    ];
    for (body, finish) in cases {
        let found = answer(Kind::OpenaiResponses, body.as_bytes()).expect(body);
        assert_eq!(found.finish, Some(finish), "{body}");
    }
    let failed = r#"{"status":"failed","error":{"code":"rate_limit_exceeded","message":"later"},"output":[]}"#;
    let failed = answer(Kind::OpenaiResponses, failed.as_bytes()).expect_err("it failed");
    assert_eq!((failed.why, failed.fate), (Why::RateLimit, Fate::Unknown));
}

const MESSAGE: &str = r#"{
  "id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
  "content": [ { "type": "thinking", "thinking": "…", "signature": "x" }, { "type": "text", "text": "Okay." },
    { "type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": { "location": "Paris", "days": 3 } },
    { "type": "tool_use", "id": "toolu_02", "name": "now", "input": {} } ],
  "stop_reason": "tool_use", "stop_sequence": null, "container": null,
  "usage": { "input_tokens": 2095, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 50, "output_tokens": 503, "service_tier": "standard", "cache_creation": { "ephemeral_5m_input_tokens": 100 } }
}"#;

#[test]
fn messages_are_read() {
    let whole = answer(Kind::Anthropic, MESSAGE.as_bytes()).expect("an answer");
    let expected = Parsed {
        calls: vec![
            called(
                "toolu_01",
                "get_weather",
                r#"{"location":"Paris","days":3}"#,
            ),
            called("toolu_02", "now", "{}"),
        ],
        usage: usage(2_245, 50, 503),
        ..parsed("Okay.", Finish::ToolCalls)
    };
    assert_eq!(whole, expected);
    let reasons = [
        ("end_turn", Finish::Stop),
        ("stop_sequence", Finish::Stop),
        ("max_tokens", Finish::Length),
        ("model_context_window_exceeded", Finish::Length),
        ("refusal", Finish::Refusal),
        ("pause_turn", Finish::Other),
    ];
    for (reason, finish) in reasons {
        let body = json!({ "content": [{ "type": "text", "text": "x" }], "stop_reason": reason });
        let found = answer(Kind::Anthropic, body.to_string().as_bytes()).expect(reason);
        assert_eq!(found, parsed("x", finish), "{reason}");
    }
}

#[test]
fn what_is_no_answer_is_refused_and_not_quoted() {
    let twice = json!({ "choices": [{ "message": { "tool_calls": [{ "id": "i", "function": { "name": "a" } }, { "id": "i", "function": { "name": "b" } }] }, "finish_reason": "tool_calls" }] });
    let many: Vec<_> = (0..200)
        .map(|at| json!({ "id": format!("{at}"), "function": { "name": "a" } }))
        .collect();
    let many = json!({ "choices": [{ "message": { "tool_calls": many }, "finish_reason": "tool_calls" }] });
    let cases = [
        (Kind::OpenaiChat, "".to_owned(), "is no JSON"),
        (
            Kind::OpenaiChat,
            "<html>secret-word</html>".to_owned(),
            "is no JSON",
        ),
        (
            Kind::OpenaiChat,
            "[]".to_owned(),
            "the form of its protocol",
        ),
        (
            Kind::OpenaiChat,
            r#"{"choices":"secret-word"}"#.to_owned(),
            "the form of its protocol",
        ),
        (
            Kind::OpenaiChat,
            r#"{"choices":[]}"#.to_owned(),
            "no choice",
        ),
        (
            Kind::OpenaiChat,
            r#"{"choices":[{"message":{"content":"x"}}]}"#.to_owned(),
            "broke off",
        ),
        (
            Kind::OpenaiChat,
            r#"{"choices":[{"message":{"content":"x"},"finish_reason":"tool_calls"}]}"#.to_owned(),
            "calls none",
        ),
        (Kind::OpenaiChat, twice.to_string(), "have one id"),
        (Kind::OpenaiChat, many.to_string(), "more than 128 calls"),
        (
            Kind::OpenaiResponses,
            r#"{"output":[]}"#.to_owned(),
            "no known status",
        ),
        (
            Kind::Anthropic,
            r#"{"content":[],"stop_reason":"tool_use"}"#.to_owned(),
            "calls none",
        ),
        (Kind::Anthropic, r#"{"content":[]}"#.to_owned(), "broke off"),
    ];
    for (kind, body, expected) in cases {
        let failed = answer(kind, body.as_bytes()).expect_err(expected);
        let text = failed.error.to_string();
        assert!(text.contains(expected), "{body}: {text}");
        assert!(!text.contains("secret-word"), "{text}");
        assert!(matches!(failed.why, Why::Garbled | Why::Cut));
    }
}

#[test]
fn vectors_are_read_in_the_texts_order() {
    let request = |texts: &[&str], dimensions| EmbedRequest {
        role: "search".to_owned(),
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        dimensions,
    };
    let two = request(&["a", "b"], None);
    assert_eq!(
        embeddings::body("e-1", &request(&["a"], Some(2))).expect("it is written"),
        r#"{"model":"e-1","input":["a"],"encoding_format":"float","dimensions":2}"#
    );
    let body = br#"{"object":"list","data":[{"index":1,"embedding":[0.5,-1]},{"index":0,"embedding":[1e-3,2]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    let (vectors, usage) = embeddings::answer(&two, body).expect("vectors");
    assert_eq!(vectors, [[0.001, 2.0], [0.5, -1.0]]);
    assert_eq!(usage.map(|usage| usage.input_tokens), Some(8));
    let bad = [
        (r#"{"data":[{"index":0,"embedding":[1]}]}"#, "too few"),
        (
            r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
            "no text",
        ),
        (
            r#"{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}]}"#,
            "no text",
        ),
        (
            r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2]}]}"#,
            "not one length",
        ),
        (
            r#"{"data":[{"index":0,"embedding":[]},{"index":1,"embedding":[]}]}"#,
            "not one length",
        ),
        (
            r#"{"data":[{"index":0,"embedding":[1e300]},{"index":1,"embedding":[1]}]}"#,
            "not finite",
        ),
        (
            r#"{"data":[{"index":0,"embedding":"AAAA"}]}"#,
            "form of its protocol",
        ),
    ];
    for (body, expected) in bad {
        let failed = embeddings::answer(&two, body.as_bytes()).expect_err(expected);
        assert!(
            failed.error.to_string().contains(expected),
            "{body}: {failed:?}"
        );
    }
    let longer = request(&["a"], Some(3));
    embeddings::answer(&longer, br#"{"data":[{"index":0,"embedding":[1]}]}"#)
        .expect_err("another length");
    for (texts, dimensions) in [(&[][..], None), (&[""], None), (&["a"], Some(0))] {
        request(texts, dimensions)
            .check()
            .expect_err("it can't be asked");
    }
}
