//! Tables of cases, apart from the code.

mod answers;
mod config;
mod edges;
mod failures;
mod fuzz;
mod hostile;
mod names;
mod parts;
mod prices;
mod redaction;
mod requests;
mod schemas;
mod schemas_hostile;
mod sse;
mod streams;

use crate::request::{Message, Part, Request, Tool, ToolCall, ToolChoice};

/// A request with one question.
pub(super) fn question(text: &str) -> Request {
    Request {
        role: "fast".to_owned(),
        messages: vec![user(text)],
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        output: None,
        max_tokens: None,
        temperature_milli: None,
        stop: Vec::new(),
        seed: None,
    }
}

pub(super) fn user(text: &str) -> Message {
    let text = text.to_owned();
    Message::User {
        parts: vec![Part::Text { text }],
    }
}

pub(super) fn tool(name: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        description: "Reads.".to_owned(),
        input_schema:
            r#"{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}"#
                .to_owned(),
    }
}

pub(super) fn called(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    }
}

/// A conversation with all kinds of parts.
pub(super) fn whole_conversation() -> Request {
    let mut request = question("What is in it?");
    let Message::User { parts } = &mut request.messages[0] else {
        unreachable!("it is a question")
    };
    parts.push(Part::Image {
        media_type: "image/png".to_owned(),
        data: "aGk=".to_owned(),
    });
    let system = "Be brief.".to_owned();
    request.messages.insert(0, Message::System { text: system });
    request.messages.push(Message::Assistant {
        text: "I look.".to_owned(),
        calls: vec![
            called("c1", "files/read", r#"{"path": "a"}"#),
            called("c2", "files/read", r#"{"path":"b"}"#),
        ],
    });
    for (call, text, failed) in [("c1", "A", false), ("c2", "no such file", true)] {
        request.messages.push(Message::Tool {
            call: call.to_owned(),
            text: text.to_owned(),
            failed,
        });
    }
    request.messages.push(user("And now?"));
    request.tools = vec![tool("files/read"), tool("files_read")];
    request.tool_choice = ToolChoice::Tool("files/read".to_owned());
    request.max_tokens = Some(100);
    request.temperature_milli = Some(250);
    request.seed = Some(7);
    request
}
