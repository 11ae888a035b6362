//! Requests: what is refused, and what providers are sent.

use expect_test::{Expect, expect};

use super::{called, question, tool, user, whole_conversation};
use crate::config::Kind;
use crate::names::Names;
use crate::protocol::{Writing, lacks};
use crate::request::{Message, OutputSchema, Part, Request, ToolChoice};

#[test]
fn what_cannot_be_asked_is_refused_with_its_place() {
    type Change = fn(&mut Request);
    let cases: &[(&str, Change)] = &[
        ("role: 1 to 128", |r| r.role.clear()),
        ("role: 1 to 128", |r| r.role = "a b".to_owned()),
        ("messages: there is none", |r| r.messages.clear()),
        ("nobody asks", |r| {
            r.messages = vec![Message::System {
                text: "x".to_owned(),
            }];
        }),
        ("messages[1]: instructions stand before", |r| {
            r.messages.push(Message::System {
                text: "x".to_owned(),
            });
        }),
        ("messages[0]: it is empty", |r| {
            r.messages[0] = Message::User { parts: vec![] }
        }),
        ("messages[0]: a part is empty", |r| r.messages[0] = user("")),
        ("messages[0]: images are one of", |r| {
            r.messages[0] = image("image/tiff", "aGk=");
        }),
        ("messages[0]: an image's data", |r| {
            r.messages[0] = image("image/png", "a b")
        }),
        ("messages[0]: an image's data", |r| {
            r.messages[0] = image("image/png", "")
        }),
        ("messages[1]: no call `c9` waits", |r| {
            r.messages.push(result("c9"))
        }),
        ("the call `c1` has no result", |r| {
            r.messages.push(calls("c1", "{}"))
        }),
        ("messages[2]: the call `c1` before has no result", |r| {
            r.messages.extend([calls("c1", "{}"), user("x")]);
        }),
        ("messages[3]: the call `c1` is there twice", |r| {
            r.messages
                .extend([calls("c1", "{}"), result("c1"), calls("c1", "{}")]);
        }),
        ("messages[1]: arguments: no JSON:", |r| {
            r.messages.push(calls("c1", "{"))
        }),
        ("messages[1]: arguments: no JSON object", |r| {
            r.messages.push(calls("c1", "[]"))
        }),
        ("max_tokens: at least 1", |r| r.max_tokens = Some(0)),
        ("temperature_milli: 0 to 2000", |r| {
            r.temperature_milli = Some(2_001)
        }),
        ("limit stop reached (4)", |r| {
            r.stop = vec!["x".to_owned(); 5]
        }),
        ("stop: an empty text", |r| r.stop = vec![String::new()]),
        ("tools[1].name: `a` is there twice", |r| {
            r.tools = vec![tool("a"), tool("a")]
        }),
        ("tools[0].input_schema: no JSON", |r| {
            r.tools = vec![tool("a")];
            r.tools[0].input_schema = "{".to_owned();
        }),
        ("tool_choice: `required`", |r| {
            r.tool_choice = ToolChoice::Required
        }),
        ("tool_choice: there is no tool `b`", |r| {
            r.tool_choice = ToolChoice::Tool("b".to_owned());
        }),
        ("output.name: 1 to 64", |r| {
            r.output = Some(output("a b", "{}"))
        }),
        ("output.schema: no JSON object", |r| {
            r.output = Some(output("a", "true"))
        }),
        ("limit request_bytes reached", |r| {
            r.messages[0] = user(&"x".repeat(17 << 20))
        }),
    ];
    for (expected, change) in cases {
        let mut request = question("hello");
        request.check().expect("it can be asked");
        change(&mut request);
        let error = request.check().expect_err(expected).to_string();
        assert!(error.contains(expected), "{error} has no `{expected}`");
    }
    whole_conversation().check().expect("it can be asked");
}

fn image(media_type: &str, data: &str) -> Message {
    Message::User {
        parts: vec![Part::Image {
            media_type: media_type.to_owned(),
            data: data.to_owned(),
        }],
    }
}

fn calls(id: &str, arguments: &str) -> Message {
    Message::Assistant {
        text: String::new(),
        calls: vec![called(id, "a", arguments)],
    }
}

fn result(id: &str) -> Message {
    Message::Tool {
        call: id.to_owned(),
        text: String::new(),
        failed: false,
    }
}

fn output(name: &str, schema: &str) -> OutputSchema {
    OutputSchema {
        name: name.to_owned(),
        schema: schema.to_owned(),
        strict: true,
    }
}

