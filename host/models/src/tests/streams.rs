//! Streams, as providers send them.

use super::called;
use crate::answer::{Event, Finish};
use crate::config::Kind;
use crate::error::{Failed, Fate, Why};
use crate::protocol::{Parsed, decoder};
use crate::sse::SseParser;

/// Reads a stream whose bytes come in pieces of one size.
pub(super) fn read(kind: Kind, bytes: &[u8], each: usize) -> (Vec<Event>, Result<Parsed, Failed>) {
    let mut parser = SseParser::new(1 << 20);
    let mut decoder = decoder(kind);
    let mut told = Vec::new();
    for piece in bytes.chunks(each) {
        let events = match parser.push(piece) {
            Ok(events) => events,
            Err(error) => return (told, Err(Failed::garbled(error.to_string()))),
        };
        for event in events {
            if let Err(failed) = decoder.event(&event, &mut told) {
                return (told, Err(failed));
            }
        }
    }
    (told, decoder.end())
}

pub(super) const CHAT: &str = r#"data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"choices":[{"index":0,"delta":{"content":"Hél"},"finish_reason":null}]}

: keep-alive

data: {"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"read","arguments":""}}]},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"p\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_b","function":{"name":"list"}},{"index":0,"function":{"arguments":"1}"}}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":2}}}

data: [DONE]

"#;

pub(super) const RESPONSES: &str = r#"event: response.created
data: {"type":"response.created","response":{"id":"resp_1","status":"in_progress","output":[]},"sequence_number":0}

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"msg_1","status":"in_progress","role":"assistant","content":[]}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"Hél"}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"lo"}

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","id":"fc_1","call_id":"call_a","name":"read","arguments":""}}

event: response.function_call_arguments.delta
data: {"type":"response.function_call_arguments.delta","output_index":1,"delta":"{\"p\":1}"}

event: response.completed
data: {"type":"response.completed","response":{"id":"resp_1","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"Héllo"}]},{"type":"function_call","call_id":"call_a","name":"read","arguments":"{\"p\":1}"}],"usage":{"input_tokens":9,"output_tokens":12}}}

"#;

pub(super) const MESSAGES: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"m","stop_reason":null,"usage":{"input_tokens":7,"cache_read_input_tokens":2,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hél"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_a","name":"read","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"p\": 1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":12}}

event: message_stop
data: {"type":"message_stop"}

"#;

pub(super) const ALL: [(Kind, &str); 3] = [
    (Kind::OpenaiChat, CHAT),
    (Kind::OpenaiResponses, RESPONSES),
    (Kind::Anthropic, MESSAGES),
];

