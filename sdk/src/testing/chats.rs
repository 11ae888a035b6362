//! The conversations of a run under test.
//!
//! What must stay true: what the host refuses of a request is refused here, and a
//! fault that the host would find in an answer is found, as far as a schema needs no
//! regular expression; an answer is worked out once, and is the same when the agent
//! is run again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::models::{ModelRequest, Says, Told};
use crate::Error;
use crate::agent::chat::wire::{Body, EmbedBody, Message, ModelCall, Offered, Part, ToolChoice};
use crate::agent::{Finish, Reply};
use crate::schema::Schema;

const MEDIA_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const TOOLS_MAX: usize = 128;
const STOPS_MAX: usize = 4;
const TEXTS_MAX: usize = 2_048;

/// Those that were asked for, by the request's number.
#[derive(Default)]
pub(crate) struct Chats {
    asked: BTreeMap<usize, Asked>,
}

struct Asked {
    seen: ModelRequest,
    /// The conversation with its new messages.
    messages: Vec<Message>,
    /// What the model answered; an empty answer can't be gone on from.
    answered: Option<Message>,
}

impl Chats {
    /// A conversation begins or goes on; else what the host refuses it with.
    pub(super) fn ask(
        &mut self,
        id: usize,
        request: &str,
        after: Option<usize>,
        told: &Told,
    ) -> Result<(), Error> {
        let body: Body = serde_json::from_str(request)
            .map_err(|error| Error::invalid_input(format!("the request: {error}")))?;
        let mut messages = match after {
            None => Vec::new(),
            Some(after) => self.until(after)?,
        };
        let seen = ModelRequest::new(&body, &messages);
        check(&body, told)?;
        check_turns(&messages, &body.messages)?;
        messages.extend(body.messages);
        let answered = None;
        self.asked.insert(
            id,
            Asked {
                seen,
                messages,
                answered,
            },
        );
        Ok(())
    }

    /// The conversation with the answer to an earlier request.
    fn until(&self, id: usize) -> Result<Vec<Message>, Error> {
        let asked = self.asked.get(&id);
        let answered = asked.and_then(|asked| Some((asked, asked.answered.clone()?)));
        let Some((asked, answered)) = answered else {
            return Err(Error::invalid_input(
                "after: it is no request of a model that has an answer to go on from",
            ));
        };
        let mut messages = asked.messages.clone();
        messages.push(answered);
        Ok(messages)
    }

    /// What became of one. A call whose arguments are none is kept without them.
    pub(super) fn answered(&mut self, id: usize, answer: &Result<String, Error>) {
        let reply = answer.as_ref().ok();
        let reply = reply.and_then(|answer| serde_json::from_str::<Reply>(answer).ok());
        let (Some(asked), Some(mut reply)) = (self.asked.get_mut(&id), reply) else {
            return;
        };
        for call in &mut reply.calls {
            if !is_object(&call.arguments) {
                call.arguments = "{}".to_owned();
            }
        }
        let (text, calls) = (reply.text, reply.calls);
        asked.answered =
            (!text.is_empty() || !calls.is_empty()).then_some(Message::Assistant { text, calls });
    }

    pub(crate) fn seen(&self, id: usize) -> Option<&ModelRequest> {
        self.asked.get(&id).map(|asked| &asked.seen)
    }

    pub(super) fn all(&self) -> Vec<ModelRequest> {
        self.asked
            .values()
            .map(|asked| asked.seen.clone())
            .collect()
    }
}

fn is_object(text: &str) -> bool {
    matches!(serde_json::from_str(text), Ok(Value::Object(_)))
}

fn wrong<T>(what: String) -> Result<T, Error> {
    Err(Error::InvalidInput(what))
}