#[test]
fn a_request_is_the_same_bytes_each_time_and_comes_back() {
    let mut request = whole_conversation();
    request.output = Some(output("form", r#"{"b": 1.10, "a": 2}"#));
    let text = serde_json::to_string(&request).expect("it is written");
    assert_eq!(
        text,
        serde_json::to_string(&request.clone()).expect("it is written")
    );
    let back: Request = serde_json::from_str(&text).expect("it is read");
    assert_eq!(back, request);
    let unknown = text.replacen("\"role\"", "\"colour\":1,\"role\"", 1);
    serde_json::from_str::<Request>(&unknown).expect_err("an unknown member");
    let short = serde_json::to_string(&question("hi")).expect("it is written");
    expect![[
        r#"{"role":"fast","messages":[{"from":"user","parts":[{"part":"text","text":"hi"}]}]}"#
    ]]
    .assert_eq(&short);
}

fn check(kind: Kind, request: &Request, stream: bool, expected: Expect) {
    let names = Names::of(request);
    let writing = Writing {
        kind,
        id: "m-1",
        names: &names,
        max_tokens: 100,
        stream,
    };
    let body = writing.body(request).expect("it is written");
    expected.assert_eq(&format!("{} {body}", writing.path()));
}

#[test]
fn what_providers_are_sent() {
    let mut plain = question("hi");
    plain.output = Some(output("form", r#"{"type": "object", "maximum": 1.10}"#));
    plain.stop = vec!["END".to_owned()];
    check(
        Kind::OpenaiChat,
        &plain,
        true,
        expect![[
            r#"chat/completions {"model":"m-1","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"response_format":{"type":"json_schema","json_schema":{"name":"form","schema":{"type": "object", "maximum": 1.10},"strict":true}},"max_completion_tokens":100,"stop":["END"],"stream":true,"stream_options":{"include_usage":true}}"#
        ]],
    );
    check(
        Kind::OpenaiCompatible,
        &question("hi"),
        false,
        expect![[
            r#"chat/completions {"model":"m-1","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"max_tokens":100}"#
        ]],
    );
    check(
        Kind::Anthropic,
        &plain,
        true,
        expect![[
            r#"messages {"model":"m-1","max_tokens":100,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"output_config":{"format":{"type":"json_schema","schema":{"type": "object", "maximum": 1.10}}},"stop_sequences":["END"],"stream":true}"#
        ]],
    );
    let mut loose = plain.clone();
    loose.output = loose.output.map(|output| OutputSchema {
        strict: false,
        ..output
    });
    check(
        Kind::Anthropic,
        &loose,
        false,
        expect![[
            r#"messages {"model":"m-1","max_tokens":100,"system":[{"type":"text","text":"Answer with JSON alone, of the form that this JSON Schema says: {\"type\": \"object\", \"maximum\": 1.10}"}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"stop_sequences":["END"]}"#
        ]],
    );
    plain.stop.clear();
    check(
        Kind::OpenaiResponses,
        &plain,
        true,
        expect![[
            r#"responses {"model":"m-1","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]}],"text":{"format":{"type":"json_schema","name":"form","schema":{"type": "object", "maximum": 1.10},"strict":true}},"max_output_tokens":100,"store":false,"stream":true}"#
        ]],
    );
}

#[test]
fn a_whole_conversation_in_each_protocol() {
    let mut request = whole_conversation();
    for tool in &mut request.tools {
        tool.input_schema = r#"{"type":"object"}"#.to_owned();
    }
    check(
        Kind::OpenaiChat,
        &request,
        false,
        expect![[
            r#"chat/completions {"model":"m-1","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"What is in it?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,aGk="}}]},{"role":"assistant","content":"I look.","tool_calls":[{"id":"c1","type":"function","function":{"name":"files_read_2","arguments":"{\"path\": \"a\"}"}},{"id":"c2","type":"function","function":{"name":"files_read_2","arguments":"{\"path\":\"b\"}"}}]},{"role":"tool","tool_call_id":"c1","content":"A"},{"role":"tool","tool_call_id":"c2","content":"no such file"},{"role":"user","content":[{"type":"text","text":"And now?"}]}],"tools":[{"type":"function","function":{"name":"files_read_2","description":"Reads.","parameters":{"type":"object"}}},{"type":"function","function":{"name":"files_read","description":"Reads.","parameters":{"type":"object"}}}],"tool_choice":{"type":"function","function":{"name":"files_read_2"}},"max_completion_tokens":100,"temperature":0.25,"seed":7}"#
        ]],
    );
    check(
        Kind::OpenaiResponses,
        &request,
        false,
        expect![[
            r#"responses {"model":"m-1","input":[{"type":"message","role":"system","content":[{"type":"input_text","text":"Be brief."}]},{"type":"message","role":"user","content":[{"type":"input_text","text":"What is in it?"},{"type":"input_image","image_url":"data:image/png;base64,aGk="}]},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"I look."}]},{"type":"function_call","call_id":"c1","name":"files_read_2","arguments":"{\"path\": \"a\"}"},{"type":"function_call","call_id":"c2","name":"files_read_2","arguments":"{\"path\":\"b\"}"},{"type":"function_call_output","call_id":"c1","output":"A"},{"type":"function_call_output","call_id":"c2","output":"no such file"},{"type":"message","role":"user","content":[{"type":"input_text","text":"And now?"}]}],"tools":[{"type":"function","name":"files_read_2","description":"Reads.","parameters":{"type":"object"},"strict":false},{"type":"function","name":"files_read","description":"Reads.","parameters":{"type":"object"},"strict":false}],"tool_choice":{"type":"function","name":"files_read_2"},"max_output_tokens":100,"temperature":0.25,"store":false}"#
        ]],
    );
    check(
        Kind::Anthropic,
        &request,
        false,
        expect![[
            r#"messages {"model":"m-1","max_tokens":100,"system":[{"type":"text","text":"Be brief."}],"messages":[{"role":"user","content":[{"type":"text","text":"What is in it?"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}}]},{"role":"assistant","content":[{"type":"text","text":"I look."},{"type":"tool_use","id":"c1","name":"files_read_2","input":{"path": "a"}},{"type":"tool_use","id":"c2","name":"files_read_2","input":{"path":"b"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"A"},{"type":"tool_result","tool_use_id":"c2","content":"no such file","is_error":true},{"type":"text","text":"And now?"}]}],"tools":[{"name":"files_read_2","description":"Reads.","input_schema":{"type":"object"}},{"name":"files_read","description":"Reads.","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"files_read_2"},"temperature":0.25}"#
        ]],
    );
}

#[test]
fn each_choice_of_tools_has_its_word() {
    let words = [
        (Kind::OpenaiChat, ToolChoice::Auto, ""),
        (
            Kind::OpenaiChat,
            ToolChoice::None,
            r#""tool_choice":"none""#,
        ),
        (
            Kind::OpenaiChat,
            ToolChoice::Required,
            r#""tool_choice":"required""#,
        ),
        (
            Kind::OpenaiResponses,
            ToolChoice::None,
            r#""tool_choice":"none""#,
        ),
        (
            Kind::OpenaiResponses,
            ToolChoice::Required,
            r#""tool_choice":"required""#,
        ),
        (Kind::Anthropic, ToolChoice::Auto, ""),
        (
            Kind::Anthropic,
            ToolChoice::None,
            r#""tool_choice":{"type":"none"}"#,
        ),
        (
            Kind::Anthropic,
            ToolChoice::Required,
            r#""tool_choice":{"type":"any"}"#,
        ),
    ];
    for (kind, choice, expected) in words {
        let mut request = question("hi");
        request.tools = vec![tool("a")];
        request.tool_choice = choice;
        let names = Names::of(&request);
        let (id, max_tokens, stream) = ("m", 1, false);
        let writing = Writing {
            kind,
            id,
            names: &names,
            max_tokens,
            stream,
        };
        let body = writing.body(&request).expect("it is written");
        assert!(body.contains(expected), "{body}");
        assert_eq!(body.contains("tool_choice"), !expected.is_empty(), "{body}");
    }
}

#[test]
fn what_a_protocol_lacks_is_said() {
    let mut stops = question("hi");
    stops.stop = vec!["x".to_owned()];
    let mut hot = question("hi");
    hot.temperature_milli = Some(1_500);
    let cases = [
        (Kind::OpenaiResponses, &stops, true),
        (Kind::OpenaiResponses, &hot, false),
        (Kind::Anthropic, &hot, true),
        (Kind::Anthropic, &stops, false),
        (Kind::OpenaiChat, &stops, false),
        (Kind::OpenaiCompatible, &hot, false),
    ];
    for (kind, request, lacking) in cases {
        assert_eq!(lacks(kind, request).is_some(), lacking, "{kind:?}");
    }
}