#[test]
fn streams_are_read_however_they_are_divided() {
    for (kind, text) in ALL {
        let (told, whole) = read(kind, text.as_bytes(), usize::MAX);
        let whole = whole.expect("an answer");
        assert_eq!(
            (whole.text.as_str(), whole.finish),
            ("Héllo", Some(Finish::ToolCalls)),
            "{kind:?}"
        );
        assert_eq!(whole.calls[0].name, "read");
        let usage = whole.usage.expect("it was counted");
        assert_eq!(
            (usage.input_tokens, usage.output_tokens),
            (9, 12),
            "{kind:?}"
        );
        let crlf = text.replace('\n', "\r\n");
        for bytes in [text.as_bytes(), crlf.as_bytes()] {
            for each in [1, 3, 100] {
                assert_eq!(
                    read(kind, bytes, each),
                    (told.clone(), Ok(whole.clone())),
                    "{kind:?}"
                );
            }
        }
    }
    let (_, whole) = read(Kind::OpenaiChat, CHAT.as_bytes(), 10);
    let expected = [
        called("call_a", "read", r#"{"p":1}"#),
        called("call_b", "list", "{}"),
    ];
    assert_eq!(whole.expect("an answer").calls, expected);
}

#[test]
fn what_is_told_is_the_answer() {
    for (kind, text) in ALL {
        let (told, whole) = read(kind, text.as_bytes(), 50);
        let whole = whole.expect("an answer");
        let (mut said, mut arguments) = (String::new(), vec![String::new(); whole.calls.len()]);
        for event in told {
            match event {
                Event::Text { text } => said.push_str(&text),
                Event::Arguments { index, text } => arguments[index as usize].push_str(&text),
                Event::Call { index, id, name } => {
                    let call = &whole.calls[index as usize];
                    assert_eq!((id, name), (call.id.clone(), call.name.clone()));
                }
                Event::Started { .. } | Event::Refusal { .. } => panic!("{event:?}"),
            }
        }
        assert_eq!(said, whole.text);
        for (told, call) in arguments.iter().zip(&whole.calls) {
            assert_eq!(if told.is_empty() { "{}" } else { told }, call.arguments);
        }
    }
}

/// Wherever a stream is cut, nothing is taken for the whole.
#[test]
fn a_stream_that_is_cut_is_no_answer() {
    for (kind, text) in ALL {
        let whole = read(kind, text.as_bytes(), 50).1.expect("an answer");
        for end in 0..text.len() {
            match read(kind, &text.as_bytes()[..end], 50).1 {
                // Chat completions end with the reason to stop; the count and
                // `[DONE]` come after it.
                Ok(parsed) => {
                    assert_eq!(kind, Kind::OpenaiChat, "cut at {end}");
                    let counted = parsed.usage.or(whole.usage);
                    assert_eq!(
                        Parsed {
                            usage: counted,
                            ..parsed
                        },
                        whole,
                        "cut at {end}"
                    );
                }
                Err(failed) => assert_eq!(
                    (failed.why, failed.fate),
                    (Why::Cut, Fate::Unknown),
                    "{kind:?} cut at {end}"
                ),
            }
        }
    }
}

#[test]
fn streams_that_are_wrong_are_refused() {
    let chat = |data: &[&str]| -> String {
        data.iter()
            .map(|data| format!("data: {data}\n\n"))
            .collect()
    };
    let error = |kind: &str| {
        format!(
            r#"event: error{}data: {{"type":"error","error":{{"type":"{kind}","message":"m"}}}}{}"#,
            "\n", "\n\n"
        )
    };
    let other_text = RESPONSES.replace(r#""text":"Héllo""#, r#""text":"Other""#);
    let other_call = RESPONSES.replace(
        r#""call_id":"call_a","name":"read","arguments":"{\"p\":1}"}]"#,
        r#""call_id":"call_a","name":"read","arguments":"{\"p\":2}"}]"#,
    );
    assert_ne!(other_call, RESPONSES);
    let cases = [
        (Kind::OpenaiChat, chat(&["{"]), Why::Garbled, "no JSON"),
        (
            Kind::OpenaiChat,
            chat(&[r#"{"error":{"message":"m","code":"server_error"}}"#]),
            Why::Server,
            "the provider failed: m",
        ),
        (
            Kind::OpenaiChat,
            chat(&[r#"{"error":{"message":"m","type":"rate_limit_error"}}"#]),
            Why::RateLimit,
            "m",
        ),
        (
            Kind::OpenaiChat,
            chat(&[
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"x"}}]}}]}"#,
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"b","function":{"arguments":"1"}}]}}]}"#,
            ]),
            Why::Garbled,
            "one place",
        ),
        (
            Kind::OpenaiChat,
            chat(&[
                r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
                "[DONE]",
            ]),
            Why::Garbled,
            "calls none",
        ),
        (Kind::OpenaiChat, chat(&["[DONE]"]), Why::Cut, "broke off"),
        (
            Kind::OpenaiResponses,
            other_text,
            Why::Garbled,
            "not the one that was streamed",
        ),
        (
            Kind::OpenaiResponses,
            other_call,
            Why::Garbled,
            "not the one that was streamed",
        ),
        (
            Kind::OpenaiResponses,
            chat(&[
                r#"{"type":"response.function_call_arguments.delta","output_index":1,"delta":"x"}"#,
            ]),
            Why::Garbled,
            "arguments of no call",
        ),
        (
            Kind::OpenaiResponses,
            chat(&[r#"{"type":"error","code":"server_error","message":"m"}"#]),
            Why::Server,
            "m",
        ),
        (
            Kind::OpenaiResponses,
            chat(&[
                r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"invalid_prompt","message":"m"}}}"#,
            ]),
            Why::Refusal,
            "m",
        ),
        (Kind::Anthropic, error("overloaded_error"), Why::Server, "m"),
        (
            Kind::Anthropic,
            error("invalid_request_error"),
            Why::Rejected,
            "m",
        ),
        (
            Kind::Anthropic,
            error("authentication_error"),
            Why::Key,
            "the host's key",
        ),
        (
            Kind::Anthropic,
            chat(&[
                r#"{"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":"x"}}"#,
            ]),
            Why::Garbled,
            "has not begun",
        ),
        (
            Kind::Anthropic,
            chat(&[
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"x"}}"#,
            ]),
            Why::Garbled,
            "mixes",
        ),
    ];
    for (kind, text, why, expected) in cases {
        let failed = read(kind, text.as_bytes(), 64).1.expect_err(expected);
        assert_eq!(failed.why, why, "{text}: {failed:?}");
        assert!(
            failed.error.to_string().contains(expected),
            "{text}: {failed:?}"
        );
    }
}