fn check(body: &Body, told: &Told) -> Result<(), Error> {
    if body.tools.len() > TOOLS_MAX || body.stop.len() > STOPS_MAX {
        let most = format!("{TOOLS_MAX} tools, {STOPS_MAX} stop texts");
        return Err(Error::limit("request", most));
    }
    let mut names = BTreeSet::new();
    for (at, tool) in body.tools.iter().enumerate() {
        let name = tool.name();
        if !names.insert(name) {
            return wrong(format!("tools[{at}]: `{name}` is there twice"));
        }
        match tool {
            Offered::Granted(name) if !told.contains_key(name) => {
                return wrong(format!(
                    "tools[{at}]: `{name}` is none that `tools()` told of"
                ));
            }
            Offered::Own(own) if own.name.is_empty() || own.name.contains('/') => {
                return wrong(format!("tools[{at}].name: an own tool's has no `/`"));
            }
            Offered::Own(own) if !is_object(&own.input_schema) => {
                return wrong(format!("tools[{at}].input_schema: no JSON object"));
            }
            _ => {}
        }
    }
    match &body.tool_choice {
        ToolChoice::Required if names.is_empty() => {
            return wrong("tool_choice: `required`, and there is no tool".to_owned());
        }
        ToolChoice::Tool(name) if !names.contains(name.as_str()) => {
            return wrong(format!("tool_choice: there is no tool `{name}`"));
        }
        _ => {}
    }
    if body
        .output
        .as_ref()
        .is_some_and(|output| !is_object(&output.schema))
    {
        return wrong("output.schema: no JSON object".to_owned());
    }
    if body.max_tokens == Some(0) {
        return wrong("max_tokens: at least 1".to_owned());
    }
    match body.temperature_milli {
        Some(2_001..) => wrong("temperature_milli: 0 to 2000".to_owned()),
        _ => Ok(()),
    }
}

/// Each call has its result before anything else is said; instructions come first.
fn check_turns(before: &[Message], new: &[Message]) -> Result<(), Error> {
    let mut open: Vec<&str> = match before.last() {
        Some(Message::Assistant { calls, .. }) => calls.iter().map(|call| &*call.id).collect(),
        _ => Vec::new(),
    };
    let mut instructed = before.is_empty();
    for (at, message) in new.iter().enumerate() {
        let fault = |text: String| wrong(format!("messages[{at}]: {text}"));
        if let Message::Tool { call, .. } = message {
            match open.iter().position(|id| id == call) {
                Some(found) => drop(open.remove(found)),
                None => return fault(format!("no call `{call}` waits for a result")),
            }
            continue;
        }
        if let Some(id) = open.first() {
            return fault(format!("the call `{id}` before has no result"));
        }
        match message {
            Message::System { text } if text.is_empty() => return fault("it is empty".to_owned()),
            Message::System { .. } if !instructed => {
                return fault("instructions stand before all else".to_owned());
            }
            Message::System { .. } => continue,
            Message::User { parts } => check_parts(parts).or_else(fault)?,
            Message::Assistant { text, calls } if text.is_empty() && calls.is_empty() => {
                return fault("it is empty".to_owned());
            }
            Message::Assistant { calls, .. } => open.extend(calls.iter().map(|call| &*call.id)),
            Message::Tool { .. } => {}
        }
        instructed = false;
    }
    if let Some(id) = open.first() {
        return wrong(format!("messages: the call `{id}` has no result"));
    }
    let asks = |message: &Message| !matches!(message, Message::System { .. });
    match new.iter().any(asks) {
        true => Ok(()),
        false => wrong("messages: nobody asks anything".to_owned()),
    }
}