#[test]
fn servers_that_only_speak_alike_are_understood() {
    let chat = |data: &[&str]| -> String {
        data.iter()
            .map(|data| format!("data: {data}\n\n"))
            .collect()
    };
    // No index, whole calls, no `[DONE]`.
    let text = chat(&[
        r#"{"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"x","arguments":"{}"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"id":"b","function":{"name":"y","arguments":"{\"q\""}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":":1}"}}]}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
    ]);
    let whole = read(Kind::OpenaiCompatible, text.as_bytes(), 9)
        .1
        .expect("an answer");
    assert_eq!(
        whole.calls,
        [called("a", "x", "{}"), called("b", "y", r#"{"q":1}"#)]
    );
    assert_eq!(whole.finish, Some(Finish::ToolCalls));
    let refusing = chat(&[
        r#"{"choices":[{"delta":{"refusal":"I can"}}]}"#,
        r#"{"choices":[{"delta":{"refusal":"not"},"finish_reason":"stop"}]}"#,
    ]);
    let whole = read(Kind::OpenaiChat, refusing.as_bytes(), 9)
        .1
        .expect("an answer");
    assert_eq!(
        (whole.refusal.as_deref(), whole.finish),
        (Some("I cannot"), Some(Finish::Refusal))
    );
}

/// Older servers, and some that stand before others, count no calls.
#[test]
fn calls_that_all_have_one_index_are_told_apart() {
    let piece = |index: &str, id: &str, function: &str| {
        format!(
            r#"{{"choices":[{{"delta":{{"tool_calls":[{{{index}{id}"function":{{{function}}}}}]}}}}]}}"#
        )
    };
    let x = r#""name":"x","arguments":"{\"p\":1}""#;
    let y = r#""name":"y","arguments":"{}""#;
    let table = [
        (r#""index":0,"#, r#""id":"a","#, r#""id":"b","#, ["a", "b"]),
        (r#""index":0,"#, "", "", ["call_0", "call_1"]),
        ("", "", "", ["call_0", "call_1"]),
        ("", r#""id":"a","#, r#""id":"b","#, ["a", "b"]),
    ];
    for (index, first, second, ids) in table {
        let pieces = [piece(index, first, x), piece(index, second, y)];
        let end = r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#;
        let text: String = pieces
            .iter()
            .map(String::as_str)
            .chain([end, "[DONE]"])
            .map(|data| format!("data: {data}\n\n"))
            .collect();
        let (_, whole) = read(Kind::OpenaiChat, text.as_bytes(), 50);
        let expected = [called(ids[0], "x", r#"{"p":1}"#), called(ids[1], "y", "{}")];
        assert_eq!(whole.expect("an answer").calls, expected, "{text}");
    }
    // A name that is said again begins nothing.
    let half = r#""name":"x","arguments":"{\"p\"""#;
    let rest = r#""name":"x","arguments":":1}""#;
    let over = r#""name":"x","arguments":"""#;
    let pieces = [half, rest, over].map(|function| piece(r#""index":0,"#, "", function));
    let end = r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#;
    let all = pieces.iter().map(String::as_str).chain([end, "[DONE]"]);
    let text: String = all.map(|data| format!("data: {data}\n\n")).collect();
    let (_, whole) = read(Kind::OpenaiChat, text.as_bytes(), 50);
    let expected = [called("call_0", "x", r#"{"p":1}"#)];
    assert_eq!(whole.expect("an answer").calls, expected);
}

#[test]
fn what_a_model_thinks_is_no_answer_and_counts() {
    let chunks = [
        r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}}]}"#,
        r#"{"choices":[{"delta":{"content":[{"type":"text","text":"Yes"}]}}]}"#,
        r#"{"choices":[{"delta":{"content":"."},"finish_reason":"stop"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":508}}"#,
        "[DONE]",
    ];
    let text: String = chunks.map(|data| format!("data: {data}\n\n")).concat();
    let (_, whole) = read(Kind::OpenaiCompatible, text.as_bytes(), 50);
    let whole = whole.expect("an answer");
    let usage = whole.usage.expect("it was counted");
    assert_eq!(whole.text, "Yes.");
    assert_eq!((usage.input_tokens, usage.output_tokens), (5, 503));
    let text = text.replace(r#""total_tokens":508"#, r#""total_tokens":null"#);
    let (_, whole) = read(Kind::OpenaiCompatible, text.as_bytes(), 50);
    let usage = whole.expect("an answer").usage.expect("it was counted");
    assert_eq!((usage.input_tokens, usage.output_tokens), (5, 3));
}

/// Each piece is looked at once, however many come and whatever they name.
#[test]
fn pieces_that_name_their_call_take_time_by_their_length_alone() {
    let event = |arguments: &str| {
        let function = serde_json::json!({ "name": "read", "arguments": arguments });
        let call = serde_json::json!({ "index": 0, "function": function });
        let delta = serde_json::json!({ "choices": [{ "delta": { "tool_calls": [call] } }] });
        format!("data: {delta}\n\n")
    };
    let mut stream = event(&format!("{{\"a\":\"{}", "x".repeat(600_000)));
    stream.extend(std::iter::repeat_n(event("}"), 4_000));
    let began = std::time::Instant::now();
    let (told, _) = read(Kind::OpenaiCompatible, stream.as_bytes(), 64 << 10);
    assert_eq!(told.len(), 4_002, "one call, and its pieces");
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(4), "{took:?}");
}

/// Two bytes of an answer can become a hundred of memory: one with too many values is
/// not read, in each protocol, wherever they stand.
#[test]
fn an_answer_of_too_many_values_is_none() {
    let many = "{\"\":0},".repeat(60_000) + "0";
    let answers = [
        (
            Kind::OpenaiCompatible,
            r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":[MANY]}"#,
        ),
        (
            Kind::OpenaiResponses,
            r#"{"status":"completed","output":[{"type":"other","x":[MANY]}]}"#,
        ),
        (
            Kind::Anthropic,
            r#"{"content":[{"type":"tool_use","id":"a","name":"b","input":{"x":[MANY]}}],"stop_reason":"tool_use"}"#,
        ),
    ];
    for (kind, answer) in answers {
        let few = crate::protocol::answer(kind, answer.replace("MANY", "{}").as_bytes());
        assert!(few.is_ok(), "{few:?}");
        let failed = crate::protocol::answer(kind, answer.replace("MANY", &many).as_bytes());
        let failed = failed.expect_err("it has too many values");
        assert_eq!(failed.why, Why::Garbled);
        assert!(failed.error.to_string().contains("too many values"));
        let event = format!("data: {}\n\n", answer.replace("MANY", &many));
        assert!(read(kind, event.as_bytes(), 64 << 10).1.is_err());
    }
}