fn check_parts(parts: &[Part]) -> Result<(), String> {
    if parts.is_empty() {
        return Err("it is empty".to_owned());
    }
    for part in parts {
        match part {
            Part::Text { text } if text.is_empty() => return Err("a part is empty".to_owned()),
            Part::Image { media_type, .. } if !MEDIA_TYPES.contains(&media_type.as_str()) => {
                return Err(format!("images are one of {}", MEDIA_TYPES.join(", ")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether vectors may be asked for.
pub(super) fn check_embed(request: &str) -> Result<EmbedBody, Error> {
    let body: EmbedBody = serde_json::from_str(request)
        .map_err(|error| Error::invalid_input(format!("the request: {error}")))?;
    match body.texts.len() {
        0 => wrong("texts: there is none".to_owned()),
        len if len > TEXTS_MAX => Err(Error::limit("texts", TEXTS_MAX.to_string())),
        _ if body.texts.iter().any(String::is_empty) => wrong("texts: one is empty".to_owned()),
        _ => Ok(body),
    }
}

/// What a model says as an answer, with its faults. `first` is the number of its
/// first call, which no other of the run has.
pub(super) fn answer(request: &str, says: &Says, first: usize, told: &Told) -> Value {
    let body: Body = match serde_json::from_str(request) {
        Ok(body) => body,
        Err(error) => unreachable!("it was read before: {error}"),
    };
    let call = |(n, (name, arguments)): (usize, &(String, String))| ModelCall {
        id: format!("call-{}", first + n),
        name: name.clone(),
        arguments: arguments.clone(),
    };
    let calls: Vec<ModelCall> = says.calls.iter().enumerate().map(call).collect();
    let mut faults: Vec<Value> = calls
        .iter()
        .filter_map(|call| fault_of_call(&body, call, told))
        .collect();
    let declines = matches!(says.finish, Some(Finish::Refusal | Finish::ContentFilter));
    if !declines {
        faults.extend(not_called(&body.tool_choice, &calls));
        faults.extend(fault_of_text(&body, &says.text).filter(|_| calls.is_empty()));
    }
    let calls: Vec<Value> = calls.iter().map(|call| json!(call)).collect();
    says.answer(&calls, &faults)
}

fn fault_of_call(body: &Body, call: &ModelCall, told: &Told) -> Option<Value> {
    let ModelCall {
        id,
        name,
        arguments,
    } = call;
    let offered = body.tools.iter().find(|tool| tool.name() == name);
    let Some(offered) = offered else {
        return Some(json!({ "fault": "unknown-tool", "call": id, "name": name }));
    };
    let not_json = |message: String| {
        Some(json!({ "fault": "arguments-not-json", "call": id, "message": message }))
    };
    let arguments: Value = match serde_json::from_str(arguments) {
        Ok(arguments @ Value::Object(_)) => arguments,
        Ok(_) => return not_json("it is no JSON object".to_owned()),
        Err(error) => return not_json(error.to_string()),
    };
    let schema = match offered {
        Offered::Granted(name) => told.get(name)?.input_schema.clone(),
        Offered::Own(own) => serde_json::from_str(&own.input_schema).ok()?,
    };
    let violation = Schema::read(&schema).ok()?.check(&arguments).err()?;
    Some(
        json!({ "fault": "arguments-schema", "call": id, "at": violation.at,
        "message": violation.message }),
    )
}

fn not_called(choice: &ToolChoice, calls: &[ModelCall]) -> Option<Value> {
    let message = match choice {
        ToolChoice::Required if calls.is_empty() => "a tool has to be called".to_owned(),
        ToolChoice::Tool(name) if !calls.iter().any(|call| call.name == *name) => {
            format!("`{name}` has to be called")
        }
        ToolChoice::None if !calls.is_empty() => "no tool may be called".to_owned(),
        _ => return None,
    };
    Some(json!({ "fault": "not-called", "message": message }))
}

fn fault_of_text(body: &Body, text: &str) -> Option<Value> {
    let output = body.output.as_ref()?;
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            return Some(json!({ "fault": "output-not-json", "message": error.to_string() }));
        }
    };
    let schema = serde_json::from_str(&output.schema).ok()?;
    let violation = Schema::read(&schema).ok()?.check(&value).err()?;
    Some(json!({ "fault": "output-schema", "at": violation.at, "message": violation.message }))
}
